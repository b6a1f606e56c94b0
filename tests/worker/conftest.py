"""What the tests of the worker share: vocabularies and templates of the engine's source package, and a tiny model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from benchmarks import engine, synthetic
from edged.worker.llama import Llama


@pytest.fixture(scope="session")
def engine_models() -> Path:
    """llama.cpp's `models/` folder; skips where the source package cannot be had."""
    try:
        folder = engine.source() / "vendor" / "llama.cpp" / "models"
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the engine's source package is not here: {error}")
    return folder


@pytest.fixture(scope="session")
def vocabulary_of(engine_models: Path) -> Callable[[str], Llama]:
    """Loads a vocabulary by name, without weights, once."""

    @cache
    def load(name: str) -> Llama:
        file = engine_models / f"ggml-vocab-{name}.gguf"
        return Llama(str(file), context_tokens=1, sequences=1, threads=1, vocab_only=True)

    return load


@pytest.fixture(scope="session")
def nano(engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2 MB with random weights and Phi-3's vocabulary and template."""
    return synthetic.build("nano", "Q8_0", tmp_path_factory.mktemp("models"))
