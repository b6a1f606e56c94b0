"""Who goes when a model lacks room: a pure choice among those in memory.

Never one that is busy, and nobody as long as what is leaving already makes the room. Among the idle those go whose
absence costs least: what a model is worth is the seconds that loading it again takes, times how often it was used
lately. Models that the owner wants in memory go last, because somebody waits now and they can come back; and nobody
goes in vain, so where those that are idle do not suffice, everybody stays until enough of them are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

SeatState: TypeAlias = Literal["loading", "ready", "leaving"]


@dataclass(frozen=True, slots=True)
class Seat:
    """A model in memory, or on its way in or out, as `plan` sees it.

    `worth_s` is what its absence would cost, by its use of late. `is_kept` says that the owner wants it there. One that
    `has_turn` was loaded for somebody only just, is used, and stays a while: two callers with a model each would else
    spend their time on loads.
    """

    state: SeatState
    free: int
    total: int
    used_s: float
    guests: int = 0
    worth_s: float = 0.0
    is_kept: bool = False
    has_turn: bool = False

    @property
    def is_idle(self) -> bool:
        """In memory, and nobody uses it."""
        return self.state == "ready" and self.free == self.total and self.guests == 0


@dataclass(frozen=True, slots=True)
class Lack:
    """How many models too many there are, and how many bytes too few; zero or less of what is there."""

    models: int
    size_bytes: float

    @property
    def is_met(self) -> bool:
        """There is room."""
        return self.models <= 0 and self.size_bytes <= 0

    def without(self, gone: Sequence[str], needs: Mapping[str, int]) -> Lack:
        """What is lacking once these are gone."""
        return Lack(self.models - len(gone), self.size_bytes - sum(needs.get(model, 0) for model in gone))


def who_goes(lack: Lack, seats: Mapping[str, Seat], needs: Mapping[str, int]) -> tuple[str, ...]:
    """The models that have to go, some of them perhaps busy still; none while waiting is all that is to be done."""
    lack = lack.without([model for model, seat in seats.items() if seat.state == "leaving"], needs)
    if lack.is_met:
        return ()
    idle = [model for model, seat in seats.items() if seat.is_idle]
    able = [model for model, seat in seats.items() if seat.state == "ready" and not seat.has_turn]
    for among in (_not_kept(idle, seats), idle, _not_kept(able, seats), able):
        if (chosen := _cheapest(lack, among, seats, needs)) is not None:
            # A turn that is not used ends in a moment: better to wait for it than to have one go that is worth more.
            return () if any(seats[model].has_turn for model in chosen) else chosen
    # Not even all of them together make the room. Who is loading, or has his turn, may be among them in a moment.
    will_change = any(seat.state == "loading" or seat.has_turn for seat in seats.values())
    return () if will_change else tuple(able)


def _not_kept(models: Sequence[str], seats: Mapping[str, Seat]) -> list[str]:
    return [model for model in models if not seats[model].is_kept]


def _cheapest(
    lack: Lack, among: Sequence[str], seats: Mapping[str, Seat], needs: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Those `among` whose going meets `lack`, each of them needed for it, the least worth (for its size) first."""

    def price(model: str) -> tuple[float, float]:
        seat = seats[model]
        return (seat.worth_s / max(1, needs.get(model, 1)) if lack.size_bytes > 0 else seat.worth_s), seat.used_s

    chosen: list[str] = []
    for model in sorted(among, key=price):
        if lack.without(chosen, needs).is_met:
            break
        chosen.append(model)
    if not lack.without(chosen, needs).is_met:
        return None
    for model in sorted(chosen, key=lambda model: -seats[model].worth_s):
        others = [other for other in chosen if other != model]
        if lack.without(others, needs).is_met:
            chosen = others
    return tuple(chosen)
