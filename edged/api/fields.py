"""What fields of several dialects have in common: their bounds, stop strings, and words for how much to think."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import StringConstraints

from edged.api.body import Strict
from edged.chat import ReasoningEffort

LARGEST_COUNT = 2**31 - 1
# llama.cpp's seeds have 32 bits, of which the last value means "draw one".
SEEDS = 2**32 - 1
# As far back as the longest context of a small device; what a window holds is searched for every token drawn.
MAX_WINDOW = 131_072
# More stop strings than any client sends; each costs a search per token.
MAX_STOPS = 16
Stop: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256)]
# Models that know degrees know three; whoever wants more than the highest gets that.
_EFFORTS: dict[str, ReasoningEffort] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


class CacheControl(Strict):
    """Where a beginning ends that shall be kept. All beginnings are, in all their length, so there is nothing to do.

    Anthropic's; programs that speak to many providers send it in OpenAI's parts too. `scope` is Claude Code's; a
    beginning is shared within one account, whatever it says.
    """

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"
    scope: Annotated[str, StringConstraints(max_length=64)] = ""


def effort_of(effort: str | None) -> ReasoningEffort | None:
    """What a dialect's word for an effort says to a model that knows degrees; None where it says nothing."""
    return _EFFORTS.get(effort or "")
