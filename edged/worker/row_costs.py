"""What a step takes that only decodes, by its rows: one for each answer, and one for each drafted token.

Where steps were measured while nobody asked (`rehearsal.py`) that is where it begins, else with guesses. Steps of work
then move it: they change with whatever else the machine does. No clock: seconds are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping

# Before a number of rows was measured, each further one is taken to cost a fifth of what one costs on average: that
# is cheap enough to be tried, and two measurements are believed instead. What is found out so is the device's affair,
# and not charged to the request by which it was. Only sizes that kernels tell apart are tried.
_GUESSED_ROW = 0.2
_BELIEVED_STEPS = 2
# The quicker of two is a lucky one more often than not. Until a size was seen so often it learns about itself only:
# else what corrects it would be taken for a slower machine, and undrafted steps would seem slower than they are.
_SETTLED_STEPS = 8
# How far a measured step moves what is expected of its size, and of every size: most of what changes is the machine or
# the depth of the context. Of one late step only so much is believed.
_OWN_WEIGHT = 0.15
_COMMON_WEIGHT = 0.25
_MOST_LATENESS = 2.0


class Cost:
    """What something takes that is done now and then, in whatever unit it is measured in.

    Known from the quicker of its first two measurements; of a late one after them only so much is believed.
    """

    def __init__(self) -> None:
        self.expected: float | None = None
        self._first: float | None = None

    def observe(self, cost: float) -> None:
        """Learn from one measurement."""
        if self._first is None:
            self._first = cost
        elif self.expected is None:
            self.expected = min(self._first, cost)
        else:
            self.expected *= _believed(cost / self.expected) ** (_OWN_WEIGHT + _COMMON_WEIGHT)


def _believed(factor: float) -> float:
    return min(max(factor, 1 / _MOST_LATENESS), _MOST_LATENESS)


class RowCosts:
    """What a step takes that only decodes, by its rows."""

    def __init__(self) -> None:
        self._first: dict[int, list[float]] = {}
        self._seconds: dict[int, float] = {}
        self._seen: dict[int, int] = {}

    def calibrate(self, undisturbed_s: Mapping[int, float]) -> None:
        """Steps of so many rows took so long while nobody asked."""
        self._seconds = dict(undisturbed_s)
        self._seen = dict.fromkeys(undisturbed_s, _SETTLED_STEPS)

    def observe(self, rows: int, step_s: float) -> None:
        """Learn from a step. A size is known from the quicker of its first two."""
        if rows not in self._seconds:
            first = self._first.setdefault(rows, [])
            first.append(step_s)
            if len(first) == _BELIEVED_STEPS:
                self._seconds[rows] = min(first)
            return
        factor, seen = _believed(step_s / self._seconds[rows]), self._seen.get(rows, _BELIEVED_STEPS)
        self._seen[rows] = seen + 1
        if seen < _SETTLED_STEPS:
            self._seconds[rows] *= factor ** (1 / seen)
            return
        for known in self._seconds:
            self._seconds[known] *= factor**_COMMON_WEIGHT
        self._seconds[rows] *= factor**_OWN_WEIGHT

    def is_known(self, rows: int) -> bool:
        """Whether steps of this size were measured, not only guessed."""
        return rows in self._seconds

    def expected_s(self, rows: int) -> float | None:
        """What a step takes; for an unknown size, what the next ones below and above lead to expect."""
        if rows in self._seconds:
            return self._seconds[rows]
        below = max((known for known in self._seconds if known < rows), default=None)
        above = min((known for known in self._seconds if known > rows), default=None)
        if below is None:
            return None
        if above is None:
            return self._seconds[below] * (1 + _GUESSED_ROW * (rows - below) / below)
        slope = (self._seconds[above] - self._seconds[below]) / (above - below)
        return self._seconds[below] + slope * (rows - below)
