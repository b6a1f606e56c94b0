"""When guessing pays: several tokens that may come next are checked in one step, if that is quicker than one by one.

    step   row of the last token ─▶ draws a     the same as without a draft
           row of the drafted a  ─▶ draws b     its output counts because a was drawn
           row of the drafted b  ─▶ draws x     counts as well: b was drawn, and x is news
           row of the drafted c                 was for nothing: its cell is given back

Every token is drawn by the sampler, in order, from the logits that it would have been drawn from anyway: a draft
changes how many tokens a step brings, never which. What a row more costs is measured, for each number of rows: the
matrix kernels of processors take rows by fours, so that a draft of three may be cheaper than one of two.

Guesses come from what was said before (`lookup.py`), which costs nothing, or else from a smaller model (`drafting.py`).
Whether drafts pay depends on the text, so every request has an account for each of the two, in steps: a small
allowance, a share of a step for each token, and what its drafts have won or lost. A draft is only made if the account
could bear its total failure. So an answer for which every guess is wrong loses so much and no more.

Only one sequence drafts in a step, by turns, and its drafted rows are the last of the batch. That is more than
fairness: the cells of what was for nothing are then the last ones, nobody's later tokens come to lie before earlier
ones, and the rounding stays what it is without drafts (`memory.py` on the order of cells).

No clock, no model: seconds are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edged.worker.draft import Draft, Guesses, best_size, kind_of, least_steps, most_tokens
from edged.worker.drafting import Drafter, Drafting
from edged.worker.pace import LONGEST_GAP_STEPS
from edged.worker.row_costs import RowCosts

if TYPE_CHECKING:
    from edged.worker.job import Job

# So that the cost of an undrafted step stays known, also to those who decide about threads and prompts.
_PLAIN_EVERY_STEPS = 24
# Others who are shown words wait longer for a step with a draft in it; they must not notice.
_MOST_SLOWER = 1.25
# From how many tokens of agreement on guesses are told apart.
_AGREEMENTS = (12, 6, 0)


class Drafts:
    """Learns what rows cost; decides who drafts, and how much; nobody unless `are_wanted`."""

    def __init__(self, drafter: Drafter | None = None, longest_gap_steps: float = LONGEST_GAP_STEPS) -> None:
        self.are_wanted = True
        self._costs = RowCosts()
        self._drafting = Drafting(drafter, self._costs, longest_gap_steps) if drafter else None
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
        if self._drafting and len(decoding) == 1 and (guesses := decoding[0].guesses):
            return self._drafting.draft(decoding[0], guesses, room)
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
        draft.account.note(draft.kinds[: draft.judged], draft.right)
        if self._drafting and draft.is_drafters:
            self._drafting.observe(draft)
        if plain_s:
            cost = max(charged_s / plain_s, least_steps(len(draft.tokens))) + draft.made_steps
            draft.account.lose(cost - (decoding + draft.accepted) / decoding, draft.job.sequence.generated)

    def _looked_up(self, job: Job, guesses: Guesses, decoding: int, room: int) -> Draft | None:
        most, account = most_tokens(job, room), guesses.account
        if most < 1 or guesses.lookup is None:
            return None
        tokens, matched = guesses.lookup.propose(most)
        kind = kind_of(matched, _AGREEMENTS)
        slower, chance = _MOST_SLOWER if decoding > 1 else math.inf, account.chance(kind)
        size = best_size(self._costs, job, account, chance, len(tokens), decoding=decoding, most_slower=slower)
        return Draft(job, tokens[: size.tokens], [kind] * size.tokens, account) if size.tokens else None
