"""A model in memory, and the places on it that are lent out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from edged.local.outlook import Run
from edged.local.plan import Seat, SeatState
from edged.local.predict import Forecast
from edged.local.process import WorkerProcess
from edged.local.renderer import Renderer


@dataclass(slots=True, eq=False)
class Resident:
    """A worker with its template process, and how many of its sequences are free."""

    process: WorkerProcess
    slots: int
    free: int
    guests: int = 0
    state: SeatState = "loading"
    renderer: Renderer | None = None
    load: asyncio.Task[None] | None = None
    used_s: float = field(default_factory=monotonic)

    @property
    def seat(self) -> Seat:
        """This resident as `plan` sees it."""
        return Seat(self.state, self.free, self.slots, self.used_s, self.guests)

    def take(self, slots: int) -> None:
        """Give so many sequences to somebody; to none at all, as to a guest."""
        self.free -= slots
        self.guests += slots == 0

    def give_back(self, slots: int) -> None:
        """The reverse of `take`."""
        self.free += slots
        self.guests -= slots == 0


@dataclass(frozen=True, slots=True)
class Lease:
    """`slots` sequences of a resident worker, held until the context that gave it is left.

    `forecast` is what was expected on arrival; `run` is the entry in the worker's outlook that follows the answer;
    a guest has none.
    """

    resident: Resident
    queue_s: float
    forecast: Forecast
    run: Run | None

    @property
    def process(self) -> WorkerProcess:
        """The worker to ask."""
        return self.resident.process

    @property
    def renderer(self) -> Renderer:
        """The worker's template process."""
        assert self.resident.renderer is not None
        return self.resident.renderer
