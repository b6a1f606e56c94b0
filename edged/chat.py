"""The vocabulary: what a caller wants and what an answer is, in no dialect.

Everything that can answer a chat is a `Backend`. Its first verb, `complete`, has two phases, and the difference is
visible in the type: awaiting `complete` is *admission*, whose errors can still become a status code or another
backend's turn; iterating the `Completion` is *generation*, whose errors come after content and end the answer. `embed`
and `rerank` answer whole or not at all.

Nothing here knows HTTP, processes or token ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]
# "calls" is a tree in JSON that only the daemon writes (worker/call_grammar.py).
ConstraintKind: TypeAlias = Literal["json_schema", "regex", "gbnf", "lark", "calls"]
# What a model's file was made for. A part (a projector, an adapter, one of several files) answers nothing alone.
MadeFor: TypeAlias = Literal["words", "vectors", "scores", "part"]
# Somebody waits for the words; or nobody does, and it gives way to those who do.
Lane: TypeAlias = Literal["interactive", "background"]
# What to do with a conversation that outgrew the context: refuse it, or leave out whole turns, oldest first.
Overflow: TypeAlias = Literal["refuse", "drop"]
# How much a model thinks, for those that were trained to know degrees (gpt-oss).
ReasoningEffort: TypeAlias = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of a message that is text."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A piece of a message that is an encoded image. `data` holds the file's bytes, `media_type` what they are."""

    media_type: str
    data: bytes


Part: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that the caller can do for the model. `parameters` is the JSON text of a schema of an object.

    A strict tool's arguments must match the schema wherever it can be enforced; otherwise it is a description.
    """

    name: str
    description: str = ""
    parameters: str = '{"type":"object"}'
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may call, must not, or must; with a `name`, which must be that tool."""

    kind: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model wants made. `arguments` is the JSON text of an object; `id` ties the result to it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as a list of parts in the order in which they were given.

    An assistant's turn may have been thought about first and may call tools. A tool's turn is what the call `call_id`
    came to; `tool` is that tool's name where the dialect gives it.
    """

    role: Role
    parts: tuple[Part, ...]
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    tool: str = ""

    @property
    def text(self) -> str:
        """The text parts joined without a separator, as the model's template will see them."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Bias:
    """What is added to the logit of one token, by its id, before anything else looks at it."""

    token: int
    bias: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. `None` leaves the choice to the model's file, then to llama.cpp's default.

    `temperature` 0 is greedy. `seed` is 32 bits wide; without one, every answer differs.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    logit_bias: tuple[Bias, ...] | None = None

    def for_choice(self, choice: int) -> Sampling:
        """The same, for the `choice`-th of several answers: a fixed seed must not draw the same answer twice.

        The largest number of 32 bits is no seed: to llama.cpp it means "draw one".
        """
        return self if self.seed is None else replace(self, seed=(self.seed + choice) % (2**32 - 1))


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must be: JSON of a schema, a match of a regex, a sentence of a grammar (GBNF, Lark, or calls).

    A lenient schema may hold keywords that cannot be enforced; they are left to the model. A strict one must not.
    """

    kind: ConstraintKind
    text: str
    is_lenient: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and in which dialect. `account` owns things; the path below it only divides that account's share."""

    dialect: str = "openai"
    account: str = "open"
    address: str = ""
    user: str = ""

    @property
    def lane_path(self) -> tuple[str, str, str]:
        """Account, peer address, the request's own user field: a client may split its share, never widen it."""
        return (self.account, self.address, self.user)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a caller wants. Either `messages`, or `raw_prompt`, which bypasses the model's chat template.

    `max_tokens` is an upper bound; the context is another. `n` answers share the prompt. `echo` repeats the raw prompt
    in front of the answer. With `logprobs` every token tells how likely it was, beside that many of the likeliest.
    `deadline_s` is how long the caller is willing to wait for the first word. `prediction` is text that much of the
    answer will repeat, as the caller thinks: it makes the answer no other, only quicker where that is so.
    `thinks` says whether a model that can think before it answers shall; None leaves that to the device. `effort` is
    how much, for models that know degrees.
    """

    id: str
    model: str | None = None
    messages: tuple[Message, ...] = ()
    raw_prompt: str | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    echo: bool = False
    logprobs: int | None = None
    constraint: Constraint | None = None
    caller: Caller = Caller()
    lane: Lane = "interactive"
    overflow: Overflow = "refuse"
    deadline_s: float | None = None
    prediction: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_calls: bool = True
    thinks: bool | None = None
    effort: ReasoningEffort | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts that shall become vectors. A text may come as the token ids of the model that is asked; none is empty.

    `dimensions` asks for the first so many numbers only.
    """

    id: str
    inputs: tuple[str | tuple[int, ...], ...]
    model: str | None = None
    dimensions: int | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Documents that shall be judged by how well they answer `query`."""

    id: str
    query: str
    documents: tuple[str, ...]
    model: str | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What can be asked for. `context_tokens` is None while nobody has opened it, `made_for` where it is unreadable."""

    name: str
    origin: str
    size_bytes: int
    modified_s: int
    context_tokens: int | None = None
    is_resident: bool = False
    made_for: MadeFor | None = "words"


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
class Finish:
    """The end of one choice. `completion_tokens` counts every token drawn for it, the end token included."""

    choice: int
    reason: FinishReason
    completion_tokens: int


Event: TypeAlias = Delta | Thought | CallDelta | Finish


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
