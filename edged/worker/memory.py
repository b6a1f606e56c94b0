"""The engine's memory with everything that is still worth something in it: running sequences and cached prefixes.

    enter ──▶ running ── grow … grow ──▶ keep ──▶ cached ──▶ dropped when cells or sequence numbers run short
      └──── takes the longest common prefix from anybody it may ◀──┘

What a sequence leaves behind stays in its cells until somebody needs them. Taking a prefix over costs no cells: the
pool is one (`kv_unified`), and llama.cpp only notes a further owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from edged.worker.prefixes import Cells, Match, Prefix, first_to_go, is_covered, longest


class Slots(Protocol):
    """What is asked of an engine to share and to forget."""

    @property
    def context_tokens(self) -> int:
        """Cells in the pool."""
        ...

    @property
    def slots(self) -> int:
        """Sequence numbers: who runs, and what is cached, has one each."""
        ...

    def copy(self, source: int, target: int, count: int) -> None:
        """Have the empty slot `target` share the first `count` cells of `source`."""
        ...

    def release(self, slot: int) -> None:
        """Let go of every cell of a slot."""
        ...


class Memory:
    """Books of the pool: exact, so that the engine is never asked for cells that it does not have."""

    def __init__(self, engine: Slots) -> None:
        """Take over `engine`: whatever it held is gone."""
        for slot in range(engine.slots):
            engine.release(slot)
        self._engine = engine
        self._cells = Cells()
        self._prefixes: list[Prefix] = []
        self._free_slots = list(range(engine.slots))
        self._clock = 0

    @property
    def free_cells(self) -> int:
        """Cells that nobody holds."""
        return self._engine.context_tokens - len(self._cells)

    @property
    def cached(self) -> list[Prefix]:
        """What nobody runs on."""
        return [prefix for prefix in self._prefixes if not prefix.is_running]

    def match(self, tokens: Sequence[int], partition: str | None) -> Match:
        """What a newcomer could take over now."""
        return longest(tokens, partition, self._prefixes)

    def held_with(self, match: Match, running: Iterable[Prefix]) -> int:
        """Cells in use if all that is cached were dropped, except what `match` takes over."""
        held = set(match.source.cells[: match.count]) if match.source else set()
        return len(held.union(*[prefix.cells for prefix in running]))

    def enter(self, tokens: list[int], partition: str | None, match: Match) -> Prefix:
        """A newcomer begins with what `match` offers. There must be fewer running than slots."""
        self._clock += 1
        source, count = match.source, match.count
        if source is None:
            prefix = Prefix(self._take_slot(), tokens, partition)
            self._prefixes.append(prefix)
        else:
            source.used = self._clock
            prefix = self._share(source, tokens, partition, count)
        prefix.used = self._clock
        return prefix

    def grow(self, prefix: Prefix, count: int) -> None:
        """`count` more tokens of a running sequence are in memory."""
        prefix.cells.extend(self._cells.new(count))
        prefix.length += count

    def keep(self, prefix: Prefix) -> None:
        """Its sequence has left; its tokens stay as long as there is room, unless others offer the same."""
        prefix.is_running = False
        prefix.tokens = prefix.tokens[: prefix.length]
        others = [other for other in self._prefixes if other is not prefix]
        if prefix.length == 0 or any(is_covered(prefix, other) for other in others):
            self.drop(prefix)
            return
        for other in others:
            if not other.is_running and is_covered(other, prefix):
                self.drop(other)

    def drop(self, prefix: Prefix) -> None:
        """Forget it; cells that nobody else holds are free."""
        self._engine.release(prefix.slot)
        self._cells.drop(prefix.cells)
        self._free_slots.append(prefix.slot)
        self._prefixes.remove(prefix)

    def free_up(self, cells: int, *, pinned: bool = False) -> None:
        """Drop cached prefixes, least recently used first, until `cells` are free or nothing more would help."""
        while self.free_cells < cells and (victim := self._first_to_go(pinned=pinned)):
            self.drop(victim)

    def drop_one(self) -> bool:
        """Drop the cached prefix that is missed least; False where there is none whose end frees a cell."""
        victim = self._first_to_go(pinned=True)
        if victim is not None:
            self.drop(victim)
        return victim is not None

    def _first_to_go(self, *, pinned: bool) -> Prefix | None:
        return first_to_go(self._prefixes, lambda prefix: self._cells.freed_by(prefix.cells), pinned=pinned)

    def _share(self, source: Prefix, tokens: list[int], partition: str | None, count: int) -> Prefix:
        if count == source.length and not source.is_running and not source.is_pinned:
            # The newcomer goes on where the source ended: it is the same conversation.
            source.tokens, source.partition, source.is_running = tokens, partition, True
            return source
        prefix = Prefix(self._take_slot(besides=source), tokens, partition, count, source.cells[:count])
        self._engine.copy(source.slot, prefix.slot, count)
        self._cells.share(prefix.cells)
        self._prefixes.append(prefix)
        return prefix

    def _take_slot(self, besides: Prefix | None = None) -> int:
        if not self._free_slots:
            cached = [prefix for prefix in self.cached if prefix is not besides]
            self.drop(min(cached, key=lambda prefix: (prefix.is_pinned, prefix.used)))
        return self._free_slots.pop()
