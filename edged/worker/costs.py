"""What steps cost, by how many rows they have and how deep in their context they read: a shape, and a speed.

A step's cost is not linear in its rows: llama.cpp's matrix kernels work in tiles (of a 0.5B model in Q4_0 4 rows took
47 ms on two x86 cores, 8 took 72, 16 took 80 and 20 took 84). Nor do all rows become equally dearer with depth: below
64 rows its attention goes row by row through all that was read (eight rows took 44 ms at the beginning and 78 behind
1,000 tokens, sixteen 61 and 136), from 64 on in tiles (207 and 337). So costs are looked up and not calculated. How
sizes compare, at the beginning and deep, is the shape: a property of model and processor, measured while nobody asks
(`calibrate`) or, where that has not happened yet, learnt from the steps of work. What was never measured is bounded
from what was: fewer rows cost no more, and k times the rows no more than k times the cost, because the batch could have
been split. Both bounds are on the safe side, so new sizes are approached from below.

How quick the machine is now is one number for all sizes, from the last few steps: a size that was late is not made dear
for good by it, and a machine that became slower or faster is believed for sizes that were not used since.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

# Row counts that are told apart, and that chunks are cut to: multiples of the tiles of llama.cpp's repacked kernels
# (rows are taken by fours in ggml-cpu/repack.cpp), wider apart where a tile more is a smaller share.
SIZES: tuple[int, ...] = (
    1,
    2,
    3,
    *range(4, 32, 4),
    *range(32, 64, 8),
    *range(64, 128, 16),
    *range(128, 256, 32),
    *range(256, 513, 64),
)
# What a token of depth is assumed to add to a step's cost before that was measured: attention over 4,096 cells about
# doubles a 0.5B model's step on two x86 cores, and it weighs less in every larger model.
_GUESSED_GROWTH = 0.12 / 512
# Of five, two late ones do not move the median.
_RECENT = 5
# A size that was seen so often is part of the shape: from now on its steps tell the machine's speed.
_TRUSTED = 3


class StepCosts:
    """A table of measured steps. Seconds in, seconds out."""

    def __init__(self) -> None:
        self._shape: dict[int, float] = {}  # seconds at depth 0
        self._growth: dict[int, float] = {}  # seconds per token of depth
        self._learnt: dict[int, list[float]] = {}
        self._speeds: dict[int, deque[float]] = {}  # last steps in units of the shape, by how many sequences decoded
        self._latest = 0

    def calibrate(
        self, undisturbed_s: Mapping[int, float], deep_s: Mapping[int, float] | None = None, depth_tokens: int = 0
    ) -> None:
        """Steps of so many rows, all of them of `SIZES`, took so long while nobody asked: this is the shape.

        Some of them took `deep_s` behind `depth_tokens` tokens. Larger sizes than these are taken to cost as much per
        row: it is the small ones that tiles make uneven.
        """
        self._shape = _bounds(undisturbed_s, undisturbed_s)
        self._growth = {
            size: max(0.0, cost_s - self._shape[size]) / depth_tokens for size, cost_s in (deep_s or {}).items()
        }
        self._learnt.clear()
        self._speeds.clear()

    def observe(self, rows: int, depth_tokens: int, step_s: float, *, decoding: int = 0) -> None:
        """Learn from a step of `rows` rows, of which `decoding` drew a word, whose prompt stood at `depth_tokens`."""
        size = floor(rows)
        if not self._is_trusted(size):
            learnt = self._learnt.setdefault(size, [])
            learnt.append(step_s / (1 + _GUESSED_GROWTH * depth_tokens) / self._speed(decoding))
            self._shape[size] = median(learnt)
        elif size == rows:
            seen = self._speeds.setdefault(decoding, deque(maxlen=_RECENT))
            seen.append(step_s / self._at(size, self._shape[size], depth_tokens))
            self._latest = decoding

    def expected_s(self, depth_tokens: int, *, decoding: int = 0) -> dict[int, float]:
        """An upper bound of what a step costs, for each of `SIZES`; empty before anything was measured."""
        if not self._shape:
            return {}
        speed = self._speed(decoding)
        bounds = _bounds(self._shape, filter(self._is_trusted, self._shape))
        return {size: speed * self._at(size, cost_s, depth_tokens) for size, cost_s in bounds.items()}

    def _is_trusted(self, size: int) -> bool:
        return size in self._shape and len(self._learnt.get(size, ())) in (0, _TRUSTED)

    def _speed(self, decoding: int) -> float:
        """How much longer than in the shape steps take now; for a new number of sequences, as for the last."""
        seen = self._speeds.get(decoding) or self._speeds.get(self._latest)
        return median(seen) if seen else 1.0

    def _at(self, size: int, cost_s: float, depth_tokens: int) -> float:
        """What a step costs at a depth that costs `cost_s` at the beginning."""
        if not self._growth:
            return cost_s * (1 + _GUESSED_GROWTH * depth_tokens)
        largest = max(self._growth)
        growth = self._growth.get(size, self._growth[largest] * max(size / largest, 1.0))
        return cost_s + growth * depth_tokens


def _bounds(shape: Mapping[int, float], trusted: Iterable[int]) -> dict[int, float]:
    """The least that the measured sizes promise for each size; what is trusted is what it is."""
    bounds, row_s, more_s = {}, math.inf, math.inf
    for size in SIZES:
        row_s = min(row_s, shape.get(size, math.inf) / size)
        bounds[size] = row_s * size
    for size in reversed(SIZES):
        more_s = min(more_s, shape.get(size, math.inf))
        bounds[size] = min(bounds[size], more_s)
    return bounds | {size: shape[size] for size in trusted}


def floor(rows: int) -> int:
    """The largest of `SIZES` that is no more than `rows`: what a larger step took is a safe guess for the smaller."""
    return SIZES[bisect_right(SIZES, rows) - 1]
