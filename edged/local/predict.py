"""When will the first word come? Worked out from measured step costs, by playing the coming steps through.

A step advances everybody who is being answered by one token and reads a chunk of the prompts beside them, in equal
shares (`worker/batcher.py`). What a step costs depends, to a good approximation, on its rows: one for each sequence
that is being shown words, one for each prompt token. So the model of the machine is one table, from rows to seconds,
learnt from the steps themselves; heat and neighbours move it.

Pure arithmetic. The play does not cover what a longer context adds to a step, nor who else comes meanwhile: what that
makes first words late by is learnt as one factor. Answers are expected to be as long as they have been.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_NEWEST_WEIGHT = 0.2
# One first word that came far too late, behind a load or a swap, must not spoil the next ten forecasts.
_MOST_LATENESS = 4.0
_LATENESS_WEIGHT = 0.1
# Up to here the number of rows decides how many kernels' tiles are full, so each has an entry of its own (16 rows cost
# 134 ms and 17 cost 165 on the 0.5B shape, x86-64); above, entries are 19 % apart.
_EXACT_ROWS = 16
_ROWS_PER_ENTRY = 2**0.25
# Before anything was measured; only for Retry-After, never to refuse anybody. A small model on a Pi 5: ten words a
# second, fifty prompt tokens a second (github.com/geerlingguy/ai-benchmarks).
_FIRST_GUESS_STEP_S = 0.1
_FIRST_GUESS_ROW_S = 0.02
_FIRST_GUESS_ANSWER_TOKENS = 128.0
_FIRST_GUESS_CHUNK = 32.0


@dataclass(frozen=True, slots=True)
class Effort:
    """What a request still asks of the worker: prompt tokens to read, answer tokens to draw, on `slots` sequences."""

    prompt_tokens: int
    answer_tokens: int
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now until a request is granted its slots, and then until its first word.

    `reading_s` is how it was played through, `lateness` by what factor such plays have been too short. Without
    `is_measured` it is a guess: good enough to say when to come back, not to refuse anybody.
    """

    wait_s: float
    reading_s: float
    lateness: float
    is_measured: bool

    @property
    def first_token_s(self) -> float:
        """Seconds from now until the first word."""
        return self.wait_s + self.reading_s * self.lateness


@dataclass(slots=True)
class _Entry:
    rows: float
    step_s: float


class StepCosts:
    """What a step of so many rows takes, in seconds."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._order: list[tuple[float, int]] = []

    @property
    def is_measured(self) -> bool:
        """Whether it knows anything."""
        return bool(self._entries)

    def observe(self, rows: int, step_s: float) -> None:
        """Learn from a step."""
        number = rows if rows <= _EXACT_ROWS else _EXACT_ROWS + round(math.log(rows / _EXACT_ROWS, _ROWS_PER_ENTRY))
        entry = self._entries.get(number)
        if entry is None:
            self._entries[number] = _Entry(rows, step_s)
            insort(self._order, (rows, number))
            return
        entry.rows += _NEWEST_WEIGHT * (rows - entry.rows)
        entry.step_s += _NEWEST_WEIGHT * (step_s - entry.step_s)

    def step_s(self, rows: float) -> float:
        """Between two known sizes on the line through them, beyond the largest in proportion, else as the smallest."""
        if not self._order:
            return _FIRST_GUESS_STEP_S + rows * _FIRST_GUESS_ROW_S
        at = bisect_left(self._order, (rows, 0))
        above = self._entries[self._order[min(at, len(self._order) - 1)][1]]
        if at == 0:
            return above.step_s
        if at == len(self._order):
            return above.step_s * max(1.0, rows / above.rows)
        below = self._entries[self._order[at - 1][1]]
        between = (rows - below.rows) / max(above.rows - below.rows, 1e-9)
        return below.step_s + min(max(between, 0.0), 1.0) * (above.step_s - below.step_s)


@dataclass(slots=True)
class Rates:
    """Everything that is learnt about how a worker works."""

    costs: StepCosts = field(default_factory=StepCosts)
    chunk_alone: float | None = None
    chunk_beside: float | None = None
    answer_tokens: float | None = None
    admission_idle_s: float | None = None
    admission_busy_s: float | None = None
    _log_lateness: float = 0.0
    has_read: bool = False
    has_drawn: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether it has seen both kinds of work."""
        return self.has_read and self.has_drawn

    @property
    def typical_tokens(self) -> int:
        """How long answers have been."""
        return round(self.answer_tokens or _FIRST_GUESS_ANSWER_TOKENS)

    @property
    def lateness(self) -> float:
        """How much longer first words have taken than played through: the geometric mean of the last ones."""
        return math.exp(self._log_lateness)

    def note_first_word(self, played_s: float, real_s: float) -> None:
        """After the grant of its slots a first word took `real_s`, and `played_s` in the play."""
        ratio = min(max(real_s / max(played_s, 1e-3), 1 / _MOST_LATENESS), _MOST_LATENESS)
        self._log_lateness += _LATENESS_WEIGHT * (math.log(ratio) - self._log_lateness)

    def chunk(self, decoding: int) -> float:
        """Prompt tokens that a step reads when more are there than fit."""
        return (self.chunk_beside if decoding else self.chunk_alone) or _FIRST_GUESS_CHUNK

    def admission_s(self, *, is_busy: bool) -> float:
        """From the grant of the slots until the worker begins."""
        return (self.admission_busy_s if is_busy else self.admission_idle_s) or 0.0

    def note_step(self, read: int, decoding: int, *, is_cut: bool, step_s: float) -> None:
        """A step read `read` prompt tokens beside `decoding` sequences; `is_cut` says that prompts were left over."""
        if read + decoding == 0:
            return
        self.costs.observe(read + decoding, step_s)
        self.has_read |= read > 0
        self.has_drawn |= decoding > 0
        if decoding:
            self.chunk_beside = _chunk(self.chunk_beside, read, is_cut=is_cut)
        else:
            self.chunk_alone = _chunk(self.chunk_alone, read, is_cut=is_cut)

    def note_answer(self, tokens: int) -> None:
        """An answer has ended."""
        self.answer_tokens = _blend(self.answer_tokens, tokens)

    def note_admission(self, seconds: float, *, was_busy: bool) -> None:
        """From the grant of the slots to the worker's word that it begins: rendering, and the rest of a step."""
        if was_busy:
            self.admission_busy_s = _blend(self.admission_busy_s, seconds)
        else:
            self.admission_idle_s = _blend(self.admission_idle_s, seconds)


@dataclass(slots=True)
class _Run:
    unread: float
    left: float
    slots: int
    is_newcomer: bool = False


def forecast(running: Sequence[Effort], line: Sequence[Effort], free: int, rates: Rates) -> Forecast:
    """For the last in `line`, who comes after everybody else in it; `free` slots are free now."""
    return _Play(running, line, free, rates).run()


class _Play:
    """The coming steps, as many at once as change nothing."""

    def __init__(self, running: Sequence[Effort], line: Sequence[Effort], free: int, rates: Rates) -> None:
        self._rates = rates
        self._runs = [_Run(effort.prompt_tokens, effort.answer_tokens, effort.slots) for effort in running]
        self._line = deque(_Run(max(1, effort.prompt_tokens), effort.answer_tokens, effort.slots) for effort in line)
        self._line[-1].is_newcomer = True
        self._free = free
        self._now_s = 0.0
        self._wait_s: float | None = None
        self._admission_s = rates.admission_s(is_busy=bool(running))

    def run(self) -> Forecast:
        while True:
            self._admit()
            if self._advance():
                assert self._wait_s is not None
                reading_s = self._now_s - self._wait_s + self._admission_s
                return Forecast(self._wait_s, reading_s, self._rates.lateness, self._rates.is_measured)

    def _admit(self) -> None:
        """Whoever asks for more slots than there will ever be is let in when nobody runs: the play must end."""
        while self._line and (self._line[0].slots <= self._free or not self._runs):
            run = self._line.popleft()
            self._free -= run.slots
            self._runs.append(run)
            if run.is_newcomer:
                self._wait_s = self._now_s

    def _advance(self) -> bool:
        """Play steps until somebody's prompt is read or somebody's answer ends; whether the newcomer's word came."""
        reading = [run for run in self._runs if run.unread > 0]
        drawing = [run for run in self._runs if run.unread <= 0]
        decoding = sum(run.slots for run in drawing)
        pending = sum(run.unread for run in reading)
        chunk = max(1.0, min(pending, self._rates.chunk(decoding)))
        share = chunk / max(len(reading), 1)
        steps = min([max(1.0, run.unread / share) for run in reading] + [max(1.0, run.left) for run in drawing])
        self._now_s += steps * self._rates.costs.step_s(decoding + (chunk if reading else 0))
        arrived = self._read(reading, steps * chunk)
        for run in drawing:
            run.left -= steps
        for run in [run for run in self._runs if run.unread <= 0 and run.left <= 0]:
            self._runs.remove(run)
            self._free += run.slots
        return arrived

    def _read(self, reading: list[_Run], tokens: float) -> bool:
        arrived = False
        for run, given in zip(reading, share_out([run.unread for run in reading], tokens), strict=True):
            run.unread -= given
            if run.unread <= 1e-6:
                run.unread = 0
                run.left -= 1
                arrived |= run.is_newcomer
        return arrived


def share_out(pending: Iterable[float], tokens: float) -> list[float]:
    """Divide what a step read among prompts, as the worker does: equal shares, leftovers to the longer ones."""
    wanted = list(pending)
    given = [0.0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for served, index in enumerate(order):
        given[index] = min(wanted[index], tokens / (len(order) - served))
        tokens -= given[index]
    return given


def _chunk(old: float | None, read: int, *, is_cut: bool) -> float | None:
    """A step that left prompts over shows how much one reads; one that did not, only that it is no less than this."""
    return _blend(old, read) if is_cut else max(old or 0.0, read) or None


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST_WEIGHT * (new - old)
