"""What a conversation consists of in OpenAI's Responses API: items, which become messages.

Shapes: `ResponseInputParam` in openai/types/responses/response_input_param.py of the official client. A thought, a text
and calls that follow each other are items of their own there and one message here, as llama-server has it
(`server_chat_convert_responses_to_chatcmpl` in tools/server/server-chat.cpp of llama.cpp).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic.json_schema import SkipJsonSchema

from edged.api.body import Strict
from edged.api.message import MAX_PARTS, image_of
from edged.api.tools import CallId, ToolName, checked_arguments
from edged.chat import Message, Part, TextPart, ToolCall
from edged.errors import InvalidRequest, UnsupportedParameter

_Name: TypeAlias = Annotated[str, StringConstraints(max_length=256)]
_Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]
# What stands in front of a thought that this device has wrapped up for its way to the client and back.
_CARRIED = "edged:"

# Several times as many as the longest answer has tokens; what a client echoes of them is not looked at.
_MAX_LOGPROBS = 32_768


class Elsewhere(BaseModel):
    """Something that OpenAI has and this device has not, with whatever it consists of."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    type: str

    def refused(self, place: str, instead: str) -> UnsupportedParameter:
        """The error that says so; `instead` is what may stand there."""
        return UnsupportedParameter(
            f"{place} is {self.type[:80]!r}, which is not supported here; {instead}.", param=place
        )


def kind_among(*known: str) -> Callable[[Any], str]:
    """Tells values apart by their `type`; whatever is not known is an `Elsewhere`."""

    def kind(value: Any) -> str:
        type = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return type if isinstance(type, str) and type in known else "other"

    return kind


class _InputText(Strict):
    type: Literal["input_text"]
    text: str

    def to_part(self, place: str) -> Part:
        return TextPart(self.text)


class _InputImage(Strict):
    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"

    def to_part(self, place: str) -> Part:
        return image_of(self.image_url, place)


class _OutputText(Strict):
    """A part of an answer as the client echoes it; how likely its tokens were is nothing to answer by."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0, default_factory=list)]
    logprobs: Annotated[list[Any], Field(max_length=_MAX_LOGPROBS, default_factory=list)]

    def to_part(self, place: str) -> Part:
        return TextPart(self.text)


class _Refusal(Strict):
    type: Literal["refusal"]
    refusal: str

    def to_part(self, place: str) -> Part:
        return TextPart(self.refusal)


class _OtherPart(Elsewhere):
    def to_part(self, place: str) -> Part:
        raise self.refused(place, "send input_text, or input_image with a data: URL")


_AnyPart: TypeAlias = Annotated[
    Annotated[_InputText, Tag("input_text")]
    | Annotated[_InputImage, Tag("input_image")]
    | Annotated[_OutputText, Tag("output_text")]
    | Annotated[_Refusal, Tag("refusal")]
    | Annotated[_OtherPart, Tag("other"), SkipJsonSchema()],
    Discriminator(kind_among("input_text", "input_image", "output_text", "refusal")),
]


def _as_parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


_Parts: TypeAlias = Annotated[
    list[_AnyPart],
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[_AnyPart]),
]


class _MessageItem(Strict):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: _Parts
    # What an answer of ours has, and the client echoes.
    id: _Name = ""
    status: _Status = "completed"

    def to_message(self, place: str) -> Message:
        return Message("system" if self.role == "developer" else self.role, _parts(f"{place}.content", self.content))


class _CallItem(Strict):
    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    namespace: _Name = ""
    arguments: str
    id: _Name = ""
    status: _Status = "completed"

    def to_message(self, place: str) -> Message:
        arguments = checked_arguments(self.arguments, f"{place}.arguments")
        name = name_in(self.namespace, self.name) if self.namespace else self.name
        return Message("assistant", (), calls=(ToolCall(self.call_id, name, arguments),))


class _CallOutputItem(Strict):
    type: Literal["function_call_output"]
    call_id: CallId
    output: _Parts
    name: _Name = ""
    id: _Name = ""
    status: _Status = "completed"

    def to_message(self, place: str) -> Message:
        return Message("tool", _parts(f"{place}.output", self.output), call_id=self.call_id, tool=self.name)


class _ReasoningText(Strict):
    type: Literal["reasoning_text"]
    text: str


class _SummaryText(Strict):
    type: Literal["summary_text"]
    text: str


class _ReasoningItem(Strict):
    type: Literal["reasoning"]
    summary: Annotated[list[_SummaryText], Field(max_length=MAX_PARTS, default_factory=list)]
    content: Annotated[list[_ReasoningText], Field(max_length=MAX_PARTS, default_factory=list)]
    encrypted_content: str = ""
    id: _Name = ""
    status: _Status = "completed"

    def to_message(self, place: str) -> Message:
        return Message("assistant", (), thought=self._thought(f"{place}.encrypted_content"))

    def _thought(self, place: str) -> str:
        """The thought in full where it is there, and only otherwise what sums it up."""
        if self.content:
            return "\n\n".join(part.text for part in self.content)
        if self.encrypted_content:
            return _unwrapped(self.encrypted_content, place)
        return "\n\n".join(part.text for part in self.summary)


class _OtherItem(Elsewhere):
    # An item without a type and a role is a reference, as the official client's types have it.
    type: str = "item_reference"

    def to_message(self, place: str) -> Message:
        raise self.refused(
            place,
            "nothing is stored and no tool is built in, so send messages, calls and their outputs in full (programs do "
            "so with store: false)",
        )


def _item_kind(value: Any) -> str:
    if isinstance(value, dict) and "type" not in value and "role" in value:
        return "message"
    return _typed_kind(value)


_typed_kind = kind_among("message", "function_call", "function_call_output", "reasoning")
Item: TypeAlias = Annotated[
    Annotated[_MessageItem, Tag("message")]
    | Annotated[_CallItem, Tag("function_call")]
    | Annotated[_CallOutputItem, Tag("function_call_output")]
    | Annotated[_ReasoningItem, Tag("reasoning")]
    | Annotated[_OtherItem, Tag("other"), SkipJsonSchema()],
    Discriminator(_item_kind),
]


def as_items(value: Any) -> Any:
    """A text alone is what the user says."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def messages_of(items: Sequence[Item]) -> tuple[Message, ...]:
    """The conversation in our words. Raises `InvalidRequest`, `UnsupportedParameter`."""
    messages: list[Message] = []
    for index, item in enumerate(items):
        message = item.to_message(f"input.{index}")
        if messages and messages[-1].role == message.role == "assistant":
            message = _joined(messages.pop(), message)
        messages.append(message)
    return tuple(messages)


def is_developers(item: Item) -> bool:
    """Whether a developer says this: an instruction to answer by, where a system's may be for the system."""
    return isinstance(item, _MessageItem) and item.role == "developer"


def name_in(namespace: str, name: str) -> str:
    """By what name a model knows a function in a namespace."""
    return f"{namespace}__{name}"


def wrapped(thought: str) -> str:
    """A thought as `encrypted_content`, from which a later request gets it back.

    It is no secret: whoever asks may read it. OpenAI's field is how clients carry a thought that they do not look at.
    """
    return _CARRIED + base64.b64encode(thought.encode()).decode()


def _unwrapped(text: str, place: str) -> str:
    if not text.startswith(_CARRIED):
        raise UnsupportedParameter(
            "This thought was encrypted elsewhere and cannot be read here; leave the item out.", param=place
        )
    try:
        return base64.b64decode(text.removeprefix(_CARRIED), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The thought is not what this device has sent: {error}.", param=place) from None


def _parts(place: str, parts: Sequence[_AnyPart]) -> tuple[Part, ...]:
    return tuple(part.to_part(f"{place}.{index}") for index, part in enumerate(parts))


def _joined(first: Message, then: Message) -> Message:
    thought = "\n\n".join(filter(None, (first.thought, then.thought)))
    return Message("assistant", first.parts + then.parts, thought, first.calls + then.calls)
