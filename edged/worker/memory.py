"""The engine's memory with everything that is still worth something in it: running sequences and cached prefixes.

    enter ──▶ running ── grow … grow ──▶ keep ──▶ cached ──▶ copied out when cells or sequence numbers run short
      └──── takes the longest common prefix from anybody it may ◀──┴────────────────┘

What a sequence leaves behind stays in its cells until somebody needs them. Taking a prefix over costs no cells: the
pool is one (`kv_unified`), and llama.cpp only notes a further owner.

Sharing, copying out and in, and going back to a checkpoint are exact. Over 8-bit cells (`context.py`) so is reading
in any chunks: the logits behind all of it are bit for bit those of a lone run (`tests/worker/test_reuse.py`; on the
0.5B shape in Q4_0 as well). What is not is the order of cells: attention sums over them as they lie, llama.cpp fills
from the first free one on, and a sequence whose later tokens came to lie before its earlier ones rounds differently.
With 250 of 300 tokens so displaced the logits of the 0.5B shape moved by up to 0.16, with 100 of 200 not at all; the
most likely token was the same in both.

So nothing leaves its cells while somebody runs, if that can be helped: while nobody does, all that is cached is copied
out (`clear_ahead`). The pool fills from its beginning again, and what is copied in again lies behind everything, in
order. That also makes the next answers quicker: whatever lies in the pool, attention has to look whether it is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edged.worker.engine import Slots
from edged.worker.prefixes import Cells, Known, Match, Prefix, Snapshot, branch, first_to_go, is_covered, longest
from edged.worker.snapshots import Snapshots, thinned
from edged.worker.stored import WORTH_STORING_TOKENS, Stored, StoredPrefixes

# Fewer tokens than this are computed in about the time that a state takes to be copied out and in: on the 0.5B shape
# four take 26 ms, and a state of 500 tokens 7 to 11 and 1.
WORTH_COPYING_TOKENS = 4
# Whoever takes over so much of what somebody left goes on with it, even if an answer that was quoted fell into other
# tokens than it was drawn as: what is left behind is the first to go.
_SAME_CONVERSATION = 0.9
# Of the cells: room for a few turns of a conversation, so that an hour of short ones costs one clearing or two.
_ROOM_AHEAD = 1 / 4


class Memory:
    """Books of the pool: exact, so that the engine is never asked for cells that it does not have."""

    def __init__(self, engine: Slots, snapshot_bytes: int = 0, stored: StoredPrefixes | None = None) -> None:
        """Take over `engine`: whatever it held is gone. `snapshot_bytes` bounds what is kept outside of the cells.

        `stored` are prefixes in files, which are read where they help.
        """
        for slot in range(engine.slots):
            engine.release(slot)
        self._engine = engine
        self._cells = Cells()
        self._prefixes: list[Prefix] = []
        self._snapshots = Snapshots(snapshot_bytes)
        self.stored = stored or StoredPrefixes()
        self._free_slots = list(range(engine.slots))
        self._clock = 0

    @property
    def free_cells(self) -> int:
        """Cells that nobody holds."""
        return self._engine.context_tokens - len(self._cells)

    @property
    def spare_slot(self) -> int | None:
        """A sequence number that nobody uses, for somebody who gives it back at once; None where there is none."""
        return self._free_slots[-1] if self._free_slots else None

    @property
    def cached(self) -> list[Prefix]:
        """What nobody runs on."""
        return [prefix for prefix in self._prefixes if not prefix.is_running]

    @property
    def outside_of_files(self) -> list[Prefix | Snapshot]:
        """Everything that would be lost with this process."""
        return [*self._prefixes, *self._snapshots]

    def match(self, tokens: Sequence[int], partition: str | None) -> Match:
        """What a newcomer could take over now; from outside of the cells only where that is clearly more."""
        best = longest(tokens, partition, self._prefixes)
        copied = longest(tokens, partition, self._snapshots)
        best = copied if copied.count >= best.count + WORTH_COPYING_TOKENS else best
        stored = longest(tokens, partition, self.stored)
        return stored if stored.count >= best.count + WORTH_STORING_TOKENS else best

    def held_with(self, match: Match, running: Iterable[Prefix]) -> int:
        """Cells in use if all that is cached were dropped and `match` were taken over."""
        held = set[int]().union(*[prefix.cells for prefix in running])
        if isinstance(match.source, Snapshot):
            return len(held) + match.count
        return len(held.union(match.source.cells[: match.count]) if match.source else held)

    def enter(
        self, tokens: list[int], partition: str | None, match: Match, marks: Iterable[int] = (), *, again: int = 0
    ) -> Prefix:
        """A newcomer begins with what `match` offers; its `length` says how much that was. More must not run than may.

        `marks` are lengths at which others may want to begin. The last `again` tokens of what is offered are to be
        computed again, which only a memory that can be cut anywhere allows.
        """
        self._clock += 1
        goes_on_with = match.source if _goes_on(match) else None
        if match.source is not None:
            match.source.used = 0 if goes_on_with else self._clock
        wanted = () if self._engine.is_cuttable else (*marks, branch(tokens, partition, self._all()))
        _note_sharing(match, tokens)
        prefix = self._begin_stored(tokens, partition, replace(match, count=match.count - again))
        if again and match.source is not None and match.count == match.source.length:
            prefix.resumed = match.source.resumed + 1
        prefix.marks = sorted({mark for mark in wanted if prefix.length < mark < len(tokens)})
        prefix.used = self._clock
        if goes_on_with and prefix.length:
            prefix.shared = max(prefix.shared, goes_on_with.shared)
        return prefix

    def grow(self, prefix: Prefix, count: int) -> None:
        """`count` more tokens of a running sequence are in memory; never past its next mark."""
        prefix.cells.extend(self._cells.new(count))
        prefix.length += count
        if prefix.marks and prefix.length == prefix.marks[0]:
            del prefix.marks[0]
            self._note_checkpoint(prefix)

    def trim(self, prefix: Prefix) -> None:
        """Have the engine forget what it computed of a sequence behind what the books know: guesses that were wrong."""
        self._engine.cut(prefix.slot, prefix.length)

    def has_pinned(self, tokens: list[int]) -> bool:
        """Whether the owner's prefix `tokens` is in memory, also as the beginning of a longer one."""
        wanted = Known(tokens, None, len(tokens), is_pinned=True)
        return any(is_covered(wanted, prefix) for prefix in self.cached)

    def keep(self, prefix: Prefix, *, pinned: bool = False) -> None:
        """Its sequence has left; its tokens stay as long as there is room, unless others offer the same.

        With `pinned` they are the owner's and go last.
        """
        prefix.is_running, prefix.is_pinned = False, pinned
        prefix.tokens = prefix.tokens[: prefix.length]
        prefix.marks = []
        if prefix.length == 0:
            self.drop(prefix)
            return
        # What others offer as well is the first to go, but not before its cells are needed: llama.cpp goes on from the
        # lowest cell that is freed, and whoever runs or is continued would have later tokens in lower cells.
        if self._is_covered(prefix):
            prefix.used = 0
            return
        for other in self.cached:
            if other is not prefix and is_covered(other, prefix):
                other.used = 0

    def copied_out(self, source: Known, length: int, *, is_last: bool = False) -> Snapshot | None:
        """A state of the first `length` tokens of what nobody runs on, or of more; None where there is no room for it.

        The copy is the caller's, and soon let go of. Others have to make room for it only with `is_last`: with
        this process all of them will be lost.
        """
        if isinstance(source, Snapshot):
            return source if source in list(self._snapshots) else None
        if not isinstance(source, Prefix) or source not in self.cached or source.length < length:
            return None
        size = self.copied_bytes(source, source.length)
        if not (self._snapshots.make_room(size, self._prefixes) if is_last else self._snapshots.has_room(size)):
            return None
        if length == source.length or not self._engine.is_cuttable or not self._free_slots:
            return _snapshot(source, self._engine.save(source.slot))
        slot = self._free_slots[-1]
        self._engine.copy(source.slot, slot, length)
        state = self._engine.save(slot)
        self._engine.release(slot)
        return Snapshot(source.tokens[:length], source.partition, length, state=state)

    def copied_bytes(self, source: Known, length: int) -> int:
        """About how long a state of the first `length` tokens would be, without checkpoints."""
        if isinstance(source, Snapshot):
            return len(source.state)
        assert isinstance(source, Prefix)
        whole = self._engine.save_bytes(source.slot)
        return -(-whole * length // source.length) if self._engine.is_cuttable else whole

    def drop(self, prefix: Prefix) -> None:
        """Forget it; cells that nobody else holds are free."""
        self._engine.release(prefix.slot)
        self._cells.drop(prefix.cells)
        self._free_slots.append(prefix.slot)
        self._prefixes.remove(prefix)

    def free_up(self, cells: int, *, pinned: bool = False) -> None:
        """Copy cached prefixes out, least recently used first, until `cells` are free or nothing more would help."""
        while self.free_cells < cells and (victim := self._first_to_go(pinned=pinned)):
            self.evict(victim)

    def evict_one(self) -> bool:
        """Copy out the cached prefix that is missed least; False where there is none whose end frees a cell."""
        victim = self._first_to_go(pinned=True)
        if victim is not None:
            self.evict(victim)
        return victim is not None

    def clear_ahead(self, sequences: int) -> None:
        """While nobody runs: copy everything out that nothing is lost by, or that the next `sequences` newcomers need.

        6,000 cells of others made prompts of a 0.5B model a fifth to two fifths slower to read and words a tenth to
        decode (llama.cpp looks at the mask of each for every row); 2,000 tokens take 3 ms to copy in again, and 8 to 28
        to copy out.

        Only the owner's prefixes stay. Nothing else may: holes between what stays would be filled with tokens that
        continue what lies behind them.
        """
        if not self._engine.is_cuttable:
            return
        is_short = len(self._free_slots) < sequences or self.free_cells < _ROOM_AHEAD * self._engine.context_tokens
        going = [prefix for prefix in self.cached if not prefix.is_pinned]
        if is_short or self._is_better_outside(going):
            for prefix in sorted(going, key=lambda prefix: prefix.used):
                self.evict(prefix)

    def evict(self, prefix: Prefix) -> None:
        """Give its cells to others, and keep its state where that is worth it and there is room."""
        is_known = not prefix.used or self._snapshots.has(prefix) or self._is_covered(prefix)
        if prefix.length >= WORTH_COPYING_TOKENS and not is_known:
            others = [other for other in self._prefixes if other is not prefix]
            size = self._engine.save_bytes(prefix.slot) + sum(map(len, (prefix.cuts or {}).values()))
            if self._snapshots.make_room(size, others, instead=[prefix]):
                self._snapshots.add(_snapshot(prefix, self._engine.save(prefix.slot)))
        self.drop(prefix)

    def _is_better_outside(self, going: Sequence[Prefix]) -> bool:
        """Whether all of them find room without pushing others out, and the pool wins more cells than they may lose it.

        What they share, with the owner's prompts or with each other, each would have for itself when it comes back.
        """
        own = sum(self._cells.freed_by(prefix.cells) for prefix in going)
        if 2 * own < sum(prefix.length for prefix in going):
            return False
        return self._snapshots.has_room(sum(self._engine.save_bytes(prefix.slot) for prefix in going), instead=going)

    def _is_covered(self, prefix: Prefix) -> bool:
        """Whether others in the cells offer the same; what cannot be cut offers its end only while it stays there."""
        others = [o for o in self._prefixes if o is not prefix and (o.cuts is None or not o.is_running)]
        return any(is_covered(prefix, other) for other in others)

    def _all(self) -> list[Prefix | Snapshot]:
        return [*self.outside_of_files, *self.stored]

    def _first_to_go(self, *, pinned: bool) -> Prefix | None:
        return first_to_go(self._prefixes, lambda prefix: self._cells.freed_by(prefix.cells), pinned=pinned)

    def _begin_stored(self, tokens: list[int], partition: str | None, match: Match) -> Prefix:
        """Begin with what lies in a file, if that is what helps most; where it is damaged, with the next best."""
        while isinstance(match.source, Stored):
            if snapshot := self.stored.read(match.source):
                prefix = self._begin(tokens, partition, Match(snapshot, match.count))
                is_refused = prefix.length == 0 and self.free_cells >= snapshot.length
                self.stored.settle(match.source, is_refused=is_refused)
                return prefix
            match = self.match(tokens, partition)
        self.stored.note(tokens, partition, self._clock)
        return self._begin(tokens, partition, match)

    def _begin(self, tokens: list[int], partition: str | None, match: Match) -> Prefix:
        source, count = match.source, match.count
        if isinstance(source, Prefix) and count == source.length and not (source.is_running or source.is_pinned):
            # The newcomer goes on where the source ended: it is the same conversation.
            source.tokens, source.partition, source.is_running = tokens, partition, True
            source.resumed += 1
            return source
        # Before room is made for the newcomer: that may cost the source its checkpoints.
        cuts = _cuts(match, is_cuttable=self._engine.is_cuttable)
        back = cuts[count] if cuts and source and count < source.length else None
        if isinstance(source, Snapshot):
            self.free_up(source.length)
        slot = self._take_slot(besides=source)
        prefix = Prefix(tokens, partition, cuts=cuts, slot=slot)
        if isinstance(source, Snapshot) and count == source.length:
            prefix.resumed = source.resumed + 1
        if isinstance(source, Prefix):
            self._share(prefix, source, count, back)
        elif source is not None:
            self._restore(prefix, source, count, back)
        self._prefixes.append(prefix)
        return prefix

    def _share(self, prefix: Prefix, source: Prefix, count: int, back: bytes | None) -> None:
        self._engine.copy(source.slot, prefix.slot, count)
        if back is not None:
            self._engine.resume(prefix.slot, back)
        prefix.length, prefix.cells = count, source.cells[:count]
        self._cells.share(prefix.cells)

    def _restore(self, prefix: Prefix, source: Snapshot, count: int, back: bytes | None) -> None:
        """Copy a state in; where that fails the newcomer computes everything itself."""
        has_room = self.free_cells >= source.length
        if not has_room or not self._engine.load(prefix.slot, source.state):
            if has_room:
                self._snapshots.discard(source)
            prefix.cuts = None if prefix.cuts is None else {}
            return
        if back is not None:
            self._engine.resume(prefix.slot, back)
        if count < source.length:
            self._engine.cut(prefix.slot, count)
        prefix.length = count
        prefix.cells.extend(self._cells.new(count))

    def _note_checkpoint(self, prefix: Prefix) -> None:
        if self._snapshots.make_room(self._engine.checkpoint_bytes(prefix.slot), self._prefixes):
            noted = {**(prefix.cuts or {}), prefix.length: self._engine.checkpoint(prefix.slot)}
            prefix.cuts = {cut: noted[cut] for cut in thinned(noted)}

    def _take_slot(self, besides: Known | None = None) -> int:
        if not self._free_slots:
            cached = [prefix for prefix in self.cached if prefix is not besides]
            self.evict(min(cached, key=lambda prefix: (prefix.is_pinned, prefix.used)))
        return self._free_slots.pop()


def _cuts(match: Match, *, is_cuttable: bool) -> dict[int, bytes] | None:
    """The checkpoints that come with `match`."""
    if is_cuttable:
        return None
    return {cut: part for cut, part in ((match.source and match.source.cuts) or {}).items() if cut <= match.count}


def _goes_on(match: Match) -> bool:
    """Whether the newcomer makes what it begins with superfluous."""
    source = match.source
    if source is None or source.is_pinned or (isinstance(source, Prefix) and source.is_running):
        return False
    return match.count >= _SAME_CONVERSATION * source.length


def _note_sharing(match: Match, tokens: list[int]) -> None:
    """Two have begun alike, if they are two and not one conversation that goes on, or one request for several answers.

    Those ask for the very prompt that is still running.
    """
    source, count = match.source, match.count
    if source is None or count < WORTH_STORING_TOKENS or count == source.length:
        return
    if not (isinstance(source, Prefix) and source.is_running and count == len(tokens) - 1):
        source.shared = max(source.shared, count)


def _snapshot(prefix: Prefix, state: bytes) -> Snapshot:
    return Snapshot(
        prefix.tokens[: prefix.length],
        prefix.partition,
        prefix.length,
        prefix.cuts,
        prefix.is_pinned,
        prefix.used,
        prefix.resumed,
        prefix.shared,
        state,
    )
