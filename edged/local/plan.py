"""Whom to grant, load and evict: a pure decision over the line and the seats, which may be asked at any time.

line    the requests that wait, oldest first
seats   the models that take up memory; `capacity` of them fit

Two lanes. Interactive requests go first. Background ones take what is left, but for one sequence of each model, which
stays free for the next person: it costs the background an eighth of its room and spares that person the end of a long
answer. So that they never wait for ever, every ninth grant is theirs while they wait, the last free sequence included.

Inside a lane the order is that of fair shares (`share.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edged.chat import Lane
from edged.local.share import Path, Standing, branches

SeatState: TypeAlias = Literal["loading", "ready", "leaving"]
# So many interactive grants in a row while background requests wait; the next one is theirs. One in nine: with eight
# sequences, each person on them was answered once in the meantime.
BACKGROUND_TURN = 8
# Before the background may have another model loaded for itself: a load takes the time of several answers, twice.
BACKGROUND_SWAP_TURN = 64


@dataclass(frozen=True, slots=True)
class Want:
    """A place in the line. Without slots it is a guest: it needs the model in memory, and no sequence of it.

    `caller` is the path along which shares are divided.
    """

    model: str
    slots: int = 1
    lane: Lane = "interactive"
    caller: Path = ()

    @property
    def is_guest(self) -> bool:
        """Whether it needs no sequence."""
        return self.slots == 0

    @property
    def path(self) -> Path:
        """The lane and then the caller: its branch of the ledger."""
        return (self.lane, *self.caller)


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
    """What to do now: indices of the line to grant, in order, models to load, models to evict.

    `passed` is the number of interactive grants since a background request last had its turn, 0 while none waits.
    """

    grants: tuple[int, ...] = ()
    loads: tuple[str, ...] = ()
    evictions: tuple[str, ...] = ()
    passed: int = 0


def plan(
    line: Sequence[Want],
    seats: Mapping[str, Seat],
    capacity: int,
    standings: Mapping[Path, Standing] | None = None,
    passed: int = 0,
) -> Plan:
    """Interactive first, then fair shares, then first come, first served.

    Nobody is granted past somebody before him in this order who waits for the same model, guests (as many as there are
    sequences) aside: they wait for each other only. A model that needs another's seat evicts the least recently used
    idle one; while none is idle those behind stand still, or a steady stream of requests for the resident model would
    keep it waiting for ever.
    """
    return _Planner(line, seats, capacity, standings or {}, passed).run()


class _Planner:
    """The working copy of one decision."""

    def __init__(
        self,
        line: Sequence[Want],
        seats: Mapping[str, Seat],
        capacity: int,
        standings: Mapping[Path, Standing],
        passed: int,
    ) -> None:
        self._line = line
        self._seats = dict(seats)
        self._capacity = capacity
        self._standings = {path: replace(standing) for path, standing in standings.items()}
        self._passed = passed
        self._waiting = dict(enumerate(line))
        self._grants: list[int] = []
        self._loads: list[str] = []
        # For sequences of which models, and for guests of which (True), nothing more can be done now.
        self._settled: set[tuple[str, bool]] = set()

    def run(self) -> Plan:
        while (index := self._next()) is not None:
            want = self._waiting[index]
            if want.model not in self._seats:
                if len(self._seats) + len(self._loads) >= self._capacity:
                    return self._done(self._evictions())
                self._loads.append(want.model)
                self._settled |= {(want.model, False), (want.model, True)}
            elif self._fits(want):
                self._grant(index, want)
            else:
                self._settled.add((want.model, want.is_guest))
        return self._done(())

    def _next(self) -> int | None:
        open_ones = [index for index, want in self._waiting.items() if (want.model, want.is_guest) not in self._settled]
        return min(open_ones, key=self._order, default=None)

    def _order(self, index: int) -> tuple[int, list[tuple[int, float]], int]:
        want = self._waiting[index]
        rank = 0 if self._is_due(want) else 1 if want.lane == "interactive" else 2
        return rank, fair_order(want.path, self._standings), index

    def _is_due(self, want: Want) -> bool:
        turn = BACKGROUND_TURN if want.model in self._seats else BACKGROUND_SWAP_TURN
        return want.lane == "background" and self._passed >= turn

    def _fits(self, want: Want) -> bool:
        seat = self._seats[want.model]
        if seat.state != "ready":
            return False
        if want.is_guest:
            return seat.guests < seat.total
        yields = want.lane == "background" and not self._is_due(want) and seat.total > want.slots
        return seat.free - want.slots >= (1 if yields else 0)

    def _grant(self, index: int, want: Want) -> None:
        del self._waiting[index]
        seat = self._seats[want.model]
        self._grants.append(index)
        if want.is_guest:  # takes no turn from anybody
            self._seats[want.model] = replace(seat, guests=seat.guests + 1)
            return
        self._seats[want.model] = replace(seat, free=seat.free - want.slots)
        for branch in branches(want.path):
            self._standings.setdefault(branch, Standing()).held += want.slots
        self._passed = self._passed + 1 if want.lane == "interactive" else 0

    def _evictions(self) -> tuple[str, ...]:
        if any(seat.state == "leaving" for seat in self._seats.values()):
            return ()
        idle = [model for model, seat in self._seats.items() if seat.is_idle]
        victim = min(idle, key=lambda model: self._seats[model].used_s, default=None)
        return (victim,) if victim else ()

    def _done(self, evictions: tuple[str, ...]) -> Plan:
        some_wait = any(want.lane == "background" and not want.is_guest for want in self._waiting.values())
        return Plan(tuple(self._grants), tuple(self._loads), evictions, self._passed if some_wait else 0)


def fair_order(path: Path, standings: Mapping[Path, Standing]) -> list[tuple[int, float]]:
    """What to sort by inside a lane: fewest slots held, then fewest slot-seconds used, at each fork of the path."""
    found = [standings.get(branch) for branch in branches(path)[1:]]
    return [(standing.held, standing.used) if standing else (0, 0.0) for standing in found]
