"""What one worker is busy with, and for how long, kept from its frames, so that `predict.py` can look ahead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from edged.local.predict import Effort, Forecast, Rates, forecast, share_out
from edged.wire import Step


@dataclass(slots=True, eq=False)
class Run:
    """A request that holds slots. Until it `has_begun` its prompt's length is an estimate and nobody reads it."""

    unread: float
    most_tokens: int
    slots: int = 1
    drawn: float = 0.0
    has_begun: bool = False
    granted_s: float = 0.0
    played_s: float | None = None  # until its first word, from the grant; None once that is known, or was never

    def begin(self, unread_tokens: int) -> None:
        """The worker has taken it: so much of its prompt is not in memory."""
        self.unread, self.has_begun = unread_tokens, True


class Outlook:
    """The requests that hold slots of a worker, and what was learnt of its speed."""

    def __init__(self) -> None:
        self.rates = Rates()
        self._runs: list[Run] = []

    @property
    def is_busy(self) -> bool:
        """Whether the worker is in the middle of something."""
        return any(run.has_begun for run in self._runs)

    def add(self, effort: Effort, expected: Forecast | None = None) -> Run:
        """Somebody was granted slots now, of whom this had been `expected`."""
        played_s = expected.reading_s if expected is not None and expected.is_measured else None
        run = Run(effort.prompt_tokens, effort.answer_tokens, effort.slots, granted_s=monotonic(), played_s=played_s)
        self._runs.append(run)
        return run

    def remove(self, run: Run) -> None:
        """They were given back."""
        self._runs.remove(run)

    def note_step(self, step: Step, told: Iterable[Run]) -> None:
        """A step is over, and those in `told` said something in it."""
        drawing = sum(run.slots for run in self._runs if run.has_begun and run.unread <= 0)
        reading = [run for run in self._runs if run.has_begun and run.unread > 0]
        for run, given in zip(reading, share_out([run.unread for run in reading], step.prompt_tokens), strict=True):
            run.unread -= given
        for run in told:
            run.unread, run.has_begun = 0, True
            if run.played_s is not None:
                self.rates.note_first_word(run.played_s, monotonic() - run.granted_s)
                run.played_s = None
        is_cut = any(run.unread >= 1 for run in reading)
        # Drafts that were right brought several tokens: what is looked ahead to are steps that bring one to everybody.
        step_s = step.step_s * drawing / (drawing + step.accepted) if drawing else step.step_s
        self.rates.note_step(step.prompt_tokens, drawing, is_cut=is_cut, step_s=step_s)

    def forecast(self, line: Sequence[Effort], free: int) -> Forecast:
        """For the last in `line`."""
        running = [Effort(round(run.unread), self._left(run), run.slots) for run in self._runs]
        return forecast(running, [self._typical(effort) for effort in line], free, self.rates)

    def _left(self, run: Run) -> int:
        """Answers end as if by chance: one that has gone on for long is expected to go on as long as any other."""
        return max(1, min(round(run.most_tokens - run.drawn), self.rates.typical_tokens))

    def _typical(self, effort: Effort) -> Effort:
        most = max(1, min(effort.answer_tokens, self.rates.typical_tokens))
        return Effort(effort.prompt_tokens, most, effort.slots)
