"""How many cores of this machine others are using: what all processors did, less what we and our siblings did.

Sampled now and then between steps; a file that cannot be read means "unknown", never "nobody". Low priority counts like
any other: a thread that spins cannot be told from one that works, and beside programs at the lowest priority two
spinning threads were slower than one by a factor of five (`benchmarks/LOG.md`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

_PROC = Path("/proc")
# The kernel counts in hundredths of a second: half a second gives a core's share to within some per cent.
_EVERY_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Columns of a cpu line (proc(5)): user nice system idle iowait irq softirq steal.
_BUSY = (0, 1, 2, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Sample:
    """At `at_s` all allowed processors had been busy for `busy_s`; `own_s` of it was ours, `siblings_s` theirs."""

    at_s: float
    busy_s: float
    own_s: float
    siblings_s: Mapping[int, float] = field(default_factory=dict)


class Neighbours:
    """Answers `cores`, from two samples at least half a second apart."""

    def __init__(self) -> None:
        self._allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        self._siblings: tuple[int, ...] = ()
        self._last = self._sample()

    def ignore(self, siblings: Iterable[int]) -> None:
        """These processes are workers too: which cores they have is divided by the daemon."""
        self._siblings = tuple(siblings)
        self.begin()

    def begin(self) -> None:
        """Work begins after a rest: what others did meanwhile says nothing of what they do now."""
        self._last = self._sample()

    def cores(self) -> float | None:
        """Cores that others used since the last answer or rest; None while it is too soon to tell, or unknown."""
        if self._last is None or perf_counter() - self._last.at_s < _EVERY_S:
            return None
        before, self._last = self._last, self._sample()
        return None if self._last is None else cores_between(before, self._last)

    def _sample(self) -> Sample | None:
        try:
            text = (_PROC / "stat").read_text()
        except OSError:
            return None  # hidden by a sandbox
        own = os.times()
        siblings_s = {pid: used for pid in self._siblings if (used := _used_s(pid)) is not None}
        return Sample(perf_counter(), busy_s(text, self._allowed), own.user + own.system, siblings_s)


def _used_s(pid: int) -> float | None:
    """Processor time of a process, utime and stime of proc_pid_stat(5); None where it is gone."""
    try:
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S


def busy_s(stat: str, processors: set[str]) -> float:
    """Seconds that `processors` have been busy since the start, from the text of /proc/stat."""
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    ticks = [[int(value) for value in values] for name, *values in lines if name in processors]
    return sum(line[column] for line in ticks for column in _BUSY) / _TICKS_PER_S


def cores_between(before: Sample, after: Sample) -> float:
    """How many cores others used between two samples."""
    both = before.siblings_s.keys() & after.siblings_s.keys()
    siblings_s = sum(after.siblings_s[pid] - before.siblings_s[pid] for pid in both)
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s) - siblings_s
    return max(0.0, others_s / (after.at_s - before.at_s))
