"""Where this process stands in the trees of cgroups: its own group and those around it, whose limits nest.

Kernel: Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/ beside it for the older version, which has a tree for
each controller. A controller is in one of them; a system that mounts both (systemd's "hybrid") has memory in the older.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def levels(root: Path = ROOT, membership: Path = MEMBERSHIP) -> list[Path]:
    """Our own cgroup and its ancestors; none where cgroup v2 is not mounted."""
    return _levels(root, "", membership)


def levels_v1(controller: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> list[Path]:
    """The same in the tree of a controller of version 1, at its usual place; none where there is no such tree."""
    return _levels(root / controller, controller, membership)


def _levels(root: Path, controller: str, membership: Path) -> list[Path]:
    """A line is "hierarchy:controllers:path" (proc(5)); version 2 names no controllers."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    places = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    own = next((path for _, controllers, path in places if controller in controllers.split(",")), None)
    if own is None:
        return []
    leaf = root / own.removeprefix("/")
    return [leaf, *(parent for parent in leaf.parents if parent.is_relative_to(root))]
