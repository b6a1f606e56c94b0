"""How a step's prompt tokens are divided: the worker does it so, and the daemon's forecasts count on it."""

from __future__ import annotations

from collections.abc import Sequence


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
