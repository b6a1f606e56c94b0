"""What steps cost, by how many rows they have and how deep in their context they read: a shape, and a speed.

A step's cost is not linear in its rows: llama.cpp's matrix kernels work in tiles (of a 0.5B model in Q4_0 4 rows took
47 ms on two x86 cores, 8 took 72, 16 took 80 and 20 took 84), and attention makes the same rows dearer the deeper they
stand. So costs are looked up and not calculated. How sizes compare is the shape: a property of model and processor,
measured while nobody asks (`calibrate`) or, where that has not happened yet, learnt from the steps of work. What was
never measured is bounded from what was: fewer rows cost no more, and k times the rows no more than k times the cost,
because the batch could have been split. Both bounds are on the safe side, so new sizes are approached from below.

How quick the machine is now is one number for all sizes, from the last few steps: a size that was late is not made dear
for good by it, and a machine that became slower or faster is believed for sizes that were not used since.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
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
# Over so many tokens attention grows by a few per cent of a step.
BAND_TOKENS = 512
# What a band is assumed to add to the cost before two were compared: attention over 4,096 cells about doubles a 0.5B
# model's step on two x86 cores, and it weighs less in every larger model.
_FIRST_GROWTH = 0.12
# How many comparisons of neighbouring depths are remembered.
_COMPARED = 9
# Of five, two late ones do not move the median.
_RECENT = 5
# A size that was seen so often is part of the shape: from now on its steps tell the machine's speed.
_TRUSTED = 3


class StepCosts:
    """A table of measured steps. Seconds in, seconds out."""

    def __init__(self) -> None:
        self._shape: dict[int, float] = {}  # seconds at depth 0
        self._learnt: dict[int, list[float]] = {}
        self._speeds: dict[int, deque[float]] = {}  # last steps in units of the shape, by how many sequences decoded
        self._latest = 0
        self._first: dict[int, float] = {}  # by band, in units of the shape
        self._growths: deque[float] = deque(maxlen=_COMPARED)

    def calibrate(self, undisturbed_s: dict[int, float]) -> None:
        """Steps of so many rows, all of them of `SIZES`, took so long while nobody asked: this is the shape.

        Larger sizes than these are taken to cost as much per row: it is the small ones that tiles make uneven.
        """
        self._shape = _bounds(undisturbed_s, undisturbed_s)
        self._learnt.clear()
        self._speeds.clear()
        self._first.clear()

    def observe(self, rows: int, depth_tokens: int, step_s: float, *, decoding: int = 0) -> None:
        """Learn from a step of `rows` rows, of which `decoding` drew a word, whose prompt stood at `depth_tokens`."""
        size, band = _floor(rows), depth_tokens // BAND_TOKENS
        flat = 1 + self._growth * band
        if not self._is_trusted(size):
            learnt = self._learnt.setdefault(size, [])
            learnt.append(step_s / flat / self._speed(decoding))
            self._shape[size] = median(learnt)
            return
        slowness = step_s / self._shape[size]
        if size == rows:
            self._compare(band, slowness)
            self._speeds.setdefault(decoding, deque(maxlen=_RECENT)).append(slowness / flat)
            self._latest = decoding

    def expected_s(self, depth_tokens: int, *, decoding: int = 0) -> dict[int, float]:
        """An upper bound of what a step costs, for each of `SIZES`; empty before anything was measured."""
        if not self._shape:
            return {}
        now = self._speed(decoding) * (1 + self._growth * (depth_tokens // BAND_TOKENS))
        bounds = _bounds(self._shape, filter(self._is_trusted, self._shape))
        return {size: cost_s * now for size, cost_s in bounds.items()}

    def _is_trusted(self, size: int) -> bool:
        return size in self._shape and len(self._learnt.get(size, ())) in (0, _TRUSTED)

    def _speed(self, decoding: int) -> float:
        """How much longer than in the shape steps take now; for a new number of sequences, as for the last."""
        seen = self._speeds.get(decoding) or self._speeds.get(self._latest)
        return median(seen) if seen else 1.0

    def _compare(self, band: int, slowness: float) -> None:
        """The first step in a band, beside the first in the one above: how much dearer a band makes the same rows."""
        if band in self._first:
            return
        self._first[band] = slowness
        above = max((other for other in self._first if other < band), default=None)
        if above is not None:
            base = self._first[above] / (1 + self._growth * above)
            self._growths.append(max(0.0, (slowness / base - 1) / band))

    @property
    def _growth(self) -> float:
        return median(self._growths) if self._growths else _FIRST_GROWTH


def _bounds(shape: dict[int, float], trusted: Iterable[int]) -> dict[int, float]:
    """The least that the measured sizes promise for each size; what is trusted is what it is."""
    bounds, row_s, more_s = {}, math.inf, math.inf
    for size in SIZES:
        row_s = min(row_s, shape.get(size, math.inf) / size)
        bounds[size] = row_s * size
    for size in reversed(SIZES):
        more_s = min(more_s, shape.get(size, math.inf))
        bounds[size] = min(bounds[size], more_s)
    return bounds | {size: shape[size] for size in trusted}


def _floor(rows: int) -> int:
    """The largest size that is no more than `rows`: what the larger step took is then a safe guess for the smaller."""
    return SIZES[bisect_right(SIZES, rows) - 1]
