"""The line in front of the models: who waits, who may, and who comes before whom.

One caller alone may fill every place. When another comes, the fullest branch gives a place up: its newest request is
refused, so that the places are divided as the slots are (`share.py`). Background requests give way to interactive ones.
Whoever is refused is told which it was: the line is full of others (`full`), or of the caller's own (`over_share`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeAlias, TypeVar

from edged.chat import Lane
from edged.local.plan import Want, fair_order
from edged.local.predict import Effort
from edged.local.share import Ledger, Path, Standing, branches

Granted = TypeVar("Granted")
# Places that are worked out one by one for a forecast; who is further back comes in the order of arrival.
_LOOK_AHEAD = 64

Refusal: TypeAlias = Literal["full", "over_share"]


@dataclass(slots=True, eq=False)
class Waiter(Generic[Granted]):
    """One place in the line, and what its request asks of a worker."""

    want: Want
    effort: Effort
    granted: asyncio.Future[Granted]


@dataclass(slots=True)
class Line(Generic[Granted]):
    """Who waits, oldest first, beside the ledger of everybody's share. `passed` is `plan`'s."""

    waiters: list[Waiter[Granted]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    passed: int = 0

    @property
    def wants(self) -> list[Want]:
        """The line as `plan` and `admit` see it."""
        return [waiter.want for waiter in self.waiters]

    def queued(self, lane: Lane | None = None) -> int:
        """How many wait, in one lane or in both."""
        return sum(lane in (None, waiter.want.lane) for waiter in self.waiters)

    def join(self, waiter: Waiter[Granted]) -> None:
        """Somebody comes; it must `give_back` what it is granted, or leave the ledger."""
        self.ledger.arrive(waiter.want.path, [other.want.path for other in self.waiters])
        self.waiters.append(waiter)

    def give_back(self, want: Want, held_s: float) -> None:
        """A request that was granted its slots has ended."""
        self.ledger.give_back(want.path, want.slots, held_s, [waiter.want.path for waiter in self.waiters])
        self.ledger.leave(want.path)

    def ahead_of(self, newcomer: Want) -> list[Effort]:
        """What will be granted on the same model before `newcomer`, if nobody else comes and nobody ends."""
        order = before(newcomer, self.wants, self.ledger.standings)
        return [self.waiters[index].effort for index in order]


def before(newcomer: Want, line: Sequence[Want], standings: Mapping[Path, Standing]) -> list[int]:
    """The indices of those in `line` who come before `newcomer` on its model, in order."""
    held = {path: replace(standing) for path, standing in standings.items()}
    waiting = {index: want for index, want in enumerate(line) if want.model == newcomer.model}
    waiting[len(line)] = newcomer
    order: list[int] = []
    while len(order) < _LOOK_AHEAD:
        index = min(
            waiting,
            key=lambda index: (waiting[index].lane != "interactive", fair_order(waiting[index].path, held), index),
        )
        if index == len(line):
            return order
        order.append(index)
        want = waiting.pop(index)
        for branch in branches(want.path):
            held.setdefault(branch, Standing()).held += want.slots
    later = [index for index, want in waiting.items() if want.lane == "interactive" or newcomer.lane == want.lane]
    return order + later[:-1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a newcomer's arrival means: which waiting request gives way, or why the newcomer is refused itself."""

    gives_way: int | None = None
    refusal: Refusal | None = None


def admit(line: Sequence[Want], newcomer: Want, most: int) -> Verdict:
    """Whether `newcomer` may stand in a `line` of at most `most` places, oldest first."""
    if len(line) < most:
        return Verdict()
    background = [index for index, want in enumerate(line) if want.lane == "background"]
    if newcomer.lane == "interactive" and background:
        fullest = _fullest([line[index].path for index in background])
        return Verdict(gives_way=max(index for index in background if _is_below(line[index].path, fullest)))
    rivals = [index for index, want in enumerate(line) if want.lane == newcomer.lane]
    fullest = _fullest([line[index].path for index in rivals] + [newcomer.path], own=newcomer.path)
    if _is_below(newcomer.path, fullest):
        return Verdict(refusal="over_share" if is_over_share(line, newcomer) else "full")
    return Verdict(gives_way=max(index for index in rivals if _is_below(line[index].path, fullest)))


def is_over_share(line: Sequence[Want], newcomer: Want) -> bool:
    """Whether others of its lane wait too, and `newcomer` would have more of the places than an equal share."""
    paths = [want.path for want in line if want.lane == newcomer.lane] + [newcomer.path]
    for branch in branches(newcomer.path)[1:]:
        siblings = Counter(path[: len(branch)] for path in paths if path[: len(branch) - 1] == branch[:-1])
        if len(siblings) > 1 and siblings[branch] > -(-(siblings.total() - 1) // len(siblings)):
            return True
    return False


def _fullest(paths: Sequence[Path], own: Path = ()) -> Path:
    """The whole path with the most requests at each fork from the root; among equals `own`, who came last."""
    fullest: Path = ()
    while below := Counter(path[: len(fullest) + 1] for path in paths if _is_below(path, fullest) and path != fullest):
        fullest = max(below, key=lambda branch: (below[branch], _is_below(own, branch)))
    return fullest


def _is_below(path: Path, branch: Path) -> bool:
    return path[: len(branch)] == branch
