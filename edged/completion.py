"""The vocabulary of answering: what comes of a request, in no dialect, and who gives it.

Everything that can answer a chat is a `Backend`. Its first verb, `complete`, has two phases, and the difference is
visible in the type: awaiting `complete` is *admission*, whose errors can still become a status code or another
backend's turn; iterating the `Completion` is *generation*, whose errors come after content and end the answer. The
other verbs answer whole or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

from edged.chat import ChatRequest, EmbedRequest, RerankRequest

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """The ids of a text's tokens and, where they were asked for, the bytes of each."""

    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have been drawn: its bytes, and the natural logarithm of its probability."""

    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that was drawn, and the likeliest in its place, likeliest first.

    Probabilities are the model's own: the softmax of its raw logits, before bias, constraint, truncation, temperature.
    """

    piece: bytes
    logprob: float
    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text of one choice; empty only where `logprobs` come alone. `tokens` were drawn to make it.

    The pieces in the `logprobs` of all deltas of a choice, one after the other, are its text; only the last may be
    longer, where a stop string begins inside it. A token comes with the delta that shows its first character.
    """

    choice: int
    text: str
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thinks before it answers; never empty. Nobody has to read it."""

    choice: int
    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of the `index`-th call of one choice. The first has `id` and `name`; `arguments` add up to JSON."""

    choice: int
    index: int
    arguments: str
    id: str = ""
    name: str = ""
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the prompt is read: `processed` of `total` tokens, of which `cached` were in memory. No word yet."""

    choice: int
    total: int
    cached: int
    processed: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one choice. `completion_tokens` counts every token drawn for it, the end token included.

    `stop` is the stop string that ended it, empty where the model ended it itself or something else did.
    """

    choice: int
    reason: FinishReason
    completion_tokens: int
    stop: str = ""


Event: TypeAlias = Delta | Thought | CallDelta | Progress | Finish


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, in tokens. `cached_tokens` of the prompt were not computed again.

    `reasoning_tokens` of those drawn went into thinking.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """What is known once a backend has accepted: who answers, and what it already took to get here.

    `dropped_messages` were left out because the conversation outgrew the context. `first_token_predicted_s` is what was
    expected on arrival, in seconds since then; None while too little was measured to say.
    """

    model: str
    served_by: str
    prompt_tokens: int
    route: str = "local"
    attempts: int = 1
    queue_s: float = 0.0
    cached_tokens: int = 0
    dropped_messages: int = 0
    first_token_predicted_s: float | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector of length 1 per input, in their order; each is its numbers in 32 bits, little-endian."""

    admission: Admission
    vectors: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """One score per document, in their order: larger is better, and only comparable within one answer."""

    admission: Admission
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """How long the prompt of a request would be. `reusable_tokens` of it would not have to be computed again.

    Nothing was read for it: the admission's own counts are 0.
    """

    admission: Admission
    tokens: int
    reusable_tokens: int


@dataclass(slots=True)
class Completion:
    """One answer as it arrives: an async iterable of events that ends after the last `Finish`, or raises.

    It owns what the answer holds (a slot, a stream). Closing it gives that back and is how anybody cancels, also before
    the first iteration. Iterate it once, inside `async with`.
    """

    admission: Admission
    events: AsyncIterator[Event]
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release everything; an answer that still runs is cancelled. Safe to call twice."""
        await self.resources.aclose()


class Backend(Protocol):
    """Anything that can answer a chat."""

    async def complete(self, request: ChatRequest) -> Completion:
        """Admit `request`. Raises `RequestError` (nobody will take it) or `Unavailable` (not here, not now)."""
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Make every vector; raises as `complete`. Cancelling it stops the work."""
        ...

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Make every score; raises as `complete`. Cancelling it stops the work."""
        ...

    async def count(self, request: ChatRequest) -> Counted:
        """How many tokens the prompt of `request` has; raises as `complete`. Nothing is answered."""
        ...
