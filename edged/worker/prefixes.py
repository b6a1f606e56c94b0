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

# Prompts are compared by slices, which is ten times as quick as token by token, and by slices this long, because most
# part early.
_COMPARED_TOKENS = 256


@dataclass(slots=True, eq=False)
class Known:
    """The first `length` of `tokens` are computed, and whom that may help.

    `cuts` is None where the memory can be cut behind any token. A sliding window or a recurrent state cannot: then only
    all of it can be taken over, or as much as a checkpoint in `cuts` brings back, by its number of tokens. `used` is
    when it last served somebody, on a clock that ticks with every newcomer; 0 where others offer the same, or nearly:
    that is the first to go. `resumed` says how often it was gone on
    with, `shared` how much of it others have begun with, at most.
    """

    tokens: list[int]
    partition: str | None
    length: int = 0
    cuts: dict[int, bytes] | None = None
    is_pinned: bool = False
    used: int = 0
    resumed: int = 0
    shared: int = 0

    def is_open_to(self, partition: str | None) -> bool:
        """Whether `partition` may know that these tokens are here."""
        return self.partition is None or self.partition == partition

    def offers(self, count: int) -> int:
        """The most that can be taken over of the first `count` tokens."""
        if self.cuts is None:
            return min(count, self.length)
        return max((cut for cut in (*self.cuts, self.length) if cut <= count), default=0)


@dataclass(slots=True, eq=False)
class Prefix(Known):
    """Tokens that the cells of `slot` hold; `cells` names each of these cells.

    A running sequence appends to `tokens`, so never assume that they end at `length`. `marks` are the lengths at which
    a checkpoint is still wanted, ascending.
    """

    slot: int = 0
    cells: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    is_running: bool = True

    def will_offer(self, count: int) -> int:
        """What it offers of `count` tokens once its prompt is read."""
        return count if self.cuts is None else max((mark for mark in self.marks if mark <= count), default=0)


@dataclass(slots=True, eq=False)
class Snapshot(Known):
    """Tokens whose `state` was copied out of cells that others needed."""

    state: bytes = b""


@dataclass(frozen=True, slots=True)
class Match:
    """`count` tokens that a newcomer need not compute, and who has them."""

    source: Prefix | Snapshot | None = None
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
    for start in range(0, most, _COMPARED_TOKENS):
        end = min(start + _COMPARED_TOKENS, most)
        if one[start:end] != other[start:end]:
            return next(at for at in range(start, end) if one[at] != other[at])
    return most


def longest(tokens: Sequence[int], partition: str | None, known: Iterable[Prefix | Snapshot]) -> Match:
    """The most that a newcomer with `tokens` may take over; of several, from the one that was used last.

    Never all of it: the last token is always computed, because its output is what the newcomer came for.
    """
    best = Match()
    for prefix in sorted(known, key=lambda prefix: prefix.used, reverse=True):
        if prefix.is_open_to(partition):
            count = prefix.offers(common(prefix.tokens, tokens, min(prefix.length, len(tokens) - 1)))
            if count > best.count:
                best = Match(prefix, count)
    return best


def branch(tokens: Sequence[int], partition: str | None, known: Iterable[Known]) -> int:
    """How long the newcomer's beginning is one that somebody had before, whether or not it can be taken over.

    Where two conversations part, a third is likely to: there a checkpoint is worth its bytes.
    """
    return max(
        (common(k.tokens, tokens, min(k.length, len(tokens) - 1)) for k in known if k.is_open_to(partition)), default=0
    )


def is_covered(known: Known, by: Known) -> bool:
    """Whether `by` offers everything that `known` does, to everybody whom `known` serves."""
    if (known.is_pinned and not by.is_pinned) or not by.is_open_to(known.partition):
        return False
    if by.offers(known.length) < known.length:
        return False
    return common(known.tokens, by.tokens, known.length) == known.length


def first_to_go(prefixes: Iterable[Prefix], freed_by: Callable[[Prefix], int], *, pinned: bool) -> Prefix | None:
    """The least recently used cached prefix whose end frees cells; the owner's only with `pinned`, after all others."""
    cached = [prefix for prefix in prefixes if not prefix.is_running and (pinned or not prefix.is_pinned)]
    cached.sort(key=lambda prefix: (prefix.is_pinned, prefix.used))
    return next((prefix for prefix in cached if freed_by(prefix)), None)
