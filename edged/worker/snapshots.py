"""What had to leave the cells but may still be wanted, within a budget of bytes: states and checkpoints.

A state is all that the engine knows of a sequence, copied out; copied in again it is worth as many tokens. A checkpoint
is the part of it that cannot be cut, a window or a recurrent state, noted at a length that others may begin with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edged.worker.prefixes import Known, Snapshot, is_covered

# Checkpoints of one sequence: where the system prompt ends, and the last turns.
MOST_CUTS = 4


class Snapshots:
    """States by last use. The owner's are the last to go."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: list[Snapshot] = []

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._kept)

    def has(self, known: Known) -> bool:
        """Whether a state offers all that `known` does."""
        return any(is_covered(known, kept) for kept in self._kept)

    def add(self, snapshot: Snapshot) -> None:
        """Keep a state for which room was made."""
        self._kept.append(snapshot)

    def discard(self, snapshot: Snapshot) -> None:
        """Forget a state."""
        self._kept = [kept for kept in self._kept if kept is not snapshot]

    def has_room(self, wanted_bytes: int, *, instead: Sequence[Known] = ()) -> bool:
        """Whether `wanted_bytes` fit beside all states but those that `instead` make superfluous, or others did."""
        staying = [kept for kept in self._besides(instead) if kept.used]
        return _bytes(staying) + wanted_bytes <= self._budget_bytes

    def make_room(self, wanted_bytes: int, live: Iterable[Known], *, instead: Sequence[Known] = ()) -> bool:
        """Let states go, then the checkpoints of `live` sequences, until `wanted_bytes` fit; False where they cannot.

        First go those that `instead` make superfluous, then the least recently used.
        """
        if wanted_bytes > self._budget_bytes:
            return False
        self._kept = self._besides(instead)
        with_cuts = sorted((known for known in live if known.cuts), key=lambda known: (known.is_pinned, known.used))
        while _bytes([*self._kept, *with_cuts]) + wanted_bytes > self._budget_bytes:
            if self._kept:
                self.discard(min(self._kept, key=lambda kept: (kept.is_pinned, kept.used)))
            else:
                with_cuts.pop(0).cuts = {}
        return True

    def _besides(self, others: Sequence[Known]) -> list[Snapshot]:
        return [kept for kept in self._kept if not any(is_covered(kept, other) for other in others)]


def thinned(cuts: Iterable[int]) -> list[int]:
    """Which of `cuts` to keep: the first, which others are likeliest to share, and the last ones."""
    ordered = sorted(cuts)
    return ordered if len(ordered) <= MOST_CUTS else [ordered[0], *ordered[-(MOST_CUTS - 1) :]]


def _bytes(known: Iterable[Known]) -> int:
    """Bytes of all states and checkpoints; what several share counts once."""
    parts = {}
    for one in known:
        for part in (one.cuts or {}).values():
            parts[id(part)] = len(part)
        if isinstance(one, Snapshot):
            parts[id(one.state)] = len(one.state)
    return sum(parts.values())
