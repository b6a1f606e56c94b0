"""A draft: tokens that somebody may draw next, to be checked in one step, and how many of them had best be.

What it costs are the rows that are added to the step and the time in which its tokens were found; what it brings are
the tokens that turn out right. Both are told in steps that nothing was added to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edged.cells import MOST_DRAFTED_TOKENS
from edged.worker.account import Account, Kind
from edged.worker.costs import SIZES
from edged.worker.lookup import Lookup
from edged.worker.row_costs import RowCosts

if TYPE_CHECKING:
    from edged.worker.job import Job

# A draft must promise more than what estimates are wrong by.
_WORTH = 1.05
# Where drafts do not seem to pay, one is made so many tokens after the last: the text may have changed.
_TRIAL_EVERY_TOKENS = 32
# Where other programs take the cores away for longer than a step lasts, more rows may seem to cost nothing at all. They
# are taken to cost so much of a step each, or drafts would be made although none is right.
LEAST_ROW_STEPS = 0.05


@dataclass(slots=True)
class Guesses:
    """What one request's drafts come from, and the accounts of the two. Without `lookup` nothing is looked up."""

    lookup: Lookup | None
    account: Account = field(default_factory=Account)
    drafter_account: Account | None = None
    turn: int = 0


def guesses_for(tokens: Sequence[int], expected: Iterable[int] = (), *, looks_up: bool = True) -> Guesses:
    """For a request whose text is `tokens`, and grows; `expected` is text that may come."""
    return Guesses(Lookup(tokens, list(expected)) if looks_up else None)


@dataclass(slots=True)
class Draft:
    """`tokens` that `job` may draw next, each of one of `kinds`; `account` is to bear what comes of it.

    Finding them took `made_steps` steps; `is_drafters` tells that the smaller model did. Afterwards: of the first
    `judged` tokens `right` were drawn, and `accepted` came beside the one that the step would have brought anyway.
    """

    job: Job
    tokens: list[int]
    kinds: list[Kind]
    account: Account
    made_steps: float = 0.0
    is_drafters: bool = False
    judged: int = 0
    right: int = 0
    accepted: int = 0

    def judge(self, token: int) -> bool:
        """Whether `token`, which was drawn in its place, is the next of `tokens`."""
        is_right = token == self.tokens[self.judged]
        self.judged += 1
        self.right += is_right
        return is_right


@dataclass(frozen=True, slots=True)
class Size:
    """How many tokens to draft, none included. `is_trial`: to find out, although it does not seem to pay."""

    tokens: int = 0
    is_trial: bool = False


def most_tokens(job: Job, room: int) -> int:
    """Behind the last token that may come nothing needs to be guessed."""
    return min(room, MOST_DRAFTED_TOKENS, job.sequence.max_tokens - job.sequence.generated - 1)


def kind_of(value: float, kinds: Sequence[Kind]) -> Kind:
    """The first of `kinds`, which fall, that `value` reaches."""
    return next((least for least in kinds if value >= least), kinds[-1])


def best_size(
    costs: RowCosts,
    job: Job,
    account: Account,
    chance: float,
    most: int,
    *,
    decoding: int = 1,
    guess_steps: float = 0.0,
    most_slower: float = math.inf,
) -> Size:
    """How many of at most `most` tokens to draft for `job`, one of `decoding` sequences.

    Each is right with the same `chance`, and took `guess_steps` to find. No step becomes `most_slower` times as long,
    nor longer than `account` could bear if nothing were right.
    """
    generated = job.sequence.generated
    affordable = _affordable(costs, decoding, most, guess_steps, min(1 + account.balance(generated), most_slower))
    rates = {size: (decoding + _expected(chance, size)) / steps for size, steps in affordable.items()}
    if not rates:
        return Size()
    best = max(rates, key=lambda size: rates[size])
    if rates[best] >= _WORTH * decoding:
        return Size(best)
    is_trial = generated - account.last_at_tokens >= _TRIAL_EVERY_TOKENS
    return Size(best, is_trial=True) if is_trial else Size()


def least_steps(drafted: int) -> float:
    """What a step with so many drafted tokens is taken to cost at least."""
    return 1 + LEAST_ROW_STEPS * drafted


def _affordable(costs: RowCosts, decoding: int, most: int, guess_steps: float, limit: float) -> dict[int, float]:
    """By number of drafted tokens, the cost of the step in undrafted ones; what could cost too much is left out."""
    plain_s = costs.expected_s(decoding)
    found: dict[int, float] = {}
    if plain_s is None:
        return found
    for rows in SIZES:
        drafted = rows - decoding
        if 0 < drafted <= most and (cost_s := costs.expected_s(rows)) is not None:
            steps = cost_s / plain_s + guess_steps * drafted
            if steps <= limit:
                found[drafted] = max(steps, least_steps(drafted))
    return found


def _expected(chance: float, drafted: int) -> float:
    """How many of the drafted tokens are drawn, if each is right with the same chance."""
    return sum(chance**count for count in range(1, drafted + 1))
