"""When a handful of runs may become one number.

A figure is the median of its runs. The spread is (highest - lowest) / median: a ratio of two things that each vary by
more than it says is an accident, and is not published.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

# A shared machine without pinned clocks varies by 5 to 10 % between runs of the same program; what varies by a quarter
# was disturbed.
WIDEST = 0.25

# One run has no spread, two agree by chance.
FEWEST_RUNS = 3

# Against peers with the same kernels a promise is a few percent: more pairs, and the middle half of them within this.
WIDEST_QUARTILES = 0.08
FEWEST_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Runs:
    """The values of all runs of one thing, in the order they were made."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """(highest - lowest) / median."""
        return (max(self.values) - min(self.values)) / self.median

    @property
    def quartile_spread(self) -> float:
        """(third quartile - first) / median: what one disturbed run of five does not change."""
        if len(self.values) < 2:
            return 0.0
        first, _, third = quantiles(self.values, n=4, method="inclusive")
        return (third - first) / self.median if self.median else 0.0

    def __str__(self) -> str:
        return f"{len(self.values)} runs, {min(self.values):.3g} to {max(self.values):.3g}"


def ratio(ours: Runs, theirs: Runs) -> tuple[float | None, str]:
    """The median of ours / theirs pair by pair, or None; and a sentence on how sure that is."""
    pairs = Runs([mine / other for mine, other in zip(ours.values, theirs.values, strict=True)])
    if len(pairs.values) < FEWEST_RUNS:
        return None, f"{len(pairs.values)} of {FEWEST_RUNS} pairs needed; these say {pairs.median:.2f}"
    widest = max(pairs.spread, ours.spread, theirs.spread)
    if widest > WIDEST:
        return None, f"runs differ by {widest:.0%} (at most {WIDEST:.0%}): measure on a quiet machine"
    return pairs.median, f"{len(pairs.values)} pairs, {min(pairs.values):.2f} to {max(pairs.values):.2f}"


def steady(runs: Runs) -> tuple[float | None, str]:
    """The median of five or more runs whose middle half agrees, or None; and a sentence on how sure that is."""
    if len(runs.values) < FEWEST_PAIRS:
        return None, f"{len(runs.values)} of {FEWEST_PAIRS} needed; these say {runs.median:.3g}"
    if runs.quartile_spread > WIDEST_QUARTILES:
        return None, (
            f"the middle half differs by {runs.quartile_spread:.0%} (at most {WIDEST_QUARTILES:.0%}); "
            f"the median would be {runs.median:.3g}"
        )
    return runs.median, f"{len(runs.values)} pairs, {min(runs.values):.3g} to {max(runs.values):.3g}"
