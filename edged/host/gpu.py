"""Which GPU this machine has for llama.cpp, and whether one that is there is left unused: never in silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_ROOT = Path("/")
# NVIDIA's driver (Linux driver README, "nvidia-modprobe") and the Jetson's (L4T: nvgpu); CUDA is what we can build for.
_SIGNS = {
    "dev/nvidia0": "an NVIDIA GPU",
    "dev/nvhost-gpu": "a Jetson's GPU",
    "dev/nvgpu/igpu0": "a Jetson's GPU",
}


def present(root: Path = _ROOT) -> str | None:
    """The GPU whose driver is loaded here, in words; None where there is none that llama.cpp could be built for."""
    return next((name for sign, name in _SIGNS.items() if (root / sign).exists()), None)


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
