"""Who has had how much: slots held now and slot-seconds used, for every caller who is here, along the caller's path.

    lane ─▶ account ─▶ peer address ─▶ the request's own user field

At each fork the next slot goes to the branch that holds the fewest slots now; among equals, to the one that has used
the fewest slot-seconds; among those, to whoever came first. So callers who all have work hold equally many slots, one
who has nothing running never waits behind a second answer of one who has many, and where there are more callers than
slots their times even out. A `user` field only divides the branch of its address.

Shares bind only while others wait. A newcomer begins at what an equal share has had by now (the virtual time of fair
queueing), or beside the one who waits with the least of those who had something already: nobody saves up while away,
what was used while nobody else waited is held against nobody, and newcomers without end, who would all begin beside
each other, cannot keep those who were here before from their turn for ever. The ledger remembers only those who are
here, so a debt ends with a caller's last request: on a single slot, who sends one request at a time takes turns with
who sends twenty, whatever each costs.

No clock and no side effects beyond the ledger itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

# A lane and then the caller's path below it, or the beginning of one.
Path: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class Standing:
    """What one branch has: slots held now, and slot-seconds used, counted from what it `began` at."""

    held: int = 0
    used: float = 0.0
    began: float = 0.0

    @property
    def had_some(self) -> bool:
        """Whether it was granted anything since it came."""
        return self.held > 0 or self.used > self.began


def branches(path: Path) -> list[Path]:
    """Every branch that `path` passes, the widest first."""
    return [path[:depth] for depth in range(1, len(path) + 1)]


@dataclass(slots=True)
class Ledger:
    """The standings of everybody who waits or is being answered."""

    _standings: dict[Path, Standing] = field(default_factory=dict)
    _requests: Counter[Path] = field(default_factory=Counter)
    # Slot-seconds that an equal share below a branch has had by now.
    _share: dict[Path, float] = field(default_factory=dict)

    @property
    def standings(self) -> Mapping[Path, Standing]:
        """By branch; who is not here is not in it."""
        return self._standings

    def arrive(self, path: Path, waiting: Iterable[Path]) -> None:
        """A request has come; `waiting` are the paths of those who wait already."""
        for branch in branches(path):
            self._requests[branch] += 1
        self._standings |= self.newcomers(path, waiting)

    def newcomers(self, path: Path, waiting: Iterable[Path]) -> dict[Path, Standing]:
        """The branches that a request brings which nobody is on yet, and what they begin with."""
        rivals = {branch for other in waiting for branch in branches(other)}
        found = {}
        for branch in branches(path):
            if branch not in self._standings:
                siblings = [self._standings[rival] for rival in rivals if _are_siblings(rival, branch)]
                least = [standing.used for standing in siblings if standing.had_some]
                began = min([self._share.get(branch[:-1], 0.0), *least])
                found[branch] = Standing(used=began, began=began)
        return found

    def grant(self, path: Path, slots: int) -> None:
        """It was given `slots`."""
        for branch in branches(path):
            self._standings[branch].held += slots

    def give_back(self, path: Path, slots: int, held_s: float, waiting: Iterable[Path]) -> None:
        """It held `slots` for `held_s` seconds; `waiting` are the paths of those who wait now."""
        rivals = {branch for other in waiting for branch in branches(other)}
        for branch in branches(path):
            standing, parent = self._standings[branch], branch[:-1]
            standing.held -= slots
            standing.used += slots * held_s
            siblings = {rival for rival in rivals if _are_siblings(rival, branch)} | {branch}
            self._share[parent] = self._share.get(parent, 0.0) + slots * held_s / len(siblings)

    def leave(self, path: Path) -> None:
        """It is over: answered, refused or given up."""
        for branch in branches(path):
            self._requests[branch] -= 1
            if not self._requests[branch]:
                del self._requests[branch], self._standings[branch]
                self._share.pop(branch, None)
        if not self._requests:
            self._share.clear()


def _are_siblings(one: Path, other: Path) -> bool:
    return len(one) == len(other) and one[:-1] == other[:-1]
