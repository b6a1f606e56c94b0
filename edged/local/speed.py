"""How fast a worker is, learnt from its steps: what they took, how much of prompts they may read, how long answers are.

What a step costs depends, to a good approximation, on its rows: one for each sequence that is being shown words, one
for each prompt token. Steps that read are kept apart from those that do not, since a worker may use other threads for
them. Heat and neighbours make all steps slower at once: that is one factor, which follows the last few steps, and the
tables hold what remains.

It begins with what the worker measured while nobody asked (`worker/rehearsal.py`), where that is known already.

No clock: seconds are handed in.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from statistics import median

from edged.shares import CAREFUL_SHARE, SMALLEST_CHUNK_TOKENS

_NEWEST_WEIGHT = 0.2
# Up to here the number of rows decides how many kernels' tiles are full, so each has an entry of its own (16 rows cost
# 134 ms and 17 cost 165 on the 0.5B shape, x86-64); above, entries are 19 % apart.
_EXACT_ROWS = 16
_ROWS_PER_ENTRY = 2**0.25
# Two late steps of the last five are an accident, three are a slower machine. What a size costs is a median of more,
# so that the machine has been found slower before any size has.
_RECENT = 5
_REMEMBERED = 9
# Of so many first words all but one come within `lateness`: who is let in with a deadline counts on it.
# Until ten came, the promise of the forecasts: a quarter. It is bounded, so that a day of trouble with the machine does
# not close the door to everybody who has a deadline.
_FIRST_WORDS = 50
_FEWEST_FIRST_WORDS = 10
_FIRST_GUESS_LATENESS = 1.25
_MOST_LATENESS = 2.0
# Before anything was measured; only for Retry-After, never to refuse anybody. A small model on a Pi 5: ten words a
# second, fifty prompt tokens a second (github.com/geerlingguy/ai-benchmarks).
_FIRST_GUESS_STEP_S = 0.1
_FIRST_GUESS_ROW_S = 0.02
_FIRST_GUESS_ANSWER_TOKENS = 128.0
_FIRST_GUESS_CHUNK_TOKENS = 32
# More than a step beside answers ever reads.
_MOST_CHUNK_TOKENS = 512


class _Entry:
    """One size of step, and what the last ones took."""

    def __init__(self, rows: float, step_s: float) -> None:
        self.rows = rows
        self.step_s = step_s
        self._seen = deque([step_s], maxlen=_REMEMBERED)

    def observe(self, rows: float, step_s: float) -> None:
        self._seen.append(step_s)
        self.rows += _NEWEST_WEIGHT * (rows - self.rows)
        self.step_s = median(self._seen)


class StepCosts:
    """What a step of so many rows takes, in seconds."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._order: list[tuple[float, int]] = []

    @property
    def is_measured(self) -> bool:
        """Whether it knows anything."""
        return bool(self._entries)

    def usual_s(self, rows: int) -> float | None:
        """What such steps have taken, if there were any."""
        entry = self._entries.get(_number(rows))
        return entry.step_s if entry else None

    def observe(self, rows: int, step_s: float) -> None:
        """Learn from a step."""
        number = _number(rows)
        entry = self._entries.get(number)
        if entry is None:
            self._entries[number] = _Entry(rows, step_s)
            insort(self._order, (rows, number))
            return
        entry.observe(rows, step_s)

    def step_s(self, rows: float, less: tuple[float, float] = (0.0, 0.0)) -> float:
        """Between two known sizes on the line through them, beyond the largest in proportion.

        `less` is a size with its cost from elsewhere, for what is smaller than all that is known. Something is known.
        """
        at = bisect_left(self._order, (rows, 0))
        above = self._entries[self._order[min(at, len(self._order) - 1)][1]]
        if at == len(self._order):
            return above.step_s * max(1.0, rows / above.rows)
        below = self._entries[self._order[at - 1][1]] if at else _Entry(*less)
        between = (rows - below.rows) / max(above.rows - below.rows, 1e-9)
        return below.step_s + min(max(between, 0.0), 1.0) * (above.step_s - below.step_s)


class Speed:
    """Everything that is learnt about how a worker works."""

    def __init__(self, longest_gap_steps: float = 6.0) -> None:
        self.longest_gap_steps = longest_gap_steps
        self._plain = StepCosts()
        self._reading = StepCosts()
        self._chunks: dict[int, float] = {}
        self._surprises: deque[float] = deque(maxlen=_RECENT)
        self._late: deque[float] = deque(maxlen=_FIRST_WORDS)
        self._answer_tokens: float | None = None
        self._hand_over_s: float | None = None
        self._is_calibrated = False

    @property
    def is_measured(self) -> bool:
        """Whether it has seen both kinds of work."""
        return self._plain.is_measured and self._reading.is_measured

    @property
    def answer_tokens(self) -> int:
        """How long answers have been."""
        return round(self._answer_tokens or _FIRST_GUESS_ANSWER_TOKENS)

    @property
    def hand_over_s(self) -> float:
        """From the grant of slots until the worker has the prompt."""
        return self._hand_over_s or 0.0

    @property
    def lateness(self) -> float:
        """By what factor a first word may come later than it is expected to."""
        if len(self._late) < _FEWEST_FIRST_WORDS:
            return _FIRST_GUESS_LATENESS
        return min(max(1.0, sorted(self._late)[-2]), _MOST_LATENESS)

    def step_s(self, decoding: int, read: int) -> float:
        """What a step takes that advances `decoding` answers and reads `read` prompt tokens."""
        rows, known = decoding + read, self._reading if read else self._plain
        if not self.is_measured:
            cost_s = known.step_s(rows) if known.is_measured else _FIRST_GUESS_STEP_S + rows * _FIRST_GUESS_ROW_S
        elif read:
            fewer = max(1, decoding)
            cost_s = known.step_s(rows, (fewer, self._plain.step_s(fewer)))
        else:
            cost_s = known.step_s(rows)
        return max(1e-6, cost_s * self._slowness)

    def chunk_tokens(self, decoding: int) -> int:
        """The most that a step reads beside so many answers.

        Beside numbers that were not seen yet, what the worker's own rule comes to with these costs: a crowd that comes
        at once is read in far smaller steps than the only caller before it was. Without costs, as beside the nearest.
        """
        if decoding and decoding not in self._chunks and self.is_measured:
            return self._within_gap(decoding)
        if not self._chunks:
            return _FIRST_GUESS_CHUNK_TOKENS
        nearest = min(self._chunks, key=lambda seen: (bool(seen) != bool(decoding), abs(seen - decoding)))
        return max(1, round(self._chunks[nearest]))

    def _within_gap(self, decoding: int) -> int:
        """As many tokens as keep a step within `longest_gap_steps` of those that only decode (`worker/pace.py`)."""
        bound_s = CAREFUL_SHARE * self.longest_gap_steps * self.step_s(decoding, 0)
        tokens = bisect_right(range(1, _MOST_CHUNK_TOKENS), bound_s, key=lambda read: self.step_s(decoding, read))
        return max(SMALLEST_CHUNK_TOKENS, tokens)

    def calibrate(self, rows: Sequence[int], rows_s: Sequence[float]) -> None:
        """Steps of so many rows took so long while nobody asked: better than a guess from the only size that was seen.

        After one answer of one word nothing else is known than a step of one row, and it may have been late: eight
        times that, for eight answers, once said 70 seconds of wait to somebody who would have waited for four. Told
        again, it changes nothing: work says more.
        """
        if not self._is_calibrated:
            for size, step_s in zip(rows, rows_s, strict=False):
                self._plain.observe(size, step_s)
                self._reading.observe(size, step_s)
            self._is_calibrated = bool(rows)

    def note_step(self, decoding: int, read: int, chunk_tokens: int, step_s: float) -> None:
        """A step advanced `decoding` answers and read `read` prompt tokens of at most `chunk_tokens`."""
        if decoding + read == 0:
            return
        known, rows = self._reading if read else self._plain, decoding + read
        if usual_s := known.usual_s(rows):
            self._surprises.append(step_s / usual_s)
        known.observe(rows, step_s / self._slowness)
        if read and chunk_tokens:
            self._chunks[decoding] = _blend(self._chunks.get(decoding), chunk_tokens)

    def note_first_word(self, expected_s: float, real_s: float) -> None:
        """A first word has come."""
        self._late.append(real_s / expected_s)

    def rest(self) -> None:
        """Nothing runs any more: what slowed the last steps may be over when somebody comes."""
        self._surprises.clear()

    def note_answer(self, tokens: int) -> None:
        """An answer has ended."""
        self._answer_tokens = _blend(self._answer_tokens, tokens)

    def note_hand_over(self, seconds: float) -> None:
        """From the grant of slots until the prompt was laid out and sent."""
        self._hand_over_s = _blend(self._hand_over_s, seconds)

    @property
    def _slowness(self) -> float:
        return median(self._surprises) if len(self._surprises) == _RECENT else 1.0


def _number(rows: int) -> int:
    return rows if rows <= _EXACT_ROWS else _EXACT_ROWS + round(math.log(rows / _EXACT_ROWS, _ROWS_PER_ENTRY))


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST_WEIGHT * (new - old)
