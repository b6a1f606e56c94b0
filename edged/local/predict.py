"""When will the first word come? Worked out by playing the worker's coming steps through, as the worker takes them.

A step advances everybody who is being answered by one token and reads a chunk of the prompts beside them
(`worker/batcher.py`). Known are: who runs, how much of each prompt is unread, how long each answer may still be, how
the worker shares a chunk among prompts, how large its chunks are and what its steps have cost (`speed.py`), how much
of the present step is over. Who comes later stands behind whoever is here and changes little, so nobody is guessed.

Pure arithmetic. The play leaves out pauses for want of memory, waiting for a grammar, and what a longer context adds to
a step while it lasts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edged.shares import shares


class Worker(Protocol):
    """What must be known of a worker to play its steps."""

    @property
    def is_measured(self) -> bool:
        """Whether what it answers was measured."""
        ...

    @property
    def hand_over_s(self) -> float:
        """From the grant of slots until the worker has the prompt."""
        ...

    def step_s(self, decoding: int, read: int) -> float:
        """What a step takes that advances `decoding` answers and reads `read` prompt tokens."""
        ...

    def chunk_tokens(self, decoding: int) -> int:
        """The most that a step reads beside `decoding` answers; at least 1."""
        ...


@dataclass(frozen=True, slots=True)
class Effort:
    """What a request still asks of the worker: prompt tokens to read, answer tokens to draw, on `slots` sequences."""

    prompt_tokens: int
    answer_tokens: int
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Running:
    """Who holds slots: what it still asks, and in how many seconds the worker will have its prompt; None: it has."""

    effort: Effort
    begins_s: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now until a request is granted its slots, and then until its first word.

    Without `is_measured` it is a guess: good enough to say when to come back, not to refuse anybody. By `latest_s` the
    first word will almost certainly have come; None where that cannot be told.
    """

    wait_s: float
    reading_s: float
    is_measured: bool
    latest_s: float | None = None

    @property
    def first_token_s(self) -> float:
        """Seconds from now until the first word."""
        return self.wait_s + self.reading_s


@dataclass(slots=True)
class _Run:
    unread: int
    left: int
    slots: int
    is_newcomer: bool = False
    begins_s: float = 0.0


def forecast(
    running: Sequence[Running], line: Sequence[Effort], free: int, worker: Worker, rest_s: float | None = None
) -> Forecast:
    """For the last in `line`, who comes after everybody else in it; `free` slots are free now.

    `running` are in the order in which the worker took them. The step that is under way lasts `rest_s` longer.
    """
    return _Play(running, line, free, worker, rest_s).run()


class _Play:
    """The coming steps, as many at once as change nothing."""

    def __init__(
        self, running: Sequence[Running], line: Sequence[Effort], free: int, worker: Worker, rest_s: float | None
    ) -> None:
        self._worker = worker
        self._runs = [
            _Run(one.effort.prompt_tokens, one.effort.answer_tokens, one.effort.slots)
            for one in running
            if one.begins_s is None
        ]
        self._coming = [_unread(one.effort, one.begins_s) for one in running if one.begins_s is not None]
        self._line = deque(_unread(effort) for effort in line)
        self._line[-1].is_newcomer = True
        self._free = free
        self._rest_s = rest_s if self._runs else None
        self._now_s = 0.0
        self._wait_s = 0.0

    def run(self) -> Forecast:
        while True:
            self._let_go()
            self._grant()
            if self._rest_s is None:
                self._begin()
            if self._step():
                reading_s = self._now_s - self._wait_s
                return Forecast(self._wait_s, reading_s, self._worker.is_measured)

    def _let_go(self) -> None:
        for run in [run for run in self._runs if not run.unread and run.left <= 0]:
            self._runs.remove(run)
            self._free += run.slots

    def _grant(self) -> None:
        """Whoever asks for more slots than there will ever be is let in when nobody runs: the play must end."""
        while self._line and (self._line[0].slots <= self._free or not (self._runs or self._coming)):
            run = self._line.popleft()
            self._free -= run.slots
            run.begins_s = self._now_s + self._worker.hand_over_s
            self._coming.append(run)
            if run.is_newcomer:
                self._wait_s = self._now_s

    def _begin(self) -> None:
        """Between two steps the worker takes whoever has come; without anybody it sleeps until somebody does."""
        if not self._runs:
            self._now_s = max(self._now_s, min(run.begins_s for run in self._coming))
        for run in [run for run in self._coming if run.begins_s <= self._now_s]:
            self._coming.remove(run)
            self._runs.append(run)

    def _step(self) -> bool:
        """Play steps until one would be unlike the one before; whether the newcomer's word came."""
        reading = [run for run in self._runs if run.unread]
        drawing = [run for run in self._runs if not run.unread]
        decoding = sum(run.slots for run in drawing)
        given = shares([run.unread for run in reading], self._worker.chunk_tokens(decoding)) if reading else []
        step_s = self._worker.step_s(decoding, sum(given))
        steps = self._alike(reading, given, drawing, step_s)
        self._now_s += step_s * steps if self._rest_s is None else self._rest_s
        self._rest_s = None
        for run in drawing:
            run.left -= steps
        arrived = False
        for run, count in zip(reading, given, strict=True):
            run.unread -= count * steps
            if not run.unread:
                run.left -= 1
                arrived |= run.is_newcomer
        return arrived

    def _alike(self, reading: list[_Run], given: list[int], drawing: list[_Run], step_s: float) -> int:
        """So many steps until a prompt is read, an answer ends or somebody comes; one where a step is under way."""
        if self._rest_s is not None:
            return 1
        until = [run.unread // count for run, count in zip(reading, given, strict=True) if count]
        until += [run.left for run in drawing]
        until += [math.ceil((run.begins_s - self._now_s) / step_s) for run in self._coming]
        return max(1, min(until))


def _unread(effort: Effort, begins_s: float = 0.0) -> _Run:
    """The last token of a prompt is always read."""
    return _Run(max(1, effort.prompt_tokens), effort.answer_tokens, effort.slots, begins_s=begins_s)
