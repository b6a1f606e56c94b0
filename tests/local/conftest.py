"""What the tests of real children share: a tiny model in a folder, and a look for whoever was left behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import synthetic
from edged.store import Store


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Iterator[None]:
    """Every test ends with as many children as it began with."""
    before = children()
    yield
    assert children() - before == set()


def children() -> set[int]:
    """Our children's process ids, zombies included."""
    return {child.pid for child in psutil.Process(os.getpid()).children()}


@pytest.fixture(scope="session")
def nano_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2 MB with random weights and Phi-3's vocabulary and template; skips where none can be built."""
    try:
        return synthetic.build("nano", "Q8_0", tmp_path_factory.mktemp("nano"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the engine's source package is not here: {error}")


@pytest.fixture
def store(tmp_path: Path, nano_file: Path) -> Store:
    """Three names for the tiny model, and a file that is none."""
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.gguf").hardlink_to(nano_file)
    (tmp_path / "garbage.gguf").write_bytes(b"not a model at all" * 100)
    return Store(tmp_path)
