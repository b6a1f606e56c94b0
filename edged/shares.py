"""How many prompt tokens a step reads, and how they are divided: the worker's rule, on which forecasts count."""

from __future__ import annotations

from collections.abc import Sequence

# The least that a step reads, or reading would never end: with one decoding sequence a tile of the matrix kernels.
SMALLEST_CHUNK_TOKENS = 3
# How much of the bound of a gap is used: single steps are up to a tenth longer than their median on a quiet machine,
# and the bound is meant for them.
CAREFUL_SHARE = 0.93


def shares(pending: Sequence[int], budget: int) -> list[int]:
    """Divide `budget` prompt tokens among prompts with `pending` tokens each, in the order in which they came.

    Half is for the first, so that it always moves; the rest for the shortest, so that a short prompt is through in a
    step or two even beside a long one. Equal prompts are so read one after another: each is done as early as it could
    be, and the last no later than if all were read side by side. The shares sum to min(budget, sum(pending)).
    """
    given = [0] * len(pending)
    shortest = sorted(range(len(pending)), key=lambda index: pending[index])
    for turn, index in enumerate([*range(min(1, len(pending))), *shortest]):
        most = -(-budget // 2) if turn == 0 else budget
        more = min(pending[index] - given[index], most)
        given[index] += more
        budget -= more
    return given
