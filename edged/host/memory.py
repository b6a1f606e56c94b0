"""How much memory this process may still use: the machine's, cut to what its cgroups leave.

The limits of cgroups nest, so every level up to the root is asked. File pages and the kernel's caches are counted there
as used although they can be given back, so they are added again. Kernel: Documentation/admin-guide/cgroup-v2.rst,
"memory.max"; above "memory.high" a process is slowed down until it hardly moves, so that is a limit as well. And
cgroup-v1/memory.rst: there a group's own numbers are without its children's, `total_` says that they are with them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from edged.host import cgroup

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Files:
    """What a version of cgroups calls its limits, what is used, and what of that the kernel gives back before it kills
    anybody (in `memory.stat`)."""

    limits: tuple[str, ...]
    used: str
    given_back: tuple[str, ...]


_V2 = _Files(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))
# Without a limit it holds the largest number that there is, more than any machine has.
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def available_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that can be allocated without swapping or hitting a limit."""
    rooms = [_room_bytes(level, files) for level, files in _levels(cgroup_root, membership)]
    return max(0, min([psutil.virtual_memory().available, *(room for room in rooms if room is not None)]))


def total_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that the machine has, cut to the limits of our cgroups."""
    limits = [_limit_bytes(level, files) for level, files in _levels(cgroup_root, membership)]
    return min([psutil.virtual_memory().total, *(limit for limit in limits if limit is not None)])


def own_bytes(pid: int, root: Path = Path("/proc")) -> int:
    """What a process has in memory that is nobody else's: no pages of files, which the kernel can take back. 0: gone.

    Resident and shared pages (kernel: Documentation/filesystems/proc.rst, "statm").
    """
    try:
        _, resident, shared, *_ = (root / str(pid) / "statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def kernel_kills(statistics: Path = Path("/proc/vmstat")) -> int | None:
    """How many processes the kernel has killed for want of memory since it started; None: it does not say.

    The machine's or a cgroup's memory: `oom_kill` counts both (tests/faults/test_memory_limit.py).
    """
    try:
        lines = statistics.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _levels(root: Path, membership: Path) -> list[tuple[Path, _Files]]:
    new = [(level, _V2) for level in cgroup.levels(root, membership)]
    return new + [(level, _V1) for level in cgroup.levels_v1("memory", root, membership)]


def _limit_bytes(level: Path, files: _Files) -> int | None:
    """The lowest limit; None where there is none, or the controller is off (Raspberry Pi OS ships so)."""
    limits = []
    for name in files.limits:
        with suppress(OSError):
            limits.append((level / name).read_text().strip())
    return min((int(limit) for limit in limits if limit != "max"), default=None)


def _room_bytes(level: Path, files: _Files) -> int | None:
    limit_bytes = _limit_bytes(level, files)
    if limit_bytes is None:
        return None
    try:
        used_bytes = int((level / files.used).read_text())
        statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return limit_bytes - used_bytes + sum(int(statistics.get(name, 0)) for name in files.given_back)
