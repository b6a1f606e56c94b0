"""Whom to grant, load and evict: a pure decision over the line and the seats, which may be asked at any time.

line    the requests that wait, oldest first
seats   the models that take up memory; `capacity` of them fit
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

SeatState: TypeAlias = Literal["loading", "ready", "leaving"]


@dataclass(frozen=True, slots=True)
class Want:
    """A place in the line. Without slots it is a guest: it needs the model in memory, and no sequence of it."""

    model: str
    slots: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A model in memory, or on its way in or out, as `plan` sees it."""

    state: SeatState
    free: int
    total: int
    used_s: float
    guests: int = 0

    @property
    def is_idle(self) -> bool:
        """In memory, and nobody uses it."""
        return self.state == "ready" and self.free == self.total and self.guests == 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: indices of the line to grant, models to load, models to evict."""

    grants: tuple[int, ...] = ()
    loads: tuple[str, ...] = ()
    evictions: tuple[str, ...] = ()


def plan(line: Sequence[Want], seats: Mapping[str, Seat], capacity: int) -> Plan:
    """First come, first served, within each model and across models.

    Nobody is granted past somebody who waits for the same model, guests (as many as there are sequences) aside: they
    wait for each other only. A model that needs another's seat evicts the least
    recently used idle one; while none is idle the line behind it stands still, or a steady stream of requests for the
    resident model would keep it waiting for ever.
    """
    grants: list[int] = []
    loads: list[str] = []
    free = {model: seat.free for model, seat in seats.items() if seat.state == "ready"}
    room = {model: seat.total - seat.guests for model, seat in seats.items() if seat.state == "ready"}
    stuck: set[str] = set()
    for index, want in enumerate(line):
        if want.model in loads or (want.model in stuck and want.slots):
            continue
        if want.model not in seats:
            if len(seats) + len(loads) >= capacity:
                leaving = any(seat.state == "leaving" for seat in seats.values())
                victim = None if leaving else _least_recently_used(seats, busy={line[i].model for i in grants})
                return Plan(tuple(grants), tuple(loads), (victim,) if victim else ())
            loads.append(want.model)
        elif want.slots == 0:
            if room.get(want.model, 0) > 0:
                room[want.model] -= 1
                grants.append(index)
        elif free.get(want.model, 0) >= want.slots:
            free[want.model] -= want.slots
            grants.append(index)
        else:
            stuck.add(want.model)
    return Plan(tuple(grants), tuple(loads))


def _least_recently_used(seats: Mapping[str, Seat], busy: set[str]) -> str | None:
    idle = [model for model, seat in seats.items() if seat.is_idle and model not in busy]
    return min(idle, key=lambda model: seats[model].used_s, default=None)


def predicted_wait_s(queued_slots: int, total_slots: int, hold_s: float) -> float:
    """When the last of `queued_slots` gets its turn, if all `total_slots` are taken and each is held for `hold_s`."""
    return hold_s * (queued_slots + 1) / max(total_slots, 1)
