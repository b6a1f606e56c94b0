"""Who holds which tokens, what of it a newcomer may take over, and whose go first: decisions without an engine.

    slot 3   s s s s u u a a a        cached: an answer has ended, its tokens are still in memory
    slot 5   s s s s U U U            running: its first four cells are those of slot 3, and count once
    newcomer s s s s u u X            takes six from slot 3, computes one

A prefix belongs to a partition, and nobody is told by a quick answer what somebody else has asked: across partitions
only prefixes without one are shared, which are the owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Prefix:
    """The first `length` of `tokens` as the cells of `slot` hold them; `cells` names each of these cells.

    `used` is when it last served somebody, on a clock that ticks with every newcomer. A running sequence appends to
    `tokens`, so never assume that they end at `length`.
    """

    slot: int
    tokens: list[int]
    partition: str | None
    length: int = 0
    cells: list[int] = field(default_factory=list)
    is_running: bool = True
    is_pinned: bool = False
    used: int = 0

    def is_open_to(self, partition: str | None) -> bool:
        """Whether `partition` may know that these tokens are here."""
        return self.partition is None or self.partition == partition


@dataclass(frozen=True, slots=True)
class Match:
    """`count` tokens that a newcomer need not compute, and who has them."""

    source: Prefix | None = None
    count: int = 0


class Cells:
    """Which cells of the pool are in use, and by how many sequences: a shared one counts once."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._holders)

    def new(self, count: int) -> range:
        """Names for `count` cells that one sequence has just filled."""
        names = range(self._next, self._next + count)
        self._next = names.stop
        self._holders.update(dict.fromkeys(names, 1))
        return names

    def share(self, cells: Iterable[int]) -> None:
        """One more sequence holds `cells`."""
        for cell in cells:
            self._holders[cell] += 1

    def drop(self, cells: Iterable[int]) -> None:
        """One sequence fewer holds `cells`."""
        for cell in cells:
            if self._holders[cell] == 1:
                del self._holders[cell]
            else:
                self._holders[cell] -= 1

    def freed_by(self, cells: Iterable[int]) -> int:
        """How many cells the pool would gain if their holder let go of them."""
        return sum(self._holders[cell] == 1 for cell in cells)


def common(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """How many tokens both begin with, at most `most`; `most` lies inside both."""
    if one[:most] == other[:most]:
        return most
    agreed, differ = 0, most  # one[:agreed] is equal, one[:differ] is not: slices compare faster than a loop
    while differ - agreed > 1:
        middle = (agreed + differ) // 2
        if one[agreed:middle] == other[agreed:middle]:
            agreed = middle
        else:
            differ = middle
    return agreed


def longest(tokens: Sequence[int], partition: str | None, prefixes: Iterable[Prefix]) -> Match:
    """The most that a newcomer with `tokens` may take over; of several, from the one that was used last.

    Never all of it: the last token is always computed, because its output is what the newcomer came for.
    """
    best = Match()
    for prefix in sorted(prefixes, key=lambda prefix: prefix.used, reverse=True):
        if prefix.is_open_to(partition):
            count = common(prefix.tokens, tokens, min(prefix.length, len(tokens) - 1))
            if count > best.count:
                best = Match(prefix, count)
    return best


def is_covered(prefix: Prefix, by: Prefix) -> bool:
    """Whether `by` offers everything that `prefix` does, to everybody whom `prefix` serves."""
    if prefix.is_pinned or prefix.length > by.length or not by.is_open_to(prefix.partition):
        return False
    return common(prefix.tokens, by.tokens, prefix.length) == prefix.length


def first_to_go(prefixes: Iterable[Prefix], freed_by: Callable[[Prefix], int], *, pinned: bool) -> Prefix | None:
    """The least recently used cached prefix whose end frees cells; the owner's only with `pinned`, after all others."""
    cached = [prefix for prefix in prefixes if not prefix.is_running and (pinned or not prefix.is_pinned)]
    cached.sort(key=lambda prefix: (prefix.is_pinned, prefix.used))
    return next((prefix for prefix in cached if freed_by(prefix)), None)
