"""Texts become vectors, and pairs of texts scores: the background work of a worker.

    submit ─▶ waiting ─▶ read in one step, or in several where the model allows it ─▶ Embedded | Scored

Short texts share a step as separate sequences; what does not fit waits for the next. How many tokens a step may read is
the caller's decision, because a running stream waits meanwhile. A text ends with exactly one frame, or is cancelled.

No llama_cpp, no sockets, no clock: the arithmetic is tested without a model.
"""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Protocol

from edged.wire import Embed, Embedded, Rank, Rejected, Scored, Starved


class NoMemory(Exception):
    """The engine found no memory for a context; nothing that runs was harmed."""


@dataclass(frozen=True, slots=True)
class Portion:
    """The next tokens of one sequence. After the last portion its result can be had."""

    slot: int
    first: int
    tokens: Items[int]
    is_last: bool


class VectorEngine(Protocol):
    """A model's second context, reduced to what making vectors needs."""

    @property
    def longest_tokens(self) -> int:
        """The longest text that can be read."""
        ...

    @property
    def prepared_tokens(self) -> int:
        """The longest text that there is room for now."""
        ...

    @property
    def sequences(self) -> int:
        """Texts that may be under way at once."""
        ...

    @property
    def can_split(self) -> bool:
        """Whether a text may be read in several portions. Known once it is prepared."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Most tokens of one `read`, but for a lone text that cannot be split."""
        ...

    def tokens_of(self, wanted: Embed | Rank) -> list[int]:
        """The ids of a text or of a pair."""
        ...

    def prepare(self, longest_tokens: int) -> None:
        """Make room for texts of this length. Never shrinks, and forgets what was under way. Raises `NoMemory`."""
        ...

    def read(self, portions: Items[Portion]) -> list[list[float]]:
        """Compute, and give the results of those portions that are the last of their texts, in order."""
        ...

    def use_threads(self, threads: int) -> None:
        """Read on so many threads from now on."""
        ...

    def forget(self, slot: int) -> None:
        """Drop everything of a sequence."""
        ...

    def close(self) -> None:
        """Give the memory back; `prepare` takes it again."""
        ...


@dataclass(slots=True, eq=False)
class Text:
    """A text or pair on its way. `slot` is the engine's sequence while part of it was read."""

    id: int
    tokens: list[int]
    is_pair: bool
    read: int = 0
    slot: int | None = None

    @property
    def pending(self) -> int:
        """Tokens that have still to be read."""
        return len(self.tokens) - self.read


def portions(pending: Items[int], budget: int, *, can_split: bool) -> list[int]:
    """How many tokens of each text to read, front first; texts behind the end of the list wait.

    Whole texts as long as they fit `budget`. Only the first is cut, where that may be, else it is read whole whatever
    the budget. One that is cut thus begins in an empty memory and lies there in order, and its vector is bit for bit
    what it is in one piece.
    """
    if pending and pending[0] > budget:
        return [budget if can_split else pending[0]]
    counts: list[int] = []
    for tokens in pending:
        if sum(counts) + tokens > budget:
            break
        counts.append(tokens)
    return counts


class Embedder:
    """Owns every text from submission to its one answer."""

    def __init__(self, engine: VectorEngine) -> None:
        self._engine = engine
        self._texts: list[Text] = []
        self._free_slots = list(range(engine.sequences))

    @property
    def is_idle(self) -> bool:
        """Nothing to do until the next submission."""
        return not self._texts

    def submit(self, wanted: Embed | Rank, tokens: list[int] | None = None) -> Rejected | None:
        """Queue a text or a pair; the refusal where it is empty or longer than the model can read."""
        tokens = self._engine.tokens_of(wanted) if tokens is None else tokens
        if not 0 < len(tokens) <= self._engine.longest_tokens:
            return Rejected(wanted.id, len(tokens), self._engine.longest_tokens)
        self._texts.append(Text(wanted.id, tokens, isinstance(wanted, Rank)))
        return None

    def cancel(self, id: int) -> None:
        """Drop a text without an answer. Unknown ids have already ended."""
        for text in [text for text in self._texts if text.id == id]:
            self._leave(text)

    def step(self, budget: int) -> tuple[list[Embedded | Scored | Starved], int]:
        """Read about `budget` tokens, at least one; what came of it, and how many tokens were read.

        Who waits longest comes first. A text that must be read at once may take more than the budget.
        """
        try:
            self._prepare()
        except NoMemory:
            return self._starve(), 0
        candidates = self._candidates()
        budget = min(budget, self._engine.batch_tokens)
        counts = portions([text.pending for text in candidates], budget, can_split=self._engine.can_split)
        read = [(text, self._portion(text, count)) for text, count in zip(candidates, counts, strict=False)]
        results = iter(self._engine.read([portion for _, portion in read]))
        for text, portion in read:
            text.read += len(portion.tokens)
        finished = [text for text, portion in read if portion.is_last]
        answers = [_answer(text, next(results)) for text in finished]
        for text in finished:
            self._leave(text)
        return list(answers), sum(counts)

    def close(self) -> None:
        """Give the engine's memory back, when nothing is under way."""
        assert self.is_idle
        self._engine.close()

    def _prepare(self) -> None:
        # Only between texts: what was read of one lies in the memory that would be exchanged.
        if all(text.slot is None for text in self._texts):
            self._engine.prepare(max(len(text.tokens) for text in self._texts))

    def _candidates(self) -> list[Text]:
        """The front of the line, up to the first text for which room has still to be made."""
        fitting = takewhile(lambda text: len(text.tokens) <= self._engine.prepared_tokens, self._texts)
        return list(islice(fitting, self._engine.sequences))

    def _starve(self) -> list[Embedded | Scored | Starved]:
        """The longest text cannot be read now; the others may still find room."""
        longest = max(self._texts, key=lambda text: len(text.tokens))
        self._leave(longest)
        return [Starved(longest.id)]

    def _portion(self, text: Text, count: int) -> Portion:
        if text.slot is None:
            text.slot = self._free_slots.pop()
        tokens = text.tokens[text.read : text.read + count]
        return Portion(text.slot, text.read, tokens, is_last=count == text.pending)

    def _leave(self, text: Text) -> None:
        self._texts.remove(text)
        if text.slot is not None:
            self._engine.forget(text.slot)
            self._free_slots.append(text.slot)


def _answer(text: Text, result: list[float]) -> Embedded | Scored:
    if text.is_pair:
        return Scored(text.id, result[0], len(text.tokens))
    # Every processor that this runs on is little-endian.
    data = array("f", normalised(result)).tobytes()
    return Embedded(text.id, base64.b64encode(data).decode(), len(text.tokens))


def normalised(vector: list[float]) -> list[float]:
    """The same direction at length 1 (llama-server's and OpenAI's vectors are such); a zero vector stays one."""
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector
