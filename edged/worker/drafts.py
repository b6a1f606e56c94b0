"""When guessing pays: several tokens that may come next are checked in one step, if that is quicker than one by one.

    step   row of the last token ─▶ draws a     the same as without a draft
           row of the drafted a  ─▶ draws b     its output counts because a was drawn
           row of the drafted b  ─▶ draws x     counts as well: b was drawn, and x is news
           row of the drafted c                 was for nothing: its cell is given back

Every token is drawn by the sampler, in order, from the logits that it would have been drawn from anyway: a draft
changes how many tokens a step brings, never which. What a row more costs is measured, for each number of rows: the
matrix kernels of processors take rows by fours, so that a draft of three may be cheaper than one of two.

Guesses come from what was said before (`lookup.py`), which costs nothing, or from a smaller model (`drafter.py`), which
costs time and has to read along. Whether a draft pays depends on the text, so every request has an account of its own
for each of the two, in steps: a small allowance, a share of a step for each token, and what its drafts have won or
lost. A draft is only made if the account could bear its total failure. So an answer for which every guess is wrong
loses so much and no more.

Only one sequence drafts in a step, by turns, and its drafted rows are the last of the batch. That is more than
fairness: the cells of what was for nothing are then the last ones, nobody's later tokens come to lie before earlier
ones, and the rounding stays what it is without drafts (`memory.py` on the order of cells). The smaller model is asked
for somebody who is alone only: beside others a step with drafted rows wins little, and it could read along with one.

No clock, no model: seconds are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edged.worker.account import Account, Kind
from edged.worker.costs import SIZES
from edged.worker.lookup import Lookup
from edged.worker.row_costs import Cost, RowCosts

if TYPE_CHECKING:
    from edged.worker.job import Job

# Eight rows of the 0.5B shape take as long as three of one on two x86 cores; further rows win ever less there.
MOST_DRAFTED_TOKENS = 8
# A draft must promise more than what estimates are wrong by.
_WORTH = 1.05
# Where drafts do not seem to pay, one is made so many tokens after the last: the text may have changed.
_TRIAL_EVERY_TOKENS = 32
# So that the cost of an undrafted step stays known, also to those who decide about threads and prompts.
_PLAIN_EVERY_STEPS = 24
# Others who are shown words wait longer for a step with a draft in it; they must not notice.
_MOST_SLOWER = 1.25
# Where other programs take the cores away for longer than a step lasts, more rows may seem to cost nothing at all. They
# are taken to cost so much of a step each, or drafts would be made although none is right.
_LEAST_ROW = 0.05
# A guess is of a kind: how many tokens before it agree, or how likely the smaller model holds it. From these on they
# are told apart.
_AGREEMENTS = (12, 6, 0)
_LIKELIHOODS = (0.9, 0.6, 0.3, 0.1, 0.03, 0.0)
# A conversation that the smaller model has not read yet: it reads while the answer goes on, in pieces that take at most
# so many steps (nobody else waits, and words still come), if that costs less than guesses will win. An answer is
# expected to go on for as long as it has lasted, and for so many tokens at least, which is a short paragraph.
_READING_STEPS = 4.0
_COMING_TOKENS = 128
# So many tokens are read together with the guess; a first piece tells how quickly the smaller model reads.
_ALONGSIDE_TOKENS = 2 * MOST_DRAFTED_TOKENS
_FIRST_PIECE_TOKENS = 32


class Guesser(Protocol):
    """A smaller model that reads along with one text at a time. `drafter.py` is llama.cpp's."""

    @property
    def spent_s(self) -> float:
        """All its time so far."""
        ...

    def room(self, tokens: Sequence[int]) -> int:
        """How many tokens it could guess behind `tokens`; none where it is too small for the text, or broken."""
        ...

    def unread(self, tokens: Sequence[int], partition: str | None) -> int:
        """How many of `tokens` it would have to read before it could guess what comes behind them."""
        ...

    def read(self, tokens: Sequence[int], partition: str | None, most: int) -> None:
        """Read at most so many more of `tokens`; nothing is taken over from another partition."""
        ...

    def guess(
        self, tokens: Sequence[int], partition: str | None, most: int, goes_on: Callable[[float], bool]
    ) -> list[tuple[int, float]]:
        """Read what is unread, and say up to `most` tokens that come next, each with its likelihood, for as long as
        `goes_on` of that likelihood."""
        ...


@dataclass(slots=True)
class Guesses:
    """What one request's drafts come from, and the accounts of the two. Without `lookup` nothing is looked up."""

    lookup: Lookup | None
    account: Account = field(default_factory=Account)
    modelled: Account | None = None
    turn: int = 0


@dataclass(slots=True)
class Draft:
    """`tokens` that `job` may draw next; afterwards, how many of them it drew (`accepted`).

    Each token is of one of `kinds`; finding them took `made_steps` steps, and `account` is to bear what comes of it.
    """

    job: Job
    tokens: list[int]
    kinds: list[Kind]
    account: Account
    made_steps: float = 0.0
    is_modelled: bool = False
    accepted: int = 0


class Drafts:
    """Learns what rows cost; decides who drafts, and how much; nobody unless `are_wanted`."""

    def __init__(self, guesser: Guesser | None = None) -> None:
        self.are_wanted = True
        self._guesser = guesser
        self._of_all = Account()
        # In steps of the larger model, which are measured all the time: so they stay right when the machine slows down
        # while nothing is guessed.
        self._guess_steps, self._read_steps = Cost(), Cost()
        self._costs = RowCosts()
        self._turn = 0
        self._since_plain = 0

    def calibrate(self, undisturbed_s: Mapping[int, float]) -> None:
        """Steps of so many rows took so long while nobody asked."""
        self._costs.calibrate(undisturbed_s)

    def choose(self, decoding: Sequence[Job], room: int) -> Draft | None:
        """The draft, of at most `room` tokens, of a step that only decodes; by turns among those whose drafts pay.

        The smaller model may compute meanwhile, for a draft or to be able to make one later.
        """
        if not self.are_wanted or room < 1 or self._since_plain >= _PLAIN_EVERY_STEPS:
            return None
        for job in sorted(decoding, key=lambda job: job.guesses.turn if job.guesses else 0):
            if job.guesses and (draft := self._looked_up(job, job.guesses, len(decoding), room)):
                self._turn += 1
                job.guesses.turn = self._turn
                return draft
        if self._guesser and len(decoding) == 1 and (guesses := decoding[0].guesses):
            return self._modelled(decoding[0], guesses, self._guesser, room)
        return None

    def observe(self, decoding: int, step_s: float, draft: Draft | None) -> None:
        """Learn from a step that only decoded, `draft` being what was added to it; guessing is not in `step_s`."""
        if draft is None:
            self._since_plain = 0
            self._costs.observe(decoding, step_s)
            return
        self._since_plain += 1
        rows = decoding + len(draft.tokens)
        charged_s = step_s if self._costs.is_known(rows) else self._costs.expected_s(rows) or step_s
        self._costs.observe(rows, step_s)
        plain_s = self._costs.expected_s(decoding)
        draft.account.note(draft.kinds, draft.accepted)
        if draft.is_modelled:
            self._of_all.note(draft.kinds, draft.accepted)
        if plain_s:
            cost = max(charged_s / plain_s, _least_cost(len(draft.tokens))) + draft.made_steps
            draft.account.lose(cost - (decoding + draft.accepted) / decoding, draft.job.sequence.generated)

    def _looked_up(self, job: Job, guesses: Guesses, decoding: int, room: int) -> Draft | None:
        most = _most(job, room)
        if most < 1 or guesses.lookup is None:
            return None
        tokens, matched = guesses.lookup.propose(most)
        kind = _kind(matched, _AGREEMENTS)
        account = guesses.account
        size, _ = self._best(job, account, account.chance(kind), decoding, len(tokens))
        return Draft(job, tokens[:size], [kind] * size, account) if size else None

    def _modelled(self, job: Job, guesses: Guesses, guesser: Guesser, room: int) -> Draft | None:
        sequence, plain_s = job.sequence, self._costs.expected_s(1)
        most = _most(job, min(room, guesser.room(sequence.tokens)))
        if most < 1 or not plain_s:
            return None
        if guesses.modelled is None:
            guesses.modelled = Account(self._of_all.share)
        account, is_new = guesses.modelled, self._guess_steps.expected is None
        guess_steps = self._guess_steps.expected or 0.0
        # While nobody knows what a guess costs there is one of them, and it is the device's affair.
        size, rate = self._best(job, account, account.share, 1, 1 if is_new else most, guess_steps)
        if not size or not self._has_read(job, guesser, rate, plain_s):
            return None
        began_s, chance = guesser.spent_s, 1.0

        def goes_on(likelihood: float) -> bool:
            nonlocal chance
            chance *= account.chance(_kind(likelihood, _LIKELIHOODS))  # of this one and all before it
            return chance >= guess_steps + _LEAST_ROW

        guessed = guesser.guess(sequence.tokens, sequence.partition, size, goes_on)
        steps = (guesser.spent_s - began_s) / plain_s
        self._guess_steps.observe(steps / max(1, len(guessed)))
        charged_steps = 0.0 if is_new else steps
        if not guessed:
            account.lose(charged_steps, sequence.generated)
            return None
        kinds = [_kind(likelihood, _LIKELIHOODS) for _, likelihood in guessed]
        return Draft(job, [token for token, _ in guessed], kinds, account, charged_steps, is_modelled=True)

    def _has_read(self, job: Job, guesser: Guesser, rate: float, plain_s: float) -> bool:
        """Whether the smaller model knows the text; it reads a piece of what it does not know, if that will pay."""
        sequence = job.sequence
        unread = guesser.unread(sequence.tokens, sequence.partition)
        if unread <= _ALONGSIDE_TOKENS:
            return True
        coming = min(sequence.max_tokens - sequence.generated, max(_COMING_TOKENS, sequence.generated))
        saved_steps, read_steps = (1 - 1 / rate) * coming, self._read_steps.expected
        piece = _FIRST_PIECE_TOKENS
        if read_steps is not None:
            if unread * read_steps >= saved_steps:
                return False
            piece = max(piece, int(_READING_STEPS / read_steps))
        began_s = guesser.spent_s
        guesser.read(sequence.tokens, sequence.partition, piece)
        self._read_steps.observe((guesser.spent_s - began_s) / plain_s / min(piece, unread))
        return False

    def _best(
        self, job: Job, account: Account, chance: float, decoding: int, most: int, guess_steps: float = 0.0
    ) -> tuple[int, float]:
        """How many tokens had best be drafted, none included, and how many a step's time brings then.

        Each is right with the same chance, and costs `guess_steps` steps before it can be checked.
        """
        sequence = job.sequence
        costs = self._affordable(account.balance(sequence.generated), decoding, most, guess_steps)
        rates = {size: (decoding + _expected_tokens(chance, size)) / cost for size, cost in costs.items()}
        if not rates:
            return 0, 1.0
        best = max(rates, key=lambda size: rates[size])
        is_trial = sequence.generated - account.last_at_tokens >= _TRIAL_EVERY_TOKENS
        return (best if is_trial or rates[best] >= _WORTH * decoding else 0), rates[best]

    def _affordable(self, balance: float, decoding: int, most: int, guess_steps: float) -> dict[int, float]:
        """By number of drafted tokens, the cost of the step in undrafted ones; what could cost too much is left out."""
        plain_s = self._costs.expected_s(decoding)
        if plain_s is None:
            return {}
        costs = {}
        limit = min(1 + balance, _MOST_SLOWER if decoding > 1 else math.inf)
        for rows in SIZES:
            drafted = rows - decoding
            if 0 < drafted <= most and (cost_s := self._costs.expected_s(rows)) is not None:
                cost = cost_s / plain_s + guess_steps * drafted
                if cost <= limit:
                    costs[drafted] = max(cost, _least_cost(drafted))
        return costs


def _most(job: Job, room: int) -> int:
    """Behind the last token that may come nothing needs to be guessed."""
    return min(room, MOST_DRAFTED_TOKENS, job.sequence.max_tokens - job.sequence.generated - 1)


def _kind(value: float, kinds: Iterable[float]) -> Kind:
    return next(least for least in kinds if value >= least)


def _least_cost(drafted: int) -> float:
    return 1 + _LEAST_ROW * drafted


def _expected_tokens(chance: float, drafted: int) -> float:
    """How many of the drafted tokens are drawn, if each is right with the same chance."""
    return sum(chance**count for count in range(1, drafted + 1))


def guesses(tokens: Sequence[int], expected: Iterable[int] = (), *, looks_up: bool = True) -> Guesses:
    """For a request whose text is `tokens`, and grows."""
    return Guesses(Lookup(tokens, list(expected)) if looks_up else None)
