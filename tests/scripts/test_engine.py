"""Where the engine's wheel comes from, and when it is compiled again."""

from dataclasses import replace
from pathlib import Path

import pytest

from install import engine
from install.engine import Locked, build_key, cache_folder, read_lock
from install.errors import SetupError
from install.machine import Compiler, Cuda

LOCKED = Locked("0.3.36", "0" * 64)
COMPILER = Compiler("/usr/bin/c++", "c++ (Debian) 12.2.0", ("-mavx2", "-march=haswell"))
NO_CUDA = Cuda(None, None, "")


def test_the_same_machine_finds_its_wheel_again() -> None:
    elsewhere = replace(COMPILER, path="/opt/bin/c++")
    assert build_key(LOCKED, COMPILER, NO_CUDA, {}) == build_key(LOCKED, elsewhere, NO_CUDA, {"HOME": "/x"})


@pytest.mark.parametrize(
    ("locked", "compiler", "environment"),
    [
        (replace(LOCKED, version="0.3.37"), COMPILER, {}),
        (replace(LOCKED, sha256="1" * 64), COMPILER, {}),
        (LOCKED, replace(COMPILER, version="c++ (Debian) 14.2.0"), {}),
        (LOCKED, replace(COMPILER, native_flags=("-march=znver3",)), {}),
        (LOCKED, COMPILER, {"CMAKE_ARGS": "-DGGML_VULKAN=on"}),
    ],
)
def test_whatever_changes_the_build_changes_its_key(
    locked: Locked, compiler: Compiler, environment: dict[str, str]
) -> None:
    assert build_key(locked, compiler, NO_CUDA, environment) != build_key(LOCKED, COMPILER, NO_CUDA, {})


def test_cuda_changes_the_key(tmp_path: Path) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho release 12.6\n")
    nvcc.chmod(0o755)
    keys = {build_key(LOCKED, COMPILER, Cuda(str(nvcc), architecture, ""), {}) for architecture in ("87", "72", None)}
    assert len(keys | {build_key(LOCKED, COMPILER, NO_CUDA, {})}) == 4


def test_the_cache_is_where_the_person_keeps_caches() -> None:
    assert cache_folder({"HOME": "/home/x"}) == Path("/home/x/.cache/edged")
    assert cache_folder({"HOME": "/home/x", "XDG_CACHE_HOME": "/c"}) == Path("/c/edged")


def test_the_lock_of_the_engine_is_read(root: Path) -> None:
    locked = read_lock(root / "requirements/engine.lock")
    assert locked.file_name == f"llama_cpp_python-{locked.version}.tar.gz"
    assert len(locked.sha256) == 64


def test_a_lock_without_the_engine_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "engine.lock"
    lock.write_text("aiohttp==3.0\n")
    with pytest.raises(SetupError, match="names no llama-cpp-python"):
        read_lock(lock)


def test_a_build_begins_in_an_empty_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    folder = tmp_path / "building"
    (folder / "left by a killed build").mkdir(parents=True)
    with engine.only_build(folder) as empty:
        assert list(empty.iterdir()) == []
        (empty / "object.o").touch()
    assert list(folder.iterdir()) == []
