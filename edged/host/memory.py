"""How much memory this process may still use: the machine's, cut to what its cgroups leave.

The limits of cgroup v2 nest, so every level up to the root is asked (kernel: Documentation/admin-guide/cgroup-v2.rst,
"memory.max"). File pages are counted there as used although they can be given back, so they are added again.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from edged.host import cgroup


def available_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that can be allocated without swapping or hitting a limit."""
    rooms = [room for level in cgroup.levels(cgroup_root, membership) if (room := _room_bytes(level)) is not None]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


def total_bytes(cgroup_root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that the machine has, cut to the limits of our cgroups."""
    limits = [limit for level in cgroup.levels(cgroup_root, membership) if (limit := _limit_bytes(level)) is not None]
    return min([psutil.virtual_memory().total, *limits])


def _limit_bytes(level: Path) -> int | None:
    try:
        limit = (level / "memory.max").read_text().strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit)


def _room_bytes(level: Path) -> int | None:
    try:
        limit = (level / "memory.max").read_text().strip()
        used = int((level / "memory.current").read_text())
        statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
    except OSError:
        return None  # the root has no limit, and a controller may be off (Raspberry Pi OS ships so)
    if limit == "max":
        return None
    return int(limit) - used + int(statistics.get("inactive_file", 0))
