"""What one worker is busy with, and for how long, kept from its frames, so that `predict.py` can look ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from edged.local.predict import Effort, Forecast, Running, forecast
from edged.local.speed import Speed
from edged.shares import shares
from edged.wire import Step

# Heat, power and neighbours change within seconds.
_STALE_S = 10.0


@dataclass(slots=True, eq=False)
class Run:
    """A request that holds slots. Until it `has_begun` its prompt's length is an estimate and nobody reads it."""

    unread: int
    most_tokens: int
    slots: int
    granted_s: float
    expected_s: float | None = None  # until its first word, from when it was asked; None once that came, or was a guess
    asked_s: float = 0.0
    drawn: float = 0.0
    finished: int = 0
    has_begun: bool = False


class Outlook:
    """The requests that hold slots of a worker, and what was learnt of its speed. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.speed = Speed()
        self._clock = clock
        self._runs: list[Run] = []  # those that have begun, in the order in which they did, and then the others
        self._step_began_s = 0.0

    @property
    def _begun(self) -> list[Run]:
        return [run for run in self._runs if run.has_begun and run.finished < run.slots]

    def add(self, effort: Effort, expected: Forecast | None = None, waited_s: float = 0.0) -> Run:
        """Somebody who came `waited_s` ago was granted slots now; this had been `expected`."""
        now_s = self._clock()
        run = Run(effort.prompt_tokens, effort.answer_tokens, effort.slots, now_s, asked_s=now_s - waited_s)
        if expected is not None and expected.is_measured:
            run.expected_s = expected.first_token_s
        self._runs.append(run)
        return run

    def remove(self, run: Run) -> None:
        """They were given back."""
        self._runs.remove(run)
        if not self._runs:
            self.speed.rest()

    def begin(self, run: Run, unread_tokens: int) -> None:
        """The worker takes it up in the step that begins now: so much of its prompt is not in memory."""
        if not self._begun:
            self._step_began_s = self._clock()
        self._runs.remove(run)
        run.unread, run.has_begun = unread_tokens, True
        self._runs.insert(sum(other.has_begun for other in self._runs), run)

    def note_step(self, step: Step, told: Sequence[tuple[Run, int]]) -> None:
        """A step is over; it brought those in `told` so many tokens."""
        self._step_began_s = self._clock()
        if not step.decoding and not step.chunk_tokens:
            return  # vectors were made, between two steps of the chats
        reading = [run for run in self._begun if run.unread]
        for run, given in zip(reading, shares([run.unread for run in reading], step.prompt_tokens), strict=True):
            run.unread -= given
        for run, tokens in told:
            run.unread, run.has_begun = 0, True
            run.drawn += tokens / run.slots
            if run.expected_s is not None:
                self.speed.note_first_word(run.expected_s, self._step_began_s - run.asked_s)
                run.expected_s = None
        # Drafts that were right brought several tokens: what is looked ahead to are steps that bring one to everybody.
        # The smaller model stops as soon as there is a prompt to read.
        own_s = step.step_s - step.guessing_s
        step_s = own_s * step.decoding / (step.decoding + step.accepted) if step.accepted else own_s
        self.speed.note_step(step.decoding, step.prompt_tokens, step.chunk_tokens, step_s)

    def note_end(self, run: Run, tokens: int) -> None:
        """One of its answers has ended, with so many tokens; those of whom none was wanted tell nothing."""
        run.finished += 1
        if tokens:
            self.speed.note_answer(tokens)

    def forecast(self, line: Sequence[Effort], free: int) -> Forecast:
        """For the last in `line`."""
        now_s, begun = self._clock(), self._begun
        running = [Running(Effort(run.unread, self._left(run), run.slots)) for run in begun]
        for run in [run for run in self._runs if not run.has_begun]:
            begins_s = max(0.0, run.granted_s + self.speed.hand_over_s - now_s)
            running.append(Running(Effort(run.unread, self._left(run), run.slots), begins_s))
        freed = sum(run.slots for run in self._runs if run.finished >= run.slots)
        typical = [self._typical(effort) for effort in line]
        expected = forecast(running, typical, free + freed, self.speed, self._rest_s(now_s, begun))
        return replace(expected, latest_s=self._latest_s(expected, now_s, is_next=not running and len(line) == 1))

    def _latest_s(self, expected: Forecast, now_s: float, *, is_next: bool) -> float | None:
        """With nobody ahead nothing but its own prompt can be late; and what was long ago refuses nobody.

        A machine that was slow when it was last measured would else send everybody away, and never be measured again.
        """
        if not expected.is_measured or (is_next and now_s - self._step_began_s > _STALE_S):
            return None
        return expected.first_token_s * (1 if is_next else self.speed.lateness)

    def _rest_s(self, now_s: float, begun: Sequence[Run]) -> float | None:
        """How much longer the step takes that is under way."""
        if not begun:
            return None
        decoding = sum(run.slots for run in begun if not run.unread)
        read = min(sum(run.unread for run in begun), self.speed.chunk_tokens(decoding))
        return max(0.0, self._step_began_s + self.speed.step_s(decoding, read) - now_s)

    def _left(self, run: Run) -> int:
        """Answers end as if by chance: one that has gone on for long is expected to go on as long as any other."""
        return max(1, min(round(run.most_tokens - run.drawn), self.speed.answer_tokens))

    def _typical(self, effort: Effort) -> Effort:
        return Effort(effort.prompt_tokens, min(effort.answer_tokens, self.speed.answer_tokens), effort.slots)
