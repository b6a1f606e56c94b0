"""When the smaller model is asked to guess: for whom, how many tokens, and when it reads what it does not know.

Its guesses cost time, and it can only guess behind a text that it has read. It reads a conversation while the answer
goes on, in pieces that hold the answer up no longer than somebody's prompt might, and begins only when that costs a
small share of the time that the answer has taken already: so a short answer to a long prompt is never held up, and what
was read is there for the next turn. How often its guesses are right is learnt by how likely it held them itself.

No clock, no model: seconds are told by the drafter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from edged.cells import MOST_DRAFTED_TOKENS
from edged.worker.account import Account
from edged.worker.draft import LEAST_ROW_STEPS, Draft, Guesses, best_size, kind_of, most_tokens
from edged.worker.pace import LONGEST_STEP_S
from edged.worker.row_costs import Cost, RowCosts

if TYPE_CHECKING:
    from edged.worker.job import Job

# From which likelihoods on guesses are told apart.
_LIKELIHOODS = (0.9, 0.6, 0.3, 0.1, 0.03, 0.0)
# What requests before were like is where a new one begins; but one that was all wrong is no reason to ask nobody again.
_LEAST_EXPECTED = 0.5
# Of the time that an answer has taken so far, reading for its sake may take so much more.
_READING_SHARE = 0.1
# So many tokens are read together with the guess. A first piece tells how quickly the smaller model reads; a piece has
# a few tokens at least, or reading would never end.
_ALONGSIDE_TOKENS = 2 * MOST_DRAFTED_TOKENS
_FIRST_PIECE_TOKENS = 32
_SMALLEST_PIECE_TOKENS = 4


class Drafter(Protocol):
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


class Drafting:
    """Asks `drafter` for somebody who is alone: beside others a step with drafted rows wins little."""

    def __init__(self, drafter: Drafter, costs: RowCosts, longest_gap_steps: float) -> None:
        """`costs` are those of the larger model's steps; none is to become longer than `longest_gap_steps`."""
        self._drafter = drafter
        self._costs = costs
        self._longest_gap_steps = longest_gap_steps
        self._of_all = Account()
        # In steps of the larger model, which are measured all the time: so they stay right when the machine slows down
        # while nothing is guessed.
        self._guess_steps, self._read_steps = Cost(), Cost()

    def draft(self, job: Job, guesses: Guesses, room: int) -> Draft | None:
        """A draft of at most `room` tokens; None where it would not pay, or the text must be read first."""
        sequence, plain_s = job.sequence, self._costs.expected_s(1)
        most = most_tokens(job, min(room, self._drafter.room(sequence.tokens)))
        if most < 1 or not plain_s:
            return None
        if guesses.drafter_account is None:
            guesses.drafter_account = Account(max(self._of_all.share, _LEAST_EXPECTED))
        account = guesses.drafter_account
        # While nobody knows what a guess costs there is one of them at a time, and the request does not pay for it.
        is_new = self._guess_steps.expected is None
        guess_steps = self._guess_steps.expected or 0.0
        size = best_size(
            self._costs,
            job,
            account,
            account.share,
            1 if is_new else most,
            guess_steps=guess_steps,
            most_slower=self._longest_gap_steps,
        )
        if not size.tokens or not self._has_read(job, account, plain_s, is_trial=size.is_trial):
            return None
        began_s, chance, is_first = self._drafter.spent_s, 1.0, True

        def goes_on(likelihood: float) -> bool:
            nonlocal chance, is_first
            chance *= account.chance(kind_of(likelihood, _LIKELIHOODS))  # of this one and all before it
            is_tried, is_first = size.is_trial and is_first, False
            return is_tried or chance >= guess_steps + LEAST_ROW_STEPS

        guessed = self._drafter.guess(sequence.tokens, sequence.partition, size.tokens, goes_on)
        steps = (self._drafter.spent_s - began_s) / plain_s
        self._guess_steps.observe(steps / max(1, len(guessed)))
        charged_steps = 0.0 if is_new else steps
        if not guessed:
            account.lose(charged_steps, sequence.generated)
            return None
        kinds = [kind_of(likelihood, _LIKELIHOODS) for _, likelihood in guessed]
        return Draft(job, [token for token, _ in guessed], kinds, account, charged_steps, is_drafters=True)

    def observe(self, draft: Draft) -> None:
        """Learn for the requests that come how often it is right."""
        self._of_all.note(draft.kinds[: draft.judged], draft.right)

    def _has_read(self, job: Job, account: Account, plain_s: float, *, is_trial: bool) -> bool:
        """Whether the smaller model knows the text; it reads a piece of what it does not know, if it is time to.

        For the sake of a trial `account` must be able to bear it: else it would read along, and never help.
        """
        sequence, read_steps = job.sequence, self._read_steps.expected
        unread = self._drafter.unread(sequence.tokens, sequence.partition)
        if unread <= _ALONGSIDE_TOKENS:
            return True
        piece = min(_FIRST_PIECE_TOKENS, unread)
        if read_steps is None:
            is_time = sequence.generated >= _FIRST_PIECE_TOKENS
        else:
            bearable_steps = _READING_SHARE * sequence.generated
            if is_trial:
                bearable_steps = min(bearable_steps, account.balance(sequence.generated))
            is_time = unread * read_steps <= bearable_steps
            longest_steps = min(self._longest_gap_steps, LONGEST_STEP_S / plain_s) - 1
            piece = min(max(int(longest_steps / read_steps), _SMALLEST_PIECE_TOKENS), unread)
        if is_time:
            began_s = self._drafter.spent_s
            self._drafter.read(sequence.tokens, sequence.partition, piece)
            steps = (self._drafter.spent_s - began_s) / plain_s
            self._read_steps.observe(steps / piece)
            if is_trial:
                account.pay(steps)
        return False
