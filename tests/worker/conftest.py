"""What the tests of the worker share: vocabularies and templates of the engine's source package, and a tiny model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks import engine, synthetic
from edged.worker.context import Context
from edged.worker.model import Model

CONTEXT_TOKENS = 256  # llama.cpp makes no smaller pool of cells than this
SEQUENCES = 4


@pytest.fixture(scope="session")
def engine_models() -> Path:
    """llama.cpp's `models/` folder; skips where the source package cannot be had."""
    try:
        folder = engine.source() / "vendor" / "llama.cpp" / "models"
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the engine's source package is not here: {error}")
    return folder


@pytest.fixture(scope="session")
def vocabulary_of(engine_models: Path) -> Callable[[str], Model]:
    """Loads a vocabulary by name, without weights, once."""

    @cache
    def load(name: str) -> Model:
        file = engine_models / f"ggml-vocab-{name}.gguf"
        return Model(str(file), vocab_only=True)

    return load


@pytest.fixture(scope="session")
def nano(engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2 MB with random weights and Phi-3's vocabulary and template."""
    return synthetic.build("nano", "Q8_0", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def nano_context(nano: Path) -> Context:
    return Context(Model(str(nano)), context_tokens=CONTEXT_TOKENS, sequences=SEQUENCES, threads=1)


@pytest.fixture
def context(nano_context: Context) -> Iterator[Context]:
    """The tiny model's one context, with an empty memory before and after."""
    yield nano_context
    for slot in range(nano_context.slots):
        nano_context.release(slot)
