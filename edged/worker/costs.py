"""What steps have cost, by how many rows they had and how deep in their context they read: medians of the last few.

A step's cost is not linear in its rows: llama.cpp's matrix kernels work in tiles (16 rows of a 0.5B model in Q4_0 took
134 ms on two x86 cores, 17 took 165 ms), and attention makes the same rows dearer the deeper they stand. So costs are
looked up and not calculated. What was never measured is bounded from what was: fewer rows cost no more, and k times
the rows no more than k times the cost, because the batch could have been split. Both bounds are on the safe side, so
sizes that are new are approached from below.

One late step says little: neighbours take the processor away for a moment, and a median of a few ignores it. A machine
that got slower for good is believed for all sizes at once (`rescale`), and what was measured last holds what is older
within the same two bounds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
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
# Of five, two late ones do not move the median.
_RECENT = 5
# Of the last three one may be late.
_LAST = 3
# How many comparisons of neighbouring depths are remembered.
_COMPARED = 9


class StepCosts:
    """A table of measured steps. Seconds in, seconds out."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], deque[float]] = {}
        self._medians: dict[int, dict[int, float]] = {}
        self._first: dict[tuple[int, int], float] = {}
        self._growths: deque[float] = deque(maxlen=_COMPARED)
        self._last = (0, 0)

    def observe(self, rows: int, depth_tokens: int, step_s: float) -> None:
        """Learn from a step of `rows` rows whose prompt stood at `depth_tokens`."""
        size, band = _floor(rows), depth_tokens // BAND_TOKENS
        if (size, band) not in self._seen:
            self._compare(size, band, step_s)
        seen = self._seen.setdefault((size, band), deque(maxlen=_RECENT))
        seen.append(step_s)
        self._medians.setdefault(band, {})[size] = median(seen)
        self._last = (size, band)

    def usual_s(self, rows: int, depth_tokens: int) -> float | None:
        """What steps of just so many rows took at this depth or the nearest where they were measured, else None."""
        band = depth_tokens // BAND_TOKENS
        measured = [other for other in self._medians if rows in self._medians[other]]
        if not measured:
            return None
        near = min(measured, key=lambda other: abs(other - band))
        return self._medians[near][rows] * (1 + self._growth * max(0, band - near))

    def rescale(self, factor: float) -> None:
        """The machine became slower by `factor`: believe it for everything but the last steps, which showed it."""
        for (size, band), seen in self._seen.items():
            is_last = (size, band) == self._last
            kept = list(seen)[-_LAST:] if is_last else [cost * factor for cost in seen]
            self._seen[size, band] = deque(kept, maxlen=_RECENT)
            self._medians[band][size] = median(kept)

    def expected_s(self, depth_tokens: int) -> dict[int, float]:
        """An upper bound of what a step costs, for each of `SIZES`; empty before anything was measured."""
        if not self._medians:
            return {}
        band = depth_tokens // BAND_TOKENS
        known = min(self._medians, key=lambda other: (other > band, abs(other - band)))
        deeper = 1 + self._growth * max(0, band - known)
        bounds = _bounds(self._medians[known], self._settled(known))
        return self._held({size: cost_s * deeper for size, cost_s in bounds.items()}, band)

    def _held(self, costs_s: dict[int, float], band: int) -> dict[int, float]:
        """`costs_s` within what the last steps leave possible."""
        last, last_band = self._last
        last_s = median(list(self._seen[self._last])[-_LAST:])
        if last_band <= band:
            costs_s = {size: max(cost_s, last_s * min(1.0, size / last)) for size, cost_s in costs_s.items()}
        if last_band >= band:
            settled = self._settled(band)
            costs_s = {
                size: cost_s if size in settled else min(cost_s, last_s * max(1.0, size / last))
                for size, cost_s in costs_s.items()
            }
        return costs_s

    def _settled(self, band: int) -> set[int]:
        """Sizes that were measured often enough to be believed where they are dearer than the bounds allow."""
        return {size for size in self._medians.get(band, ()) if len(self._seen[size, band]) >= _LAST}

    def _compare(self, size: int, band: int, step_s: float) -> None:
        """The first step in a band, beside the first in one above: how much dearer a band makes the same rows."""
        self._first[size, band] = step_s
        above = max((other for rows, other in self._first if rows == size and other < band), default=None)
        if above is not None:
            grown = step_s / self._first[size, above] - 1
            self._growths.append(max(0.0, grown / (band - above)))

    @property
    def _growth(self) -> float:
        return median(self._growths) if self._growths else _FIRST_GROWTH


def _bounds(measured: dict[int, float], settled: set[int]) -> dict[int, float]:
    """The least that the measured sizes promise for each size; what is settled is what it is."""
    bounds, row_s, more_s = {}, math.inf, math.inf
    for size in SIZES:
        row_s = min(row_s, measured.get(size, math.inf) / size)
        bounds[size] = row_s * size
    for size in reversed(SIZES):
        more_s = min(more_s, measured.get(size, math.inf))
        bounds[size] = min(bounds[size], more_s)
    return bounds | {size: measured[size] for size in settled}


def _floor(rows: int) -> int:
    """The largest size that is no more than `rows`: what the larger step took is then a safe guess for the smaller."""
    return SIZES[bisect_right(SIZES, rows) - 1]
