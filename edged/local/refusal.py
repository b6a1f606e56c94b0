"""Why a request is not let in, or not kept, in words and with when to come back.

503 `queue_full`: the box is full. 429 `rate_limited`: others wait too, and this caller has its share. 503
`predicted_timeout`: its first word would come later than it is willing to wait.
"""

from __future__ import annotations

from edged.chat import Lane
from edged.errors import PredictedTimeout, QueueFull, RateLimited, Unavailable
from edged.local.line import Refusal
from edged.local.predict import Forecast


def too_late(expected: Forecast, deadline_s: float | None) -> PredictedTimeout | None:
    """Whether what is expected misses the deadline. A mere guess refuses nobody."""
    if deadline_s is None or not expected.is_measured or expected.first_token_s <= deadline_s:
        return None
    return PredictedTimeout(
        f"The first word is expected in {expected.first_token_s:.1f} s, and this request would wait {deadline_s:g} s "
        "at most. Come back later, or allow more.",
        retry_after_s=expected.first_token_s - deadline_s,
    )


def waited_in_vain(expected: Forecast, deadline_s: float | None) -> PredictedTimeout:
    """Its turn had not come when its deadline passed; `expected` is what it would be now."""
    return PredictedTimeout(
        f"This request's turn did not come within the {deadline_s:g} s that it was willing to wait.",
        retry_after_s=expected.wait_s,
    )


def no_place(refusal: Refusal, most: int, expected: Forecast) -> Unavailable:
    """All `most` places in the line are taken."""
    if refusal == "over_share":
        return RateLimited(
            f"All {most} places in the line are taken, and this caller has its share of them already.",
            retry_after_s=expected.wait_s,
        )
    return QueueFull(
        f"{most} requests wait already, as many as may ([limits] queue_requests).", retry_after_s=expected.wait_s
    )


def too_long(expected: Forecast, most_s: float, *, is_over_share: bool) -> Unavailable | None:
    """Whether the wait would be longer than anybody is to wait. A mere guess refuses nobody."""
    if not expected.is_measured or expected.wait_s <= most_s:
        return None
    kind = RateLimited if is_over_share else QueueFull
    return kind(
        f"The wait would be about {expected.wait_s:.0f} s; more than {most_s:.0f} s is refused ([limits] queue_s).",
        retry_after_s=expected.wait_s,
    )


def gave_way(lane: Lane, to: Lane, expected: Forecast) -> Unavailable:
    """A request in `lane` lost its place in the line to a newcomer in the lane `to`."""
    if lane == to:
        return RateLimited(
            "Others wait too, and this caller had most of the places in the line; its newest request gives way.",
            retry_after_s=expected.wait_s,
        )
    return QueueFull(
        "The line is full, and requests in the background lane give way to people who wait.",
        retry_after_s=expected.wait_s,
    )
