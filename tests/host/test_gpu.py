"""A GPU that is there and not used is told, with what to do; everything else is silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.host.gpu import free_bytes, present, unused


@pytest.mark.parametrize(
    ("sign", "name"),
    [("nvidia0", "an NVIDIA GPU"), ("nvhost-gpu", "a Jetson's GPU"), ("nvgpu/igpu0", "a Jetson's GPU")],
)
def test_a_loaded_driver_shows_by_its_device(tmp_path: Path, sign: str, name: str) -> None:
    device = tmp_path / "dev" / sign
    device.parent.mkdir(parents=True)
    device.touch()

    assert present(tmp_path) == name


def test_without_a_device_there_is_no_gpu(tmp_path: Path) -> None:
    assert present(tmp_path) is None


def says(folder: Path, text: str) -> dict[str, str]:
    """An environment in which nvidia-smi says so, whatever it is asked."""
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n{text}\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_what_is_free_is_asked_of_those_that_workers_see(tmp_path: Path) -> None:
    environment = says(tmp_path, "echo 1024; echo ' 8'")

    assert free_bytes(environment) == (2**30, 8 * 2**20)
    assert "--id" not in (tmp_path / "asked").read_text()
    free_bytes({**environment, "CUDA_VISIBLE_DEVICES": "1"})
    assert "--id=1" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("text", ["echo '[N/A]'", "echo 1024; exit 9", "echo No devices were found"])
def test_where_memory_is_shared_or_nobody_tells_none_is_its_own(tmp_path: Path, text: str) -> None:
    assert free_bytes(says(tmp_path, text)) == ()


def test_without_the_driver_s_program_none_is_known(tmp_path: Path) -> None:
    assert free_bytes({"PATH": str(tmp_path)}) == ()


@pytest.mark.parametrize(
    ("here", "seen", "used", "wanted"),
    [
        (None, (), 0, -1),  # a Pi
        ("an NVIDIA GPU", (), 0, 0),  # not wanted
        ("an NVIDIA GPU", ("NVIDIA H200",), 25, -1),
        ("an NVIDIA GPU", ("NVIDIA H200",), 10, 10),
        (None, ("NVIDIA H200",), 25, 99),  # more were asked for than there are
    ],
)
def test_where_all_is_as_it_should_be_nothing_is_said(
    here: str | None, seen: tuple[str, ...], used: int, wanted: int
) -> None:
    assert unused(here, seen, used, 25, wanted) is None


def test_a_gpu_that_the_engine_does_not_see_is_told_with_what_to_do() -> None:
    said = unused("a Jetson's GPU", (), 0, 25, -1) or ""

    assert said.startswith("This machine has a Jetson's GPU, but the engine does not use it")
    assert "scripts/run --setup" in said


def test_layers_that_did_not_fit_are_told_with_their_number() -> None:
    said = unused("an NVIDIA GPU", ("NVIDIA H200",), 12, 25, -1) or ""

    assert "Of 25 layers 12 are on NVIDIA H200" in said
    assert "asks for 25" in said
