"""Decisions about this machine, taken from values."""

from pathlib import Path

import pytest

from install.errors import SetupError
from install.machine import compile_jobs, find_cuda, free_memory_bytes, native_flags, require_disk


@pytest.mark.parametrize(
    ("cores", "free_gb", "jobs"),
    [(4, 16.0, 4), (4, 3.2, 2), (4, 1.4, 1), (2, 0.1, 1), (1, 64.0, 1), (16, 12.0, 8), (4, 5.99, 3)],
)
def test_jobs_are_limited_by_cores_and_by_memory_and_never_none(cores: int, free_gb: float, jobs: int) -> None:
    assert compile_jobs(cores, int(free_gb * 1e9)) == jobs


def test_free_memory_is_what_can_be_had_without_swapping(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  3884000 kB\nMemFree:  100000 kB\nMemAvailable:  2000000 kB\n")
    assert free_memory_bytes(meminfo) == 2_048_000_000


def test_a_full_disk_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"{tmp_path}: compiling needs \d{{6,}} MB, \d+ MB are free"):
        require_disk(tmp_path, 10**18, "compiling")


def test_processor_flags_are_those_of_gcc_and_of_clang_without_cache_sizes() -> None:
    gcc = '"/usr/lib/cc1plus" "-march=znver3" "-mavx2" "-mno-sse4a" "--param" "l1-cache-size=32" "-mtune=znver3"'
    clang = '"/usr/lib/clang" "-cc1" "-target-cpu" "x" "-target-feature" "+avx2" "-target-feature" "-sse4a"'
    assert native_flags(gcc) == ("-march=znver3", "-mavx2", "-mno-sse4a", "-mtune=znver3")
    assert native_flags(clang) == ("+avx2",)


def make_nvcc(system: Path) -> str:
    nvcc = system / "usr/local/cuda/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    return str(nvcc)


def make_jetson(system: Path, chip: str) -> None:
    compatible = system / "proc/device-tree/compatible"
    compatible.parent.mkdir(parents=True)
    compatible.write_bytes(b"nvidia,p3768-0000+p3767-0003\0nvidia," + chip.encode() + b"\0")


def test_a_machine_without_nvcc_builds_for_the_processor_and_says_nothing(tmp_path: Path) -> None:
    cuda = find_cuda({}, tmp_path)
    assert (cuda.nvcc, cuda.reason) == (None, "")


def test_nvcc_and_a_driver_build_for_cuda(tmp_path: Path) -> None:
    nvcc = make_nvcc(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert find_cuda({}, tmp_path).nvcc == nvcc


def test_nvcc_without_a_driver_builds_for_the_processor_and_says_how_to_force(tmp_path: Path) -> None:
    nvcc = make_nvcc(tmp_path)
    assert find_cuda({}, tmp_path).nvcc is None
    assert "EDGED_CUDA=on" in find_cuda({}, tmp_path).reason
    assert find_cuda({"EDGED_CUDA": "on"}, tmp_path).nvcc == nvcc


@pytest.mark.parametrize(("chip", "capability"), [("tegra234", "87"), ("tegra264", "110"), ("tegra999", None)])
def test_a_jetson_builds_for_its_own_gpu(tmp_path: Path, chip: str, capability: str | None) -> None:
    nvcc = make_nvcc(tmp_path)
    make_jetson(tmp_path, chip)
    cuda = find_cuda({}, tmp_path)
    assert (cuda.nvcc, cuda.architectures) == (nvcc, capability)


def test_a_jetson_without_nvcc_says_what_to_install(tmp_path: Path) -> None:
    make_jetson(tmp_path, "tegra234")
    cuda = find_cuda({}, tmp_path)
    assert cuda.nvcc is None
    assert "apt-get install nvidia-jetpack" in cuda.reason


def test_cuda_can_be_switched_off(tmp_path: Path) -> None:
    make_nvcc(tmp_path)
    make_jetson(tmp_path, "tegra234")
    assert find_cuda({"EDGED_CUDA": "off"}, tmp_path).nvcc is None


def test_a_wrong_wish_for_cuda_is_refused_with_the_value(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="EDGED_CUDA is 'yes'; allowed are on and off"):
        find_cuda({"EDGED_CUDA": "yes"}, tmp_path)


def test_cuda_without_nvcc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no nvcc"):
        find_cuda({"EDGED_CUDA": "on"}, tmp_path)
