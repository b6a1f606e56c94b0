"""What the daemon and a template process say to each other: a chat template is a stranger's program.

    daemon ◀─ Started ───────────── template      it is up: what comes now is a stranger's program and has a deadline
           ── Template ──────────▶               the model's chat template; rendering happens where nothing decodes
           ◀─ Compiled | Refused                 with what the template turned out to be able to do
           ── Render ────────────▶
           ◀─ Rendered | Refused                one of them per Render

Standard library only, as `wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edged.chat import ReasoningEffort, Role, TextPart, Tool, ToolCall

# Which form a template wants of the ids of calls: any text, exactly nine letters and digits (Mistral), or
# `functions.NAME:NUMBER`, where nothing but the id names the tool (Kimi K2).
CallIds: TypeAlias = Literal["any", "nine", "named"]
# Where a template looks for what an assistant thought: in a field of this name, in a part of the content, or in the
# content itself between <think> and </think>.
ThoughtPlace: TypeAlias = Literal["none", "reasoning_content", "thinking", "reasoning", "thought", "part", "inline"]


@dataclass(frozen=True, slots=True)
class Span:
    """A run of prompt text. Literal text came from a person and is never read as control tokens."""

    text: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a template sees it: a list of parts, though only text has a place in a template today.

    The other fields are those of `chat.Message`.
    """

    role: Role
    parts: tuple[TextPart, ...]
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    tool: str = ""

    @property
    def text(self) -> str:
        """The parts, joined."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a template can lay out, found by trying. The defaults are a template that knows nothing but plain turns.

    `takes_strings`: content is a string; otherwise it is a list of parts. `opens_with_user`: a conversation has to
    begin with a user's turn. `calls` is how a call's arguments are handed over: as an object or as JSON text; "none":
    calls have no place, and the turns of tools only with `takes_results`. What was said with a call stands beside it,
    in a turn before, or nowhere (`words_with_calls`), and beside a call and a thought only with
    `takes_words_with_thought`. `takes_word_after_result`: a user may speak right behind a tool. `switches_thinking`:
    thinking can be had and be left out; `efforts` are the degrees of it that are known.
    """

    takes_strings: bool = True
    takes_system: bool = False
    opens_with_user: bool = True
    takes_tools: bool = False
    calls: Literal["none", "object", "text"] = "none"
    call_ids: CallIds = "any"
    takes_results: bool = False
    takes_parallel_calls: bool = False
    words_with_calls: Literal["beside", "before", "none"] = "none"
    takes_word_after_result: bool = False
    thought: ThoughtPlace = "none"
    takes_words_with_thought: bool = False
    switches_thinking: bool = False
    efforts: tuple[ReasoningEffort, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """The model's chat template and what it may refer to."""

    source: str
    bos: str
    eos: str
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The template process is up and reads what it is sent."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The template is ready to render."""

    capabilities: Capabilities = Capabilities()


@dataclass(frozen=True, slots=True)
class Render:
    """Lay out this conversation and open the assistant's turn.

    Where the template cannot switch thinking, or knows no degrees of it, `thinks` and `effort` say nothing.
    """

    id: int
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    thinks: bool | None = None
    effort: ReasoningEffort | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt, with everything that could pass for a control token marked literal where a person typed it."""

    id: int
    prompt: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The template itself objected, or does not compile (then `id` is 0); `message` is its own word."""

    id: int
    message: str


TemplateOrder: TypeAlias = Template | Render
TemplateNews: TypeAlias = Started | Compiled | Rendered | Refused
