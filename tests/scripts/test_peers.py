"""The programs to compare with: how they are set up, and that asking for them need not compile them."""

from pathlib import Path

import pytest

from install import peers
from install.compilation import OPTIONS
from install.machine import Cuda

NO_CUDA = Cuda(None, None, "")


def test_they_are_compiled_with_the_options_of_the_engine() -> None:
    arguments = peers.configuration(Path("source"), Path("tree"), NO_CUDA)

    for key, value in OPTIONS.items():
        if key.startswith("cmake.define."):
            assert f"-D{key.removeprefix('cmake.define.')}={value}" in arguments
    assert not [argument for argument in arguments if "wheel." in argument], "that is for the wheel alone"


def test_nothing_is_fetched_while_they_are_compiled() -> None:
    arguments = peers.configuration(Path("source"), Path("tree"), NO_CUDA)

    for option in ("LLAMA_USE_PREBUILT_UI", "LLAMA_BUILD_UI", "LLAMA_OPENSSL"):
        assert f"-D{option}=OFF" in arguments


def test_a_person_s_own_options_reach_them_as_they_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_VULKAN=on")

    assert "-DGGML_VULKAN=on" in peers.configuration(Path("source"), Path("tree"), NO_CUDA)


def test_asking_whether_they_are_there_compiles_nothing(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert peers.main([str(root), "--if-built"]) == 0
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
