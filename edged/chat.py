"""The vocabulary of asking: what a caller wants, in no dialect. What comes of it is in `completion.py`.

Nothing here knows HTTP or processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edged.sampling import Constraint, Sampling

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
# What a model's file was made for. A part (a projector, an adapter, a vocabulary, one of several files) is no model.
MadeFor: TypeAlias = Literal["words", "vectors", "scores", "part"]
# What a model can be asked for. Any model makes vectors too; those that were made for it make better ones. `infill` is
# text for a gap in another, `vision` reads images.
Ability: TypeAlias = Literal["completion", "chat", "tools", "vision", "reasoning", "infill", "embeddings", "rerank"]
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
# A prompt that no template lays out: its text, or the ids of its tokens in the vocabulary of the model that is asked.
RawPrompt: TypeAlias = str | tuple[int, ...]


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

    With `tells_progress` the answer says how far its prompt is read, as long as it is.

    Beside a raw prompt there may be `further_prompts`, each with `n` answers of its own: their choices follow in order.
    With a `suffix` the answer fills the gap between a raw prompt, which is text then, and that.

    `max_tokens` is an upper bound; the context is another. `n` answers share the prompt. `echo` repeats the raw prompt
    in front of the answer. With `logprobs` every token tells how likely it was, beside that many of the likeliest.
    `deadline_s` is how long the caller is willing to wait for the first word. `prediction` is text that much of the
    answer will repeat, as the caller thinks: it makes the answer no other, only quicker where that is so.
    `thinks` says whether a model that can think before it answers shall; None leaves that to the device. `effort` is
    how much, for models that know degrees; after `thought_tokens` the thought is ended for it. `keep_alive_s` is how
    long the model shall stay in memory afterwards: 0 not at all, infinity for good; None leaves that to the device.
    """

    id: str
    model: str | None = None
    messages: tuple[Message, ...] = ()
    raw_prompt: RawPrompt | None = None
    suffix: str = ""
    sampling: Sampling = field(default_factory=Sampling)
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
    thought_tokens: int | None = None
    keep_alive_s: float | None = None
    further_prompts: tuple[RawPrompt, ...] = ()
    tells_progress: bool = False

    @property
    def choices(self) -> int:
        """How many answers there will be."""
        return self.n * (1 + len(self.further_prompts))


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts that shall become vectors. A text may come as the token ids of the model that is asked; none is empty.

    `dimensions` asks for the first so many numbers only.
    """

    id: str
    inputs: tuple[RawPrompt, ...]
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
class TokenizeRequest:
    """A text to be cut into tokens. Control tokens in it are recognised only with `parses_special`.

    With `adds_special` they stand between the tokens that the vocabulary puts around every text.
    """

    text: str
    parses_special: bool = True
    adds_special: bool = False
    with_pieces: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """Where a model comes from and what it speaks, in its file's words; empty where that says nothing.

    `languages` are codes of ISO 639, `quantization` is what most of its weights are, `parameters` how many there are.
    """

    architecture: str = ""
    parameters: int | None = None
    size_label: str = ""
    quantization: str = ""
    license: str = ""
    base_models: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What can be asked for. `context_tokens` is None while nobody has opened it, `made_for` where it is unreadable.

    `longest_context_tokens` is what it was trained for, as far as its file says. `problem` is why it cannot be loaded,
    `quarantine` why it is not given any more; empty where nothing is wrong.
    """

    name: str
    origin: str
    size_bytes: int
    modified_s: int
    context_tokens: int | None = None
    is_resident: bool = False
    made_for: MadeFor | None = "words"
    abilities: tuple[Ability, ...] = ()
    longest_context_tokens: int | None = None
    about: About = About()
    problem: str = ""
    quarantine: str = ""
