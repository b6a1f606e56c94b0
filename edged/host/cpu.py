"""How many cores this process may keep busy: those it may run on, cut to the processor time that its cgroups allow.

`cpu.max` holds "QUOTA PERIOD" in microseconds, or "max PERIOD" (kernel: Documentation/admin-guide/cgroup-v2.rst, "CPU
Interface Files"); as with memory every level up to the root counts. A part of a core is left out: threads of one step
wait for each other, so one that is throttled for the rest of a period stops them all.
"""

from __future__ import annotations

import os
from pathlib import Path

from edged.host import cgroup


def usable_cores(root: Path = cgroup.ROOT, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Whole cores, at least one."""
    quotas = [quota for level in cgroup.levels(root, membership) if (quota := _quota_cores(level)) is not None]
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def _quota_cores(level: Path) -> float | None:
    """How many cores one cgroup allows; None where it sets no limit, or the controller is off."""
    try:
        quota_us, period_us = (level / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota_us == "max" else int(quota_us) / int(period_us)
