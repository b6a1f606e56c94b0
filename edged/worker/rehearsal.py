"""What steps of each size cost on this machine, measured while nobody asks for anything.

A long prompt that comes beside a running answer is read in chunks that keep the steps short (`worker/pace.py`), and
which chunk is best depends on tiles that nobody can calculate. Learning it from the steps of work would approach the
best size from below, a few tokens at a time, while somebody waits. So after loading, the sizes that matter beside an
answer are tried once, on cells that are free again at once. Somebody who asks waits for one step at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from edged.worker.costs import SIZES
from edged.worker.engine import DecodeFailed, Engine, MemoryFull, Row
from edged.worker.memory import Memory
from edged.worker.pace import Pace

# The quickest of three is the machine's own; the others were late.
_ROUNDS = 3
# Somebody who asks just now waits for one of these at most.
_LONGEST_S = 0.25
# A machine that does not come so far is too slow for its tiles to be found out like this.
_FEWEST_ROWS = 16


class Rehearsal:
    """The steps that are still to be tried. `step` tries the next one; `found` is what all of them took, in the end."""

    def __init__(self, engine: Engine, memory: Memory, pace: Pace, vocabulary_tokens: int) -> None:
        self._engine = engine
        self._memory = memory
        self._pace = pace
        self._vocabulary_tokens = vocabulary_tokens
        self._coming: Iterator[int] = self._sizes()
        self._quickest_s: dict[int, float] = {}
        self.found: dict[int, float] = {}
        self.is_over = False

    def step(self) -> None:
        """Try one size on cells that nobody uses; the last step hands over what all of them took.

        Where there are no cells, or the engine fails, all of it is over, and costs are learnt from the steps of work.
        """
        rows, slot = next(self._coming, 0), self._memory.spare_slot
        if not rows and max(self._quickest_s) >= _FEWEST_ROWS:
            self.found = self._quickest_s
            self._pace.costs.calibrate(self.found)
        if not rows or slot is None or self._memory.free_cells < rows:
            self.is_over = True
            return
        began = perf_counter()
        try:
            self._engine.decode([Row(self._token(at), at, slot, at + 1 == rows) for at in range(rows)])
        except (MemoryFull, DecodeFailed):
            self.is_over = True
            return
        finally:
            self._engine.release(slot)
        took_s = perf_counter() - began
        self._quickest_s[rows] = min(took_s, self._quickest_s.get(rows, took_s))

    def _sizes(self) -> Iterator[int]:
        for _ in range(_ROUNDS):
            for rows in SIZES:
                if rows > self._engine.batch_tokens:
                    break
                yield rows
                if self._quickest_s[rows] > _LONGEST_S:
                    break

    def _token(self, at: int) -> int:
        """Different ones: a mixture of experts reads other weights for each."""
        return (at * 7919 + 1) % self._vocabulary_tokens
