"""Where this process stands in the tree of cgroup v2: its own group and those around it, whose limits nest.

Kernel: Documentation/admin-guide/cgroup-v2.rst. With version 1 there is nothing to see here.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def levels(root: Path = ROOT, membership: Path = MEMBERSHIP) -> list[Path]:
    """Our own cgroup and its ancestors; none where cgroup v2 is not mounted."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return []
    leaf = root / own
    return [leaf, *(parent for parent in leaf.parents if parent.is_relative_to(root))]
