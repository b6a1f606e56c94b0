"""Models that kill their workers, and are not given any more: twice in ten minutes is no accident.

Counted is a worker that ended by its own doing: an abort of the engine, a bad access, an exception, a broken protocol.
One that somebody ended from outside (the owner, the kernel short of memory, a stop, our own deadlines) says nothing of
its model. A quarantine is about one file: another one under the same name starts anew, and so does a daemon that is
started again, because that is what an owner does who wants to try once more; it costs two crashes of a process that was
made to crash alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, time

from edged.errors import ModelQuarantined
from edged.store import ModelFile

WINDOW_S = 600.0
DEATHS = 2


def identity_of(file: ModelFile) -> str:
    """What tells one file from another of the same name."""
    return f"{file.size_bytes} {file.modified_s}"


def is_too_many(deaths_s: Sequence[float], now_s: float) -> bool:
    """Whether the deaths of a model's workers, at these moments, are so many in the last ten minutes."""
    return sum(now_s - WINDOW_S < death_s <= now_s for death_s in deaths_s) >= DEATHS


@dataclass(frozen=True, slots=True)
class Case:
    """A model in quarantine: since when (Unix time), and what its workers died of last."""

    model: str
    since_s: float
    reason: str

    @property
    def error(self) -> ModelQuarantined:
        """What to tell whoever asks for it."""
        return ModelQuarantined(
            f"The model {self.model} has ended its process {DEATHS} times within {WINDOW_S / 60:.0f} minutes and is "
            f"not loaded any more. The last time: {self.reason} Use another model. To try again, replace its file "
            "(check it with `edged scrub`, or delete it and fetch it anew), or restart the daemon.",
            param="model",
        )


@dataclass(slots=True)
class Quarantine:
    """What every model's workers died of. A `file` is whatever tells one file from another of the same name."""

    clock: Callable[[], float] = monotonic
    _deaths: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _cases: dict[str, tuple[str, Case]] = field(default_factory=dict)

    @property
    def cases(self) -> list[Case]:
        """Who is in quarantine."""
        return [case for _, case in self._cases.values()]

    def note_death(self, model: str, file: str, reason: str) -> Case | None:
        """A worker of `model` ended by its own doing; a case, if that was once too often."""
        now_s = self.clock()
        deaths_s = [death_s for death_s in self._deaths.get((model, file), ()) if now_s - death_s < WINDOW_S]
        self._deaths[model, file] = [*deaths_s, now_s]
        if not is_too_many(self._deaths[model, file], now_s):
            return None
        case = Case(model, time(), reason)
        self._cases[model] = (file, case)
        return case

    def case_of(self, model: str, file: str | None = None) -> Case | None:
        """Why `model` is not given; None where its file is known and is another by now."""
        found = self._cases.get(model)
        return found[1] if found and file in (None, found[0]) else None

    def note_file(self, model: str, file: str) -> None:
        """This is the model's file now; a case about another one is closed."""
        if model in self._cases and self._cases[model][0] != file:
            self.release(model)

    def release(self, model: str) -> None:
        """Forget what was against `model`."""
        self._cases.pop(model, None)
        for known in [known for known in self._deaths if known[0] == model]:
            del self._deaths[known]
