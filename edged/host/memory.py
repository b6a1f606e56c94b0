"""How much memory this process may still use: the machine's, cut to what its cgroups leave.

The limits of cgroup v2 nest, so every level up to the root is asked (kernel: Documentation/admin-guide/cgroup-v2.rst,
"memory.max"; above "memory.high" a process is slowed down until it hardly moves, so that is a limit as well). File
pages and the kernel's caches are counted there as used although they can be given back, so they are added again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from edged.host import cgroup

# What the kernel takes back before it kills anybody ("memory.stat" there).
_GIVEN_BACK = ("inactive_file", "active_file", "slab_reclaimable")


def available_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that can be allocated without swapping or hitting a limit."""
    rooms = [room for level in cgroup.levels(cgroup_root, membership) if (room := _room_bytes(level)) is not None]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


def total_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that the machine has, cut to the limits of our cgroups."""
    limits = [limit for level in cgroup.levels(cgroup_root, membership) if (limit := _limit_bytes(level)) is not None]
    return min([psutil.virtual_memory().total, *limits])


def _limit_bytes(level: Path) -> int | None:
    """The lower one of both limits; None where there is none, or the controller is off (Raspberry Pi OS ships so)."""
    limits = []
    for name in ("memory.max", "memory.high"):
        with suppress(OSError):
            limits.append((level / name).read_text().strip())
    return min((int(limit) for limit in limits if limit != "max"), default=None)


def _room_bytes(level: Path) -> int | None:
    limit_bytes = _limit_bytes(level)
    if limit_bytes is None:
        return None
    try:
        used_bytes = int((level / "memory.current").read_text())
        statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return limit_bytes - used_bytes + sum(int(statistics.get(name, 0)) for name in _GIVEN_BACK)
