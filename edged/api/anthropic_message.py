"""A conversation in Anthropic's shape: turns of blocks, which are text, images, thoughts, calls, and their results.

What a call came to stands in a user's turn there and is a turn of its own here. Consecutive turns of one role are one,
as Anthropic documents; where two texts meet, a line ends, as llama.cpp has it (common/chat.cpp, `to_json_oaicompat`).

Shapes: platform.claude.com/docs/en/api/messages, and the types of the official client (`types/*_block_param.py` of
anthropics/anthropic-sdk-python, 0.121 to 2.12).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from edged.api.body import Strict, one_of
from edged.api.fields import CacheControl
from edged.api.tools import CallId, ToolName, compact
from edged.chat import ImagePart, Message, Part, Role, TextPart, ToolCall
from edged.errors import InvalidRequest

# A line for Anthropic's accounts that Claude Code puts in front of its instructions. It is no word to the model, and
# `cch` in it is another one each time: no prompt would begin like the one before it.
_BILLING = re.compile(r"\Ax-anthropic-billing-header:(?:[ \t]*\w+=[^;\s]*;)*\s*")
_OWNERS = {
    "image": "user",
    "tool_result": "user",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_use": "assistant",
}
# More than any message has; each could be an error to describe, and half a million of them took two seconds.
_MAX_BLOCKS = 4096
_NOT_HERE = "Such a block is not supported here; leave it out"


class _Block(Strict):
    cache_control: CacheControl | None = None


class TextBlock(_Block):
    """Text. Nothing is cited here, so no citation comes back."""

    type: Literal["text"]
    text: str
    citations: Annotated[list[Any], Field(max_length=0, default_factory=list)]


class _Base64(Strict):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class ImageBlock(_Block):
    """An image, encoded."""

    type: Literal["image"]
    source: Annotated[_Base64, one_of({"base64": _Base64}, "Images are taken as base64 only, and nothing is fetched")]


class ThinkingBlock(Strict):
    """What a model thought, as it comes back. The signature proves something to Anthropic; here it does not."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Strict):
    """What another model thought, encrypted: only Anthropic can read it, so nothing of it reaches a model here."""

    type: Literal["redacted_thinking"]
    data: str


class _DirectCaller(Strict):
    type: Literal["direct"]


class ToolUseBlock(_Block):
    """A call that was made."""

    type: Literal["tool_use"]
    id: CallId
    name: ToolName
    input: dict[str, Any]
    caller: Annotated[_DirectCaller, one_of({"direct": _DirectCaller}, "Only the model itself calls here")] | None = (
        None
    )


def _as_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


_RESULTS: dict[str, type[Strict]] = {"text": TextBlock, "image": ImageBlock}
_Result: TypeAlias = Annotated[TextBlock | ImageBlock, one_of(_RESULTS, _NOT_HERE)]
_Results: TypeAlias = Annotated[
    list[_Result],
    Field(max_length=_MAX_BLOCKS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[_Result]),
]


class ToolResultBlock(_Block):
    """What a call came to."""

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: _Results = Field(default_factory=list)
    is_error: bool = False

    def parts(self, place: str) -> tuple[Part, ...]:
        """What the model reads. A failure says so in words, because no template has a place for it."""
        parts = tuple(_part(f"{place}.content.{number}", block) for number, block in enumerate(self.content))
        return (TextPart("Error:"), *parts) if self.is_error else parts


Block: TypeAlias = TextBlock | ImageBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
_BLOCKS: dict[str, type[Strict]] = {
    **_RESULTS,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
    "tool_result": ToolResultBlock,
}
_AnyBlock: TypeAlias = Annotated[Block, one_of(_BLOCKS, _NOT_HERE)]
_Content: TypeAlias = Annotated[
    list[_AnyBlock],
    Field(max_length=_MAX_BLOCKS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[_AnyBlock]),
]
_Instruction: TypeAlias = Annotated[TextBlock, one_of({"text": TextBlock}, "Instructions are text")]
System: TypeAlias = Annotated[
    list[_Instruction],
    Field(max_length=_MAX_BLOCKS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[_Instruction]),
]


class MessageBody(Strict):
    """One of `messages`."""

    role: Literal["user", "assistant", "system"]
    content: _Content

    def to_messages(self, place: str, tools: Mapping[str, str]) -> Iterator[Message]:
        """Its blocks in our words, each as a turn of its own; `tools` are the tools' names by the calls' ids."""
        if not self.content:
            yield Message(self.role, ())
        for number, block in enumerate(self.content):
            yield self._message(f"{place}.content.{number}", block, tools)

    def _message(self, place: str, block: Block, tools: Mapping[str, str]) -> Message:
        if _OWNERS.get(block.type, self.role) != self.role:
            raise InvalidRequest(f"A {self.role}'s message has no {block.type}.", param=f"{place}.type")
        match block:
            case ThinkingBlock():
                return Message(self.role, (), block.thinking)
            case RedactedThinkingBlock():
                return Message(self.role, ())
            case ToolUseBlock():
                return Message(self.role, (), calls=(ToolCall(block.id, block.name, compact(block.input)),))
            case ToolResultBlock():
                name = tools.get(block.tool_use_id, "")
                return Message("tool", block.parts(place), call_id=block.tool_use_id, tool=name)
            case TextBlock() | ImageBlock():
                return Message(self.role, (_part(place, block),))


def conversation(system: Sequence[TextBlock], bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """All turns in our words, instructions first. Raises `InvalidRequest` for a block in the wrong place."""
    tools = {block.id: block.name for body in bodies for block in body.content if isinstance(block, ToolUseBlock)}
    pieces = [Message("system", (TextPart(text),)) for block in system if (text := _BILLING.sub("", block.text))]
    for index, body in enumerate(bodies):
        pieces.extend(body.to_messages(f"messages.{index}", tools))
    turns: list[_Turn] = []
    for piece in pieces:
        if not turns or piece.role == "tool" or piece.role != turns[-1].role:
            turns.append(_Turn(piece.role, piece.call_id, piece.tool))
        turns[-1].add(piece)
    return tuple(turn.message() for turn in turns)


def forgetting_thoughts(messages: Sequence[Message], turns_kept: int) -> tuple[Message, ...]:
    """The conversation without the thoughts of all but the assistant's last `turns_kept` turns that have any.

    A turn lasts until the user speaks again, however many calls it makes.
    """
    newest_first, turns, is_counted = [], 0, False
    for message in reversed(messages):
        is_counted = is_counted and message.role != "user"
        if message.thought and not is_counted:
            turns, is_counted = turns + 1, True
        newest_first.append(message if turns <= turns_kept else replace(message, thought=""))
    return tuple(reversed(newest_first))


@dataclass(slots=True)
class _Turn:
    """A turn while it is put together. Lists, because a turn may have thousands of blocks."""

    role: Role
    call_id: str
    tool: str
    parts: list[Part] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, piece: Message) -> None:
        self.parts.extend(piece.parts)
        self.thoughts.extend([piece.thought] if piece.thought else [])
        self.calls.extend(piece.calls)

    def message(self) -> Message:
        thought = "\n".join(self.thoughts)
        return Message(self.role, tuple(_in_lines(self.parts)), thought, tuple(self.calls), self.call_id, self.tool)


def _in_lines(parts: Iterable[Part]) -> Iterator[Part]:
    for is_text, run in groupby(parts, lambda part: isinstance(part, TextPart)):
        if is_text:
            yield TextPart("\n".join(part.text for part in run if isinstance(part, TextPart)))
        else:
            yield from run


def _part(place: str, block: TextBlock | ImageBlock) -> Part:
    if isinstance(block, TextBlock):
        return TextPart(block.text)
    try:
        return ImagePart(block.source.media_type, base64.b64decode(block.source.data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"The image is not base64: {error}.", param=f"{place}.source.data") from None
