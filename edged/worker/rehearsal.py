"""What steps of each size cost on this machine, measured while nobody asks for anything.

A long prompt that comes beside a running answer is read in chunks that keep the steps short (`worker/pace.py`), and
which chunk is best depends on tiles that nobody can calculate. Learning it from the steps of work would approach the
best size from below, a few tokens at a time, while somebody waits. So once, the sizes that matter beside an answer are
tried, at the beginning of a context and then behind some text, on cells that are free again afterwards. Somebody who
asks waits for one step at most; what was read for the sake of depth is then read again another time.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from edged.wire import Tuned
from edged.worker.costs import SIZES
from edged.worker.engine import DecodeFailed, Engine, MemoryFull, Row
from edged.worker.memory import Memory

# The quickest of three is the machine's own; the others were late.
_ROUNDS = 3
# Somebody who asks just now waits for one of these at most, or twice as long where it is deep.
_LONGEST_S = 0.25
# A machine that does not come so far is too slow for its tiles to be found out like this.
_FEWEST_ROWS = 16
# Deep enough for attention to be seen beside the weights, and of the context at most this part; a slow machine reads
# for so many seconds and takes what it has read by then. With less than the least, growth is guessed.
_DEEP_TOKENS, _LEAST_DEEP_TOKENS = 1024, 128
_DEEP_SHARE = 1 / 4
_DEEP_S = 15.0


class Rehearsal:
    """The steps that are still to be tried: `step` tries the next one, `rest` gives back its cells."""

    def __init__(self, engine: Engine, memory: Memory, vocabulary_tokens: int) -> None:
        self._engine = engine
        self._memory = memory
        self._vocabulary_tokens = vocabulary_tokens
        self._flat_s: dict[int, float] = {}
        self._deep_s: dict[int, float] = {}
        self._depth_tokens = 0
        self._slot: int | None = None
        self._coming = self._at_the_beginning()
        self.is_over = False

    @property
    def found(self) -> Tuned | None:
        """What all of them took; None before the end, or where that says nothing."""
        if not self.is_over or max(self._flat_s, default=0) < _FEWEST_ROWS:
            return None
        (rows, rows_s), (_, deep_rows_s) = _columns(self._flat_s), _columns(self._deep_s)
        return Tuned(None, rows, rows_s, self._depth_tokens, deep_rows_s)

    def step(self) -> None:
        """Try one size on cells that nobody uses.

        Where there are none, or the engine fails, all of it is over. Behind some text only depth remains unknown then;
        before that, costs are learnt from the steps of work.
        """
        try:
            if next(self._coming, "over") != "over":
                return
        except (MemoryFull, DecodeFailed):
            self._deep_s.clear()
            if self._slot is None:
                self._flat_s.clear()
        self.is_over = True
        self.rest()

    def rest(self) -> None:
        """Hold nothing any more: somebody needs the engine. What was read for the sake of depth is read again."""
        if self._slot is not None:
            self._engine.release(self._slot)
            self._slot = None
            self._coming = self._behind_some_text()

    def _at_the_beginning(self) -> Iterator[None]:
        for _ in range(_ROUNDS):
            for rows in SIZES:
                if rows > self._engine.batch_tokens:
                    break
                slot = self._free_slot()
                try:
                    self._note(self._flat_s, rows, self._decode(slot, 0, rows))
                finally:
                    self._engine.release(slot)
                yield
                if self._flat_s[rows] > _LONGEST_S:
                    break
        yield from self._behind_some_text()

    def _behind_some_text(self) -> Iterator[None]:
        most = min(_DEEP_TOKENS, int(_DEEP_SHARE * self._engine.context_tokens))
        quick = (rows for rows, took_s in self._flat_s.items() if took_s <= _LONGEST_S and rows <= most)
        chunk = max(quick, default=0)
        if chunk < _FEWEST_ROWS or not self._engine.is_cuttable:
            return
        self._slot, depth, reading_s = self._free_slot(), 0, 0.0
        while depth + chunk <= most and reading_s < _DEEP_S:
            reading_s += self._decode(self._slot, depth, chunk)
            depth += chunk
            yield
        if depth < _LEAST_DEEP_TOKENS:
            return
        self._depth_tokens = depth
        self._deep_s.clear()
        for _ in range(_ROUNDS):
            for rows in self._flat_s:
                if self._memory.free_cells < depth + rows:
                    break
                took_s = self._decode(self._slot, depth, rows)
                self._engine.cut(self._slot, depth)
                self._note(self._deep_s, rows, took_s)
                yield
                if self._deep_s[rows] > 2 * _LONGEST_S:
                    break

    def _decode(self, slot: int, at: int, rows: int) -> float:
        """How long `rows` rows behind `at` took. Raises `MemoryFull`, `DecodeFailed`."""
        if self._memory.free_cells < at + rows:
            raise MemoryFull
        began = perf_counter()
        # Different tokens: a mixture of experts reads other weights for each.
        tokens = [(place * 7919 + 1) % self._vocabulary_tokens for place in range(at, at + rows)]
        last = at + rows - 1
        self._engine.decode([Row(token, at + index, slot, at + index == last) for index, token in enumerate(tokens)])
        return perf_counter() - began

    def _free_slot(self) -> int:
        slot = self._memory.spare_slot
        if slot is None:
            raise MemoryFull
        return slot

    @staticmethod
    def _note(quickest_s: dict[int, float], rows: int, took_s: float) -> None:
        quickest_s[rows] = min(took_s, quickest_s.get(rows, took_s))


def _columns(found: dict[int, float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(found), tuple(round(took_s, 6) for took_s in found.values())
