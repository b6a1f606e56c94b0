"""What this machine is and how fast it is allowed to run, in one line: what a measurement of speed depends on."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path("/")
# Where boards say what they are: the device tree's model on arm64, the firmware's tables and the kernel's list on x86.
_NAMES = ("proc/device-tree/model", "sys/class/dmi/id/product_name")


def identity(root: Path = _ROOT) -> str:
    """Board, processor, usable cores, and the power mode as far as the kernel shows it.

    A Jetson's power modes and a governor change the highest frequency or the cores (kernel:
    Documentation/admin-guide/pm/cpufreq.rst), so they are all told apart.
    """
    board = next((text for name in _NAMES if (text := _read(root / name))), "")
    policy = root / "sys/devices/system/cpu/cpu0/cpufreq"
    power = f"{_read(policy / 'scaling_governor')} {_read(policy / 'scaling_max_freq')}"
    known = (board, _processor(root), f"{len(os.sched_getaffinity(0))} cores", power.strip())
    return " | ".join(filter(None, known))


def features(root: Path = _ROOT) -> frozenset[str]:
    """What the processor's instruction set offers, in the kernel's words (`flags` on x86, `Features` on arm64)."""
    lines = [line.split(":", 1) for line in _read(root / "proc/cpuinfo").splitlines() if ":" in line]
    return frozenset(word for key, words in lines if key.strip() in ("flags", "Features") for word in words.split())


def _processor(root: Path) -> str:
    fields = dict(line.split(":", 1) for line in _read(root / "proc/cpuinfo").splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return named.get("model name") or named.get("CPU part", "")


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
