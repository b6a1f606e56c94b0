"""When and how fast something is fetched, and when it is given up: arithmetic on clocks that others read. Pure.

Nobody's evening film shall stand still because a model comes, and no server shall keep us waiting for ever: not by
silence, not by a byte a second, not by breaking off again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

_LONGEST_WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for.

    A transfer is broken off after `stall_s` without a byte, or when `window_s` of waiting brought fewer than
    `least_bytes_per_s`. It is begun again `attempts` times, each `backoff_s` longer than twice the last, and all over
    after it came on by `progress_bytes`; it starts from nothing `restarts` times. So a file of known length ends. Where
    nobody can be connected to, each wait is `unreachable_factor` times as long, some eight minutes together: a router
    that lost its power along with us takes longer to start than we do.
    """

    stall_s: float = 30.0
    window_s: float = 60.0
    least_bytes_per_s: int = 1024
    attempts: int = 6
    backoff_s: float = 1.0
    unreachable_factor: float = 8.0
    progress_bytes: int = 2**20
    restarts: int = 3
    answer_s: float = 30.0


def backoff_s(patience: Patience, failures: int, asked_s: float = 0.0, *, is_unreachable: bool = False) -> float:
    """How long to wait after the `failures`-th failure in a row; `asked_s` is what the server asked for."""
    own_s = patience.backoff_s * 2.0 ** (failures - 1) * (patience.unreachable_factor if is_unreachable else 1.0)
    return min(_LONGEST_WAIT_S, max(own_s, asked_s))


@dataclass(frozen=True, slots=True)
class Crawl:
    """Whether what comes is worth waiting for; counts only the time spent waiting for the server."""

    waited_s: float = 0.0
    came_bytes: int = 0

    def after(self, waited_s: float, came_bytes: int, patience: Patience) -> Crawl:
        """With one more piece; a full window that brought enough begins a new one."""
        now = replace(self, waited_s=self.waited_s + waited_s, came_bytes=self.came_bytes + came_bytes)
        return Crawl() if now.waited_s >= patience.window_s and not now.is_too_slow(patience) else now

    def is_too_slow(self, patience: Patience) -> bool:
        """Whether a whole window brought too little."""
        return self.waited_s >= patience.window_s and self.came_bytes < self.waited_s * patience.least_bytes_per_s


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket: what is free at `at_s`, in bytes, below zero where more came than was allowed."""

    bytes_per_s: int | None
    left_bytes: float = 0.0
    at_s: float = 0.0

    def take(self, count: int, now_s: float) -> tuple[Allowance, float]:
        """After `count` bytes came, and how many seconds to wait until the next may. At most a second is saved up."""
        if self.bytes_per_s is None:
            return self, 0.0
        filled = min(float(self.bytes_per_s), self.left_bytes + (now_s - self.at_s) * self.bytes_per_s)
        after = replace(self, left_bytes=filled - count, at_s=now_s)
        return after, max(0.0, -after.left_bytes / self.bytes_per_s)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Spans of the day, in local time, in which nothing is fetched. One that ends before it begins goes over night."""

    spans: tuple[tuple[time, time], ...] = ()

    @classmethod
    def parse(cls, spans: Iterable[str]) -> QuietHours:
        """From `"22:00-06:00"` and the like."""
        ends = [span.split("-") for span in spans]
        return cls(tuple((time.fromisoformat(begin), time.fromisoformat(end)) for begin, end in ends))

    def until(self, now: datetime) -> datetime | None:
        """When it may go on; None where it may now. Spans that touch are one, and a day at most is waited."""
        at = now
        for _ in self.spans:
            ends = [end for begin, end in self.spans if (begin <= at.time() < end) or _is_over_night(begin, end, at)]
            if not ends:
                break
            at = max(_next(at, end) for end in ends)
            if at - now >= timedelta(days=1):
                break
        return None if at == now else at


def _is_over_night(begin: time, end: time, at: datetime) -> bool:
    return end <= begin and (at.time() >= begin or at.time() < end)


def _next(at: datetime, end: time) -> datetime:
    same_day = at.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    return same_day if same_day > at else same_day + timedelta(days=1)
