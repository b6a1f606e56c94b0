"""A second, smaller model in the same process: it says what it would say next, for the first one to check.

    its memory   p p p p p p g g g x      one text at a time, in one slot: what both begin with stays when the next
    the text     p p p p p p g g g y z    text comes, or when a guess (x) was wrong
                                   └─┴ unread

It takes part in nothing else: prompts are read and answers are drawn by the first model alone, and whatever is wrong
with this one costs nothing but its guesses. When it is asked is decided in `drafting.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from time import perf_counter

from edged.worker.bindings import EngineError
from edged.worker.context import Context
from edged.worker.engine import DecodeFailed, MemoryFull, Row
from edged.worker.model import Model
from edged.worker.prefixes import common

_SLOT = 0
# Vocabularies of one family differ by some tokens at the end: llama.cpp allows as many, and does not compare the first
# few (SPEC_VOCAB_* in common/speculative.cpp).
_MOST_MORE_TOKENS = 128
_UNCOMPARED_TOKENS = 5


def unguessable(model: Model) -> str:
    """Why nothing can be guessed for `model`; empty where it can."""
    return "" if model.is_cuttable else "the memory of the model cannot be cut back behind a wrong guess"


def unfit(model: Model, smaller: Model) -> str:
    """Why `smaller` cannot guess for `model`; empty where it can. Comparing two of 150,000 tokens takes 0.1 s."""
    if smaller.is_for_vectors:
        return "it was made for vectors and not for words"
    if not smaller.is_cuttable:
        return "its memory cannot be cut back behind a wrong guess"
    ours, theirs = model.vocabulary_tokens, smaller.vocabulary_tokens
    if abs(ours - theirs) > _MOST_MORE_TOKENS:
        return f"its vocabulary has {theirs} tokens and not {ours}"
    for token in range(_UNCOMPARED_TOKENS, min(ours, theirs)):
        one, other = model.stored_text(token), smaller.stored_text(token)
        if one != other:
            return f"its vocabulary is another one: token {token} is {other!r} and not {one!r}"
    return ""


class Drafter:
    """The smaller model on a context of its own, which holds one text. `failure` says why it is of no use any more."""

    def __init__(self, context: Context, vocabulary_tokens: int) -> None:
        """`vocabulary_tokens` is how many tokens the first model knows."""
        importlib.import_module("numpy")  # a tenth of a second, which is not to be the first guess's
        self.spent_s = 0.0
        self._context = context
        self._vocabulary_tokens = min(vocabulary_tokens, context.model.vocabulary_tokens)
        self._held: list[int] = []
        self._partition: str | None = None
        self._last_row = 0
        self.failure = ""

    def use_threads(self, threads: int, of_several_rows: int) -> None:
        """Guess on so many threads, and read on another number."""
        self._context.use_threads(threads, of_several_rows)

    def room(self, tokens: Sequence[int]) -> int:
        """How many tokens it could guess behind `tokens`; none where it is too small for the text, or broken."""
        return 0 if self.failure else max(0, self._context.context_tokens - len(tokens))

    def unread(self, tokens: Sequence[int], partition: str | None) -> int:
        """How many of `tokens` it would have to read before it could guess what comes behind them."""
        return len(tokens) - self._shared(tokens, partition)

    def read(self, tokens: Sequence[int], partition: str | None, most: int) -> None:
        """Read at most so many more of `tokens`; nothing is taken over from another partition."""
        began = perf_counter()
        self._try(lambda: self._read(tokens, partition, most))
        self.spent_s += perf_counter() - began

    def guess(
        self, tokens: Sequence[int], partition: str | None, most: int, goes_on: Callable[[float], bool]
    ) -> list[tuple[int, float]]:
        """Read what is unread, and say up to `most` tokens that come next, each with its likelihood, for as long as
        `goes_on` of that likelihood."""
        began = perf_counter()
        guessed: list[tuple[int, float]] = []
        self._try(lambda: self._guess(tokens, partition, most, goes_on, guessed))
        self.spent_s += perf_counter() - began
        return guessed

    def _shared(self, tokens: Sequence[int], partition: str | None) -> int:
        """How much of what it holds can stay. The last token is read in any case: its output is the first guess."""
        if partition != self._partition:
            return 0
        return common(self._held, tokens, min(len(self._held), len(tokens) - 1))

    def _read(self, tokens: Sequence[int], partition: str | None, most: int) -> None:
        kept = self._shared(tokens, partition)
        if kept < len(self._held):
            self._context.cut(_SLOT, kept) if kept else self._context.release(_SLOT)
            del self._held[kept:]
        self._partition = partition
        end = min(len(tokens), kept + most)
        while len(self._held) < end:
            piece = tokens[len(self._held) : min(end, len(self._held) + self._context.batch_tokens)]
            self._decode(piece, is_last=len(self._held) + len(piece) == len(tokens))

    def _guess(
        self,
        tokens: Sequence[int],
        partition: str | None,
        most: int,
        goes_on: Callable[[float], bool],
        guessed: list[tuple[int, float]],
    ) -> None:
        self._read(tokens, partition, len(tokens))
        while True:
            token, likelihood = self._likeliest()
            if token >= self._vocabulary_tokens or not goes_on(likelihood):
                return
            guessed.append((token, likelihood))
            if len(guessed) == most or self._context.model.is_end(token):
                return
            self._decode([token], is_last=True)

    def _decode(self, tokens: Sequence[int], *, is_last: bool) -> None:
        at, last = len(self._held), len(tokens) - 1
        # What only the first model knows is read as something else: then the guesses are worse, and that is all.
        known = [token if token < self._vocabulary_tokens else 0 for token in tokens]
        rows = [Row(token, at + index, _SLOT, is_last and index == last) for index, token in enumerate(known)]
        self._context.decode(rows)
        self._held.extend(tokens)
        self._last_row = last

    def _likeliest(self) -> tuple[int, float]:
        import numpy as np

        logits = self._context.logits(self._last_row)
        token = int(logits.argmax())
        likelihood = 1 / float(np.exp(logits - logits[token]).sum())
        if not likelihood > 0:
            raise DecodeFailed("its weights are damaged: it says nothing that is a number")
        return token, likelihood

    def _try(self, compute: Callable[[], None]) -> None:
        try:
            compute()
        except (MemoryFull, DecodeFailed, EngineError) as error:
            self.failure = f"it failed: {error!r}"
            self._context.release(_SLOT)
            self._held.clear()
