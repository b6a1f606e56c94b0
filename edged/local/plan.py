"""Whom to grant, load and evict: a pure decision over the line and the seats, which may be asked at any time.

line    the requests that wait, oldest first
seats   the models that take up memory: at most `capacity`, and as many as there is room for

Two lanes. Interactive requests go first. Background ones take what is left, but for one sequence of each model, which
stays free for the next person: it costs the background an eighth of its room and spares that person the end of a long
answer. So that they never wait for ever, every ninth grant is theirs while they wait, the last free sequence included.

Inside a lane the order is that of fair shares (`share.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edged.chat import Lane
from edged.local.making_room import Lack, Seat, who_goes
from edged.local.share import Path, Standing, branches

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
    *,
    needs: Mapping[str, int] | None = None,
    room_bytes: float = math.inf,
) -> Plan:
    """Interactive first, then fair shares, then first come, first served.

    Nobody is granted past somebody before him in this order who waits for the same model, guests (as many as there are
    sequences) aside: they wait for each other only. `needs` says how many bytes a model takes, in memory or wanted, and
    `room_bytes` are free for more; what is loading counts as taken. A model that lacks room evicts idle ones
    (`making_room.py`). While those that would have to go are busy nobody else is let in there, or a steady stream of
    requests would keep the model waiting for ever; others go on. Behind a model that waits for room no other is loaded.
    A model that is alone is loaded however large it is said to be: whether it fits is the loader's to say.
    """
    return _Planner(line, seats, capacity, standings or {}, passed, needs or {}, room_bytes).run()


class _Planner:
    """The working copy of one decision."""

    def __init__(
        self,
        line: Sequence[Want],
        seats: Mapping[str, Seat],
        capacity: int,
        standings: Mapping[Path, Standing],
        passed: int,
        needs: Mapping[str, int],
        room_bytes: float,
    ) -> None:
        self._line = line
        self._seats = dict(seats)
        self._capacity = capacity
        self._standings = {path: replace(standing) for path, standing in standings.items()}
        self._passed = passed
        self._needs = needs
        self._room_bytes = room_bytes
        self._waiting = dict(enumerate(line))
        self._grants: list[int] = []
        self._loads: list[str] = []
        self._evictions: tuple[str, ...] = ()
        self._stand_still: frozenset[str] = frozenset()
        self._has_blocked = False
        # For sequences of which models, and for guests of which (True), nothing more can be done now.
        self._settled: set[tuple[str, bool]] = set()

    def run(self) -> Plan:
        while (index := self._next()) is not None:
            want = self._waiting[index]
            if want.model not in self._seats:
                self._load_or_wait(want.model)
                self._settled |= {(want.model, False), (want.model, True)}
            elif self._fits(want):
                self._grant(index, want)
            else:
                self._settled.add((want.model, want.is_guest))
        some_wait = any(
            want.lane == "background" and (not want.is_guest or want.model not in self._seats)
            for want in self._waiting.values()
        )
        return Plan(tuple(self._grants), tuple(self._loads), self._evictions, self._passed if some_wait else 0)

    def _load_or_wait(self, model: str) -> None:
        if self._has_blocked:
            return
        is_alone = not self._seats and not self._loads
        lack = Lack(
            models=len(self._seats) + len(self._loads) + 1 - self._capacity,
            size_bytes=self._needs.get(model, 0) - self._room_bytes,
        )
        if is_alone or lack.is_met:
            self._loads.append(model)
            self._room_bytes -= self._needs.get(model, 0)
            return
        self._has_blocked = True
        going = who_goes(lack, self._seats, self._needs)
        if all(self._seats[other].is_idle for other in going):
            self._evictions = going
        self._stand_still = frozenset(going)

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
        if seat.state != "ready" or want.model in self._stand_still:
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


def fair_order(path: Path, standings: Mapping[Path, Standing]) -> list[tuple[int, float]]:
    """What to sort by inside a lane: fewest slots held, then fewest slot-seconds used, at each fork of the path."""
    found = [standings.get(branch) for branch in branches(path)[1:]]
    return [(standing.held, standing.used) if standing else (0, 0.0) for standing in found]
