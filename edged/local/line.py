"""The line in front of the models: who waits, who may, and who comes before whom.

One caller alone may fill every place. When another comes, the fullest branch gives a place up: its newest request is
refused, so that the places are divided as the slots are (`share.py`). Background requests give way to interactive ones.
Whoever is refused is told why and when to come back: 503 `queue_full` where the line is full of others (`full`), 429
`rate_limited` where it is full of the caller's own (`over_share`), 503 `predicted_timeout` where the first word would
come later than the caller is willing to wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeAlias, TypeVar

from edged.chat import Lane
from edged.errors import PredictedTimeout, QueueFull, RateLimited, Unavailable
from edged.local.plan import Want, fair_order
from edged.local.predict import Effort, Forecast
from edged.local.share import Ledger, Path, Standing, branches

Granted = TypeVar("Granted")
# Places that are worked out one by one for a forecast; who is further back comes in the order of arrival.
_LOOK_AHEAD = 64

Refusal: TypeAlias = Literal["full", "over_share"]


@dataclass(slots=True, eq=False)
class Waiter(Generic[Granted]):
    """One place in the line, and what its request asks of a worker."""

    want: Want
    effort: Effort
    granted: asyncio.Future[Granted]


@dataclass(slots=True)
class Line(Generic[Granted]):
    """Who waits, oldest first, beside the ledger of everybody's share. `passed` is `plan`'s."""

    waiters: list[Waiter[Granted]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    passed: int = 0

    @property
    def wants(self) -> list[Want]:
        """The line as `plan` and `admit` see it."""
        return [waiter.want for waiter in self.waiters]

    def queued(self, lane: Lane | None = None) -> int:
        """How many wait, in one lane or in both."""
        return sum(lane in (None, waiter.want.lane) for waiter in self.waiters)

    def join(self, waiter: Waiter[Granted]) -> None:
        """Somebody comes; it must `give_back` what it is granted, or leave the ledger."""
        self.ledger.arrive(waiter.want.path, [other.want.path for other in self.waiters])
        self.waiters.append(waiter)

    def give_back(self, want: Want, held_s: float) -> None:
        """A request that was granted its slots has ended."""
        self.ledger.give_back(want.path, want.slots, held_s, [waiter.want.path for waiter in self.waiters])
        self.ledger.leave(want.path)

    def ahead_of(self, newcomer: Want) -> list[Effort]:
        """What will be granted on the same model before `newcomer`, if nobody else comes and nobody ends."""
        coming = self.ledger.newcomers(newcomer.path, [waiter.want.path for waiter in self.waiters])
        order = before(newcomer, self.wants, {**self.ledger.standings, **coming})
        return [self.waiters[index].effort for index in order]


def before(newcomer: Want, line: Sequence[Want], standings: Mapping[Path, Standing]) -> list[int]:
    """The indices of those in `line` who come before `newcomer` on its model, in order."""
    held = {path: replace(standing) for path, standing in standings.items()}
    waiting = {index: want for index, want in enumerate(line) if want.model == newcomer.model}
    waiting[len(line)] = newcomer
    order: list[int] = []
    while len(order) < _LOOK_AHEAD:
        index = min(
            waiting,
            key=lambda index: (waiting[index].lane != "interactive", fair_order(waiting[index].path, held), index),
        )
        if index == len(line):
            return order
        order.append(index)
        want = waiting.pop(index)
        for branch in branches(want.path):
            held.setdefault(branch, Standing()).held += want.slots
    later = [index for index, want in waiting.items() if want.lane == "interactive" or newcomer.lane == want.lane]
    return order + later[:-1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a newcomer's arrival means: which waiting request gives way, or why the newcomer is refused itself."""

    gives_way: int | None = None
    refusal: Refusal | None = None


def admit(line: Sequence[Want], newcomer: Want, most: int) -> Verdict:
    """Whether `newcomer` may stand in a `line` of at most `most` places, oldest first."""
    if len(line) < most:
        return Verdict()
    background = [index for index, want in enumerate(line) if want.lane == "background"]
    if newcomer.lane == "interactive" and background:
        fullest = _fullest([line[index].path for index in background])
        return Verdict(gives_way=max(index for index in background if _is_below(line[index].path, fullest)))
    rivals = [index for index, want in enumerate(line) if want.lane == newcomer.lane]
    fullest = _fullest([line[index].path for index in rivals] + [newcomer.path], own=newcomer.path)
    if _is_below(newcomer.path, fullest):
        return Verdict(refusal="over_share" if is_over_share(line, newcomer) else "full")
    return Verdict(gives_way=max(index for index in rivals if _is_below(line[index].path, fullest)))


def is_over_share(line: Sequence[Want], newcomer: Want) -> bool:
    """Whether others of its lane wait too, and `newcomer` would have more of the places than an equal share."""
    paths = [want.path for want in line if want.lane == newcomer.lane] + [newcomer.path]
    for branch in branches(newcomer.path)[1:]:
        siblings = Counter(path[: len(branch)] for path in paths if path[: len(branch) - 1] == branch[:-1])
        if len(siblings) > 1 and siblings[branch] > -(-(siblings.total() - 1) // len(siblings)):
            return True
    return False


def _fullest(paths: Sequence[Path], own: Path = ()) -> Path:
    """The whole path with the most requests at each fork from the root; among equals `own`, who came last."""
    fullest: Path = ()
    while below := Counter(path[: len(fullest) + 1] for path in paths if _is_below(path, fullest) and path != fullest):
        fullest = max(below, key=lambda branch: (below[branch], _is_below(own, branch)))
    return fullest


def _is_below(path: Path, branch: Path) -> bool:
    return path[: len(branch)] == branch


def find_place(line: Sequence[Want], newcomer: Want, most: int, most_s: float, expected: Forecast) -> int | None:
    """Whose place in `line` the newcomer takes, None where there is room. Raises why there is none for it."""
    verdict = admit(line, newcomer, most)
    if verdict.refusal is not None:
        raise _no_place(verdict.refusal, most, expected)
    if line and verdict.gives_way is None and expected.is_measured and expected.wait_s > most_s:
        raise _too_long(expected, most_s, is_over_share=is_over_share(line, newcomer))
    return verdict.gives_way


def too_late(expected: Forecast, deadline_s: float | None) -> PredictedTimeout | None:
    """Whether what is expected misses the deadline. A mere guess refuses nobody."""
    if deadline_s is None or expected.latest_s is None or expected.latest_s <= deadline_s:
        return None
    return PredictedTimeout(
        f"The first word is expected in {expected.first_token_s:.1f} s and may take {expected.latest_s:.1f} s. "
        f"This request would wait {deadline_s:g} s at most. Come back later, or allow more.",
        retry_after_s=expected.latest_s - deadline_s,
    )


def waited_in_vain(expected: Forecast, deadline_s: float | None) -> PredictedTimeout:
    """Its turn had not come when its deadline passed; `expected` is what it would be now."""
    return PredictedTimeout(
        f"This request's turn did not come within the {deadline_s:g} s that it was willing to wait.",
        retry_after_s=expected.wait_s,
    )


def _no_place(refusal: Refusal, most: int, expected: Forecast) -> Unavailable:
    """All `most` places in the line are taken."""
    if refusal == "over_share":
        return RateLimited(
            f"All {most} places in the line are taken, and this caller has its share of them already.",
            retry_after_s=expected.wait_s,
        )
    return QueueFull(
        f"{most} requests wait already, as many as may ([limits] queue_requests).", retry_after_s=expected.wait_s
    )


def _too_long(expected: Forecast, most_s: float, *, is_over_share: bool) -> Unavailable:
    """The wait would be longer than anybody is to wait."""
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
