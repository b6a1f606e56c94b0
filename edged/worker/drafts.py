"""When guessing pays: several tokens that may come next are checked in one step, if that is quicker than one by one.

    step   row of the last token ─▶ draws a     the same as without a draft
           row of the drafted a  ─▶ draws b     its output counts because a was drawn
           row of the drafted b  ─▶ draws x     counts as well: b was drawn, and x is news
           row of the drafted c                 was for nothing: its cell is given back

Every token is drawn by the sampler, in order, from the logits that it would have been drawn from anyway: a draft
changes how many tokens a step brings, never which. What a row more costs is measured, for each number of rows: the
matrix kernels of processors take rows by fours, so that a draft of three may be cheaper than one of two.

Whether a draft pays depends on the text, so every request has an account of its own, in steps: a small allowance, a
share of a step for each token, and what its drafts have won or lost. A draft is only made if the account could bear its
total failure. So an answer that repeats nothing loses so much and no more, whatever is looked up.

Only one sequence drafts in a step, by turns, and its drafted rows are the last of the batch. That is more than
fairness: the cells of what was for nothing are then the last ones, nobody's later tokens come to lie before earlier
ones, and the rounding stays what it is without drafts (`memory.py` on the order of cells).

No clock, no model: seconds are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edged.worker.costs import SIZES
from edged.worker.lookup import Lookup

if TYPE_CHECKING:
    from edged.worker.job import Job

# Eight rows of the 0.5B shape take as long as three of one on two x86 cores; further rows win ever less there.
MOST_DRAFTED_TOKENS = 8
# What an account begins with, how it grows with each token, and what it can hold at most, in steps of the request.
# An answer of 128 tokens loses 2.7 % at worst.
_ALLOWANCE_STEPS = 1.5
_SHARE_OF_STEPS = 0.015
_MOST_STEPS = 3.5
# A draft must promise more than what estimates are wrong by.
_WORTH = 1.05
# Where drafts do not seem to pay, one is made so many tokens after the last: the text may have changed.
_TRIAL_EVERY_TOKENS = 32
# So that the cost of an undrafted step stays known, also to those who decide about threads and prompts.
_PLAIN_EVERY_STEPS = 24
# Others who are shown words wait longer for a step with a draft in it; they must not notice.
_MOST_SLOWER = 1.25
# Before a number of rows was measured, each further one is taken to cost a fifth of what one costs on average: that
# is cheap enough to be tried, and two measurements are believed instead. What is found out so is the device's affair,
# and not charged to the request by which it was. Only sizes that kernels tell apart are tried.
_GUESSED_ROW = 0.2
_BELIEVED_STEPS = 2
# Where other programs take the cores away for longer than a step lasts, more rows may seem to cost nothing at all. They
# are taken to cost so much of a step each, or drafts would be made although none is right.
_LEAST_ROW = 0.05
# How far a measured step moves what is expected of its size, and of every size: most of what changes is the machine or
# the depth of the context. Of one late step only so much is believed.
_OWN_WEIGHT = 0.15
_COMMON_WEIGHT = 0.25
_MOST_LATENESS = 2.0
# Longer agreement, better guesses: from how many tokens on they are told apart. Before anything was seen of a kind,
# what was seen of all is expected, and at the very beginning a share that is worth a first try; each with the weight of
# so many drafted tokens. What was seen is forgotten by a fifteenth with each draft.
_AGREEMENTS = (12, 6, 0)
_FIRST_CHANCE = 0.7
_PRIOR_TOKENS = 2.0
_KEPT = 0.93


@dataclass(slots=True)
class Account:
    """What drafts have cost one request: `lost` steps (negative: gained), and the guesses that were right and wrong."""

    lost: float = 0.0
    last_at_tokens: int = 0
    right: dict[int, float] = field(default_factory=dict)
    wrong: dict[int, float] = field(default_factory=dict)

    def balance(self, generated_tokens: int) -> float:
        """Steps that may be lost by the next draft."""
        return min(_MOST_STEPS, _ALLOWANCE_STEPS + _SHARE_OF_STEPS * generated_tokens - self.lost)

    def chance(self, matched_tokens: int) -> float:
        """How likely the next token is the guessed one, where that many tokens before it agree."""
        kind = _agreement(matched_tokens)
        of_all = _share(sum(self.right.values()), sum(self.wrong.values()), _FIRST_CHANCE)
        return _share(self.right.get(kind, 0.0), self.wrong.get(kind, 0.0), of_all)

    def note(self, matched_tokens: int, drafted: int, accepted: int) -> None:
        """So many of the drafted tokens were drawn; the next one was not, unless all were."""
        kind = _agreement(matched_tokens)
        self.right[kind] = _KEPT * self.right.get(kind, 0.0) + accepted
        self.wrong[kind] = _KEPT * self.wrong.get(kind, 0.0) + (accepted < drafted)

    def lose(self, steps: float, generated_tokens: int) -> None:
        """Book the loss of a draft; what was gained long ago does not pay for many."""
        earned = _ALLOWANCE_STEPS + _SHARE_OF_STEPS * generated_tokens
        self.lost = max(earned - _MOST_STEPS, self.lost + steps)


@dataclass(slots=True)
class Guesses:
    """What one request's drafts come from, and its account."""

    lookup: Lookup
    account: Account = field(default_factory=Account)
    turn: int = 0


@dataclass(slots=True)
class Draft:
    """`tokens` that `job` may draw next; afterwards, how many of them it drew (`accepted`)."""

    job: Job
    tokens: list[int]
    matched_tokens: int
    accepted: int = 0


class RowCosts:
    """What a step takes that only decodes, by its rows."""

    def __init__(self) -> None:
        self._first: dict[int, list[float]] = {}
        self._seconds: dict[int, float] = {}

    def observe(self, rows: int, step_s: float) -> None:
        """Learn from a step. A size is known from the quicker of its first two."""
        if rows not in self._seconds:
            first = self._first.setdefault(rows, [])
            first.append(step_s)
            if len(first) == _BELIEVED_STEPS:
                self._seconds[rows] = min(first)
            return
        factor = min(max(step_s / self._seconds[rows], 1 / _MOST_LATENESS), _MOST_LATENESS)
        for known in self._seconds:
            self._seconds[known] *= factor**_COMMON_WEIGHT
        self._seconds[rows] *= factor**_OWN_WEIGHT

    def is_known(self, rows: int) -> bool:
        """Whether steps of this size were measured, not only guessed."""
        return rows in self._seconds

    def expected_s(self, rows: int) -> float | None:
        """What a step takes; for an unknown size, what the next ones below and above lead to expect."""
        if rows in self._seconds:
            return self._seconds[rows]
        below = max((known for known in self._seconds if known < rows), default=None)
        above = min((known for known in self._seconds if known > rows), default=None)
        if below is None:
            return None
        if above is None:
            return self._seconds[below] * (1 + _GUESSED_ROW * (rows - below) / below)
        slope = (self._seconds[above] - self._seconds[below]) / (above - below)
        return self._seconds[below] + slope * (rows - below)


class Drafts:
    """Learns what rows cost; decides who drafts, and how much; nobody unless `are_wanted`."""

    def __init__(self) -> None:
        self.are_wanted = True
        self._costs = RowCosts()
        self._turn = 0
        self._since_plain = 0

    def choose(self, decoding: Sequence[Job], room: int) -> Draft | None:
        """The draft, of at most `room` tokens, of a step that only decodes; by turns among those whose drafts pay."""
        if not self.are_wanted or room < 1 or self._since_plain >= _PLAIN_EVERY_STEPS:
            return None
        for job in sorted(decoding, key=lambda job: job.guesses.turn if job.guesses else 0):
            if job.guesses and (draft := self._draft(job, job.guesses, len(decoding), room)):
                self._turn += 1
                job.guesses.turn = self._turn
                return draft
        return None

    def observe(self, decoding: int, step_s: float, draft: Draft | None) -> None:
        """Learn from a step that only decoded, `draft` being what was added to it."""
        if draft is None or draft.job.guesses is None:
            self._since_plain = 0
            self._costs.observe(decoding, step_s)
            return
        self._since_plain += 1
        rows = decoding + len(draft.tokens)
        charged_s = step_s if self._costs.is_known(rows) else self._costs.expected_s(rows) or step_s
        self._costs.observe(rows, step_s)
        account, plain_s = draft.job.guesses.account, self._costs.expected_s(decoding)
        account.note(draft.matched_tokens, len(draft.tokens), draft.accepted)
        account.last_at_tokens = draft.job.sequence.generated
        if plain_s:
            cost = max(charged_s / plain_s, _least_cost(len(draft.tokens)))
            account.lose(cost - (decoding + draft.accepted) / decoding, account.last_at_tokens)

    def _draft(self, job: Job, guesses: Guesses, decoding: int, room: int) -> Draft | None:
        sequence = job.sequence
        most = min(room, MOST_DRAFTED_TOKENS, sequence.max_tokens - sequence.generated - 1)
        if most < 1:
            return None
        tokens, matched = guesses.lookup.propose(most)
        sizes = self._affordable(guesses.account.balance(sequence.generated), decoding, len(tokens))
        if not sizes:
            return None
        chance = guesses.account.chance(matched)
        rates = {size: (decoding + _expected_tokens(chance, size)) / cost for size, cost in sizes.items()}
        best = max(rates, key=lambda size: rates[size])
        is_trial = sequence.generated - guesses.account.last_at_tokens >= _TRIAL_EVERY_TOKENS
        if rates[best] < _WORTH * decoding and not is_trial:
            return None
        return Draft(job, tokens[:best], matched)

    def _affordable(self, balance: float, decoding: int, most: int) -> dict[int, float]:
        """By number of drafted tokens, the cost of the step in undrafted ones; what could cost too much is left out."""
        plain_s = self._costs.expected_s(decoding)
        if plain_s is None:
            return {}
        costs = {}
        limit = min(1 + balance, _MOST_SLOWER if decoding > 1 else math.inf)
        for rows in SIZES:
            if 0 < rows - decoding <= most:
                cost_s = self._costs.expected_s(rows)
                if cost_s is not None and cost_s <= limit * plain_s:
                    costs[rows - decoding] = max(cost_s / plain_s, _least_cost(rows - decoding))
        return costs


def _agreement(matched_tokens: int) -> int:
    return next(least for least in _AGREEMENTS if matched_tokens >= least)


def _share(right: float, wrong: float, expected: float) -> float:
    return (_PRIOR_TOKENS * expected + right) / (_PRIOR_TOKENS + right + wrong)


def _least_cost(drafted: int) -> float:
    return 1 + _LEAST_ROW * drafted


def _expected_tokens(chance: float, drafted: int) -> float:
    """How many of the drafted tokens are drawn, if each is right with the same chance."""
    return sum(chance**count for count in range(1, drafted + 1))


def guesses(tokens: Sequence[int], expected: Iterable[int] = ()) -> Guesses:
    """For a request whose text is `tokens`, and grows."""
    return Guesses(Lookup(tokens, list(expected)))
