"""Which GPU this machine has for llama.cpp, and whether one that is there is left unused: never in silence."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

_ROOT = Path("/")
# NVIDIA's driver (Linux driver README, "nvidia-modprobe") and the Jetson's (L4T: nvgpu); CUDA is what we can build for.
_SIGNS = {
    "dev/nvidia0": "an NVIDIA GPU",
    "dev/nvhost-gpu": "a Jetson's GPU",
    "dev/nvgpu/igpu0": "a Jetson's GPU",
}

_MIB = 2**20
# A driver that nobody keeps awake (nvidia-persistenced) is woken up at each look.
_PATIENCE_S = 20.0


def present(root: Path = _ROOT) -> str | None:
    """The GPU whose driver is loaded here, in words; None where there is none that llama.cpp could be built for."""
    return next((name for sign, name in _SIGNS.items() if (root / sign).exists()), None)


def free_bytes(environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """What is free on each GPU that has memory of its own; none where there is none, or nobody tells. May take seconds.

    nvidia-smi says no number of one that shares the machine's memory, as a Jetson's does. Of several, workers see those
    that CUDA_VISIBLE_DEVICES names.
    """
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    if chosen := environment.get("CUDA_VISIBLE_DEVICES"):
        command.append(f"--id={chosen}")
    try:
        said = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("nothing is known of a GPU's memory: %s", error)
        return ()
    lines = [line.strip() for line in said.stdout.splitlines()] if said.returncode == 0 else []
    return tuple(int(line) * _MIB for line in lines if line.isdecimal())


def unused(present: str | None, seen: Sequence[str], used_layers: int, layers: int, wanted_layers: int) -> str | None:
    """Why a GPU that was expected does not work for a model, and what to do; None while all is as it should be.

    `seen` are the devices of llama.cpp, `wanted_layers` is the configuration: 0 means that no GPU is wanted, -1 all.
    """
    if wanted_layers == 0 or (present is None and not seen):
        return None
    if not seen:
        return (
            f"This machine has {present}, but the engine does not use it: it was built without CUDA, or the driver "
            "does not work. Check nvidia-smi (Jetson: the installed CUDA toolkit), then run scripts/run --setup again. "
            "To use the processor on purpose, set [engine] gpu_layers = 0."
        )
    wanted = layers if wanted_layers < 0 else min(wanted_layers, layers)
    if used_layers < wanted:
        return (
            f"Of {layers} layers {used_layers} are on {', '.join(seen)}, but [engine] gpu_layers asks for {wanted}: "
            "there was not enough memory for more. Use a smaller model or context, or set gpu_layers to what fits."
        )
    return None
