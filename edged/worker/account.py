"""What guessing ahead has cost one request so far, and how often it was right: whether it can bear another draft.

In steps of the request that nothing was added to. A guess is of a kind, which is what its asker tells guesses apart
by: the tokens before it that agree (`drafts.py`), or how likely the smaller model held it (`drafting.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Kind: TypeAlias = float

# What an account begins with, how it grows with each token, and what it can hold at most, in steps of the request.
# An answer of 128 tokens loses 2.7 % at worst.
_ALLOWANCE_STEPS = 1.5
_SHARE_OF_STEPS = 0.015
_MOST_STEPS = 3.5
# Before anything was seen of a kind, what was seen of all is expected, and at the very beginning a share that is worth
# a first try; each with the weight of so many drafted tokens. What was seen is forgotten by a fifteenth with each
# draft.
_FIRST_CHANCE = 0.7
_PRIOR_TOKENS = 2.0
_KEPT = 0.93


@dataclass(slots=True)
class Account:
    """What drafts have cost one request: `lost` steps (negative: gained), and the guesses that were right and wrong.

    `expected` is the share of right ones before anything was seen.
    """

    expected: float = _FIRST_CHANCE
    lost: float = 0.0
    last_at_tokens: int = 0
    right: dict[Kind, float] = field(default_factory=dict)
    wrong: dict[Kind, float] = field(default_factory=dict)

    def balance(self, generated_tokens: int) -> float:
        """Steps that may be lost by the next draft."""
        return min(_MOST_STEPS, _ALLOWANCE_STEPS + _SHARE_OF_STEPS * generated_tokens - self.lost)

    @property
    def share(self) -> float:
        """How likely a guess is right, whatever its kind."""
        return _share(sum(self.right.values()), sum(self.wrong.values()), self.expected)

    def chance(self, kind: Kind) -> float:
        """How likely a guess of this kind is right: what was seen of it, and before that what was seen of others."""
        right, wrong = self.right.get(kind, 0.0), self.wrong.get(kind, 0.0)
        of_others = _share(sum(self.right.values()) - right, sum(self.wrong.values()) - wrong, self.expected)
        return _share(right, wrong, of_others)

    def note(self, kinds: Sequence[Kind], right: int) -> None:
        """Guesses of these kinds were judged, in this order: the first `right` were, the next one was not."""
        for kind in set(kinds):
            self.right[kind] = _KEPT * self.right.get(kind, 0.0)
            self.wrong[kind] = _KEPT * self.wrong.get(kind, 0.0)
        for kind in kinds[:right]:
            self.right[kind] += 1
        for kind in kinds[right : right + 1]:
            self.wrong[kind] += 1

    def pay(self, steps: float) -> None:
        """Book what had to be done before a draft could be made."""
        self.lost += steps

    def lose(self, steps: float, generated_tokens: int) -> None:
        """Book the loss of a draft; what was gained long ago does not pay for many."""
        earned = _ALLOWANCE_STEPS + _SHARE_OF_STEPS * generated_tokens
        self.lost = max(earned - _MOST_STEPS, self.lost + steps)
        self.last_at_tokens = generated_tokens


def _share(right: float, wrong: float, expected: float) -> float:
    return (_PRIOR_TOKENS * expected + right) / (_PRIOR_TOKENS + right + wrong)
