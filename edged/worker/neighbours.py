"""How many cores of this machine others are using: what all processors did, less what this process did.

Sampled now and then between steps; a file that cannot be read means "unknown", never "nobody". Processes at a lower
priority than ours hardly keep us waiting (a nice value of 19 weighs 15 where 0 weighs 1024, kernel/sched/core.c:
sched_prio_to_weight), so their time counts only if we are nice ourselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_STAT = Path("/proc/stat")
# The kernel counts in hundredths of a second: half a second gives a core's share to within some per cent.
_EVERY_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Columns of a cpu line (proc(5)): user nice system idle iowait irq softirq steal.
_BUSY = (0, 2, 5, 6, 7)
_NICE = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """At `at_s` all allowed processors had been busy for `busy_s`, of which `own_s` was ours."""

    at_s: float
    busy_s: float
    own_s: float


class Neighbours:
    """Answers `cores`, from two samples at least half a second apart."""

    def __init__(self) -> None:
        self._allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        self._last = self._sample()

    def cores(self) -> float | None:
        """Cores that others used since the last answer; None while it is too soon to tell, or unknown."""
        if self._last is None or perf_counter() - self._last.at_s < _EVERY_S:
            return None
        before, self._last = self._last, self._sample()
        return None if self._last is None else cores_between(before, self._last)

    def _sample(self) -> Sample | None:
        try:
            text = _STAT.read_text()
        except OSError:
            return None  # hidden by a sandbox
        own = os.times()
        is_nice = os.getpriority(os.PRIO_PROCESS, 0) > 0
        return Sample(perf_counter(), busy_s(text, self._allowed, with_nice=is_nice), own.user + own.system)


def busy_s(stat: str, processors: set[str], *, with_nice: bool) -> float:
    """Seconds that `processors` have been busy since the start, from the text of /proc/stat."""
    columns = (*_BUSY, _NICE) if with_nice else _BUSY
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    ticks = [[int(value) for value in values] for name, *values in lines if name in processors]
    return sum(line[column] for line in ticks for column in columns) / _TICKS_PER_S


def cores_between(before: Sample, after: Sample) -> float:
    """How many cores others used between two samples."""
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, others_s / (after.at_s - before.at_s))
