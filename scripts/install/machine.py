"""What this machine is: cores, memory, compiler, processor flags, and whether CUDA is to be used."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from install.errors import SetupError
from install.processes import quietly

# A compiler process of llama.cpp took up to 0.46 GB (g++ 12, x86-64) and nvcc's take more than 1 GB; the rest is room
# for the link and for whatever else runs on the board.
JOB_BYTES = 1_500_000_000

# Compute capabilities of the Jetson modules (NVIDIA's table of CUDA GPUs), by the chip's name in the device tree.
JETSON_CAPABILITY = {"tegra194": "72", "tegra234": "87", "tegra264": "110"}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C++ compiler: where it is, who it is, and the flags that it resolves `native` to here."""

    path: str
    version: str
    native_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cuda:
    """Whether the engine is built for an NVIDIA GPU. `nvcc` is None for a build for the processor only."""

    nvcc: str | None
    architectures: str | None  # CMake's form; None leaves the choice to the engine's own build
    reason: str  # one sentence, empty where nobody would ask


def compile_jobs(cores: int, free_bytes: int) -> int:
    """How many compilers may run at once."""
    return max(1, min(cores, free_bytes // JOB_BYTES))


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that can be had without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    if found is None:
        raise SetupError(f"{meminfo} has no line MemAvailable: this kernel is too old (3.14 or newer is needed).")
    return int(found[1]) * 1024


def require_disk(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Refuse early instead of failing in the middle of a compilation."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise SetupError(
            f"Not enough disk space in {folder}: {purpose} needs {needed_bytes // 10**6} MB, "
            f"{free_bytes // 10**6} MB are free. Make room (df -h {folder} shows it), then run this again."
        )


def find_compiler() -> Compiler | None:
    """The C++ compiler of this machine, or None. `CXX` wins, as in every build tool."""
    path = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if path is None:
        return None
    flag = "-march=native" if os.uname().machine == "x86_64" else "-mcpu=native"
    resolved = quietly(path, "-###", "-E", "-x", "c++", flag, "/dev/null")
    version = quietly(path, "--version").splitlines()[0]
    return Compiler(path, version, native_flags(resolved))


def native_flags(driver_output: str) -> tuple[str, ...]:
    """The processor flags in what a compiler driver prints for `-###`: -mavx2 … (gcc), +avx2 … (clang).

    Cache sizes and paths are left out: they differ between equal machines.
    """
    tokens = re.findall(r'[^\s"]+', driver_output)
    return tuple(sorted({token for token in tokens if re.fullmatch(r"-m[a-z].*|\+[a-z].*", token)}))


def find_cuda(environment: Mapping[str, str], system: Path = Path("/")) -> Cuda:
    """Decide on CUDA: on a Jetson, or where both nvcc and NVIDIA's driver are found.

    A compiler without a driver is a build machine: the code could not run there, and compiling it takes ten times
    as long as the rest. `EDGED_CUDA=on` or `off` decides instead.
    """
    wish = environment.get("EDGED_CUDA", "")
    if wish not in ("", "on", "off"):
        raise SetupError(f"EDGED_CUDA is {wish!r}; allowed are on and off. Type: unset EDGED_CUDA")
    nvcc = _find_nvcc(environment, system)
    jetson = _jetson_chip(system)
    if wish == "off":
        return Cuda(None, None, "EDGED_CUDA=off: building for the processor only")
    if wish == "on" and nvcc is None:
        raise SetupError(
            "EDGED_CUDA=on, but there is no nvcc. Install NVIDIA's CUDA toolkit, or type: unset EDGED_CUDA"
        )
    if jetson is not None:
        return _cuda_on_jetson(jetson, nvcc)
    if nvcc is None:
        return Cuda(None, None, "")
    if wish == "on" or _has_driver(system):
        return Cuda(nvcc, None, f"building for CUDA with {nvcc}")
    return Cuda(
        None, None, f"{nvcc} is here but no NVIDIA driver: building for the processor only (EDGED_CUDA=on forces)"
    )


def _cuda_on_jetson(chip: str, nvcc: str | None) -> Cuda:
    if nvcc is None:
        hint = "sudo apt-get install nvidia-jetpack"
        return Cuda(None, None, f"a Jetson without nvcc: building for the processor only (for the GPU: {hint})")
    return Cuda(nvcc, JETSON_CAPABILITY.get(chip), f"a Jetson: building for CUDA with {nvcc}")


def _find_nvcc(environment: Mapping[str, str], system: Path) -> str | None:
    """JetPack does not put nvcc on the PATH."""
    usual = system / "usr/local/cuda/bin"
    return shutil.which("nvcc", path=f"{environment.get('PATH', '')}:{usual}")


def _jetson_chip(system: Path) -> str | None:
    """The Tegra chip in the device tree; an empty name where only the release file says that this is a Jetson."""
    compatible = system / "proc/device-tree/compatible"
    text = compatible.read_bytes().decode(errors="replace") if compatible.exists() else ""
    if found := re.search(r"nvidia,(tegra\d+)", text):
        return found[1]
    return "" if (system / "etc/nv_tegra_release").exists() else None


def _has_driver(system: Path) -> bool:
    return any((system / sign).exists() for sign in ("proc/driver/nvidia/version", "dev/nvidia0", "dev/dxg"))
