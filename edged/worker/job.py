"""One sequence and the sampler that draws for it: what a batcher shares its steps among."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from edged.completion import TokenLogprob
from edged.wire import FailureCode
from edged.worker.draft import Draft, Guesses
from edged.worker.engine import Row
from edged.worker.sequence import Sequence


class CannotDraw(Exception):
    """A sequence gets no further token; the text tells its caller why, `code` is the error's name."""

    def __init__(self, message: str, *, code: FailureCode = "grammar_invalid") -> None:
        super().__init__(message)
        self.code: FailureCode = code


class Sampler(Protocol):
    """Draws the next token of one sequence and remembers what it drew."""

    @property
    def is_ready(self) -> bool:
        """Whether the next token can be drawn now."""
        ...

    @property
    def score(self) -> TokenLogprob | None:
        """How likely the last token was; None where nobody wants to know."""
        ...

    def draw(self, row: int | None) -> int:
        """The next token from the output of batch row `row`, or from the kept one. Raises `CannotDraw`."""
        ...

    def force(self, tokens: Items[int]) -> None:
        """These are the next ones, whatever the model thinks of them, as long as its grammar allows them."""
        ...

    def keep(self, row: int) -> None:
        """Keep the output of batch row `row`: the next token is drawn from it after another decode."""
        ...

    def foresee(self, tokens: Items[int]) -> None:
        """These may be drawn next, in this order: what their draws need can be prepared meanwhile."""
        ...

    def close(self) -> None:
        """Release it; the sequence has ended."""
        ...


class Vocabulary(Protocol):
    """What tokens mean, reduced to what an answer needs."""

    def piece(self, token: int) -> bytes:
        """The token's bytes; empty for control tokens."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        ...


@dataclass(slots=True)
class Job:
    """A sequence and the sampler that draws for it; without one it only reads its prompt, a prefix of the owner's.

    `guesses` are what its drafts come from; None where it gets none.
    """

    sequence: Sequence
    sampler: Sampler | None
    guesses: Guesses | None = None
    is_admitted: bool = False

    @property
    def is_owners(self) -> bool:
        """Nobody waits for it, and everybody may share what it has read."""
        return self.sampler is None

    @property
    def gives_way(self) -> tuple[bool, bool, int]:
        """Whoever has the largest is paused first: the owner's, the youngest in the background, the youngest."""
        return self.is_owners, self.sequence.lane == "background", self.sequence.id

    def draw(self, row: int | None, vocabulary: Vocabulary) -> int:
        """The next token of the answer, from the output of batch row `row` or the kept one. Raises `CannotDraw`."""
        assert self.sampler is not None
        token = self.sampler.draw(row)
        piece, is_end = vocabulary.piece(token), vocabulary.is_end(token)
        self.sequence.accept(token, piece, is_end=is_end, score=self.sampler.score)
        self.sampler.force(self.sequence.take_ending())
        return token


Chunks: TypeAlias = list[tuple[Job, int]]


def rows_of(chunks: Chunks, draft: Draft | None = None) -> list[Row]:
    """The batch: everybody's next tokens, and behind all of them those that are drafted, each with an output."""
    rows = []
    for job, count in chunks:
        sequence = job.sequence
        assert sequence.place is not None
        first = sequence.in_memory
        for position in range(first, first + count):
            has_output = job.sampler is not None and position + 1 == len(sequence.tokens)
            rows.append(Row(sequence.tokens[position], position, sequence.place.slot, has_output))
    if draft is not None:
        sequence = draft.job.sequence
        assert sequence.place is not None
        for position, token in enumerate(draft.tokens, start=len(sequence.tokens)):
            rows.append(Row(token, position, sequence.place.slot, has_output=True))
    return rows
