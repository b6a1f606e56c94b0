"""Messages in Ollama's shape. Calls have ids there only lately, and results need not say which call they answer.

Shape: `Message` and `ToolCall` in api/types.go of ollama/ollama, docs/api.md there; what Home Assistant sends of it:
homeassistant/components/ollama/entity.py, a result with nothing but its content; Continue: core/llm/llms/Ollama.ts, a
thought as a message of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from edged.api.body import Strict
from edged.api.tools import MAX_TOOLS, CallId, ToolName, compact
from edged.chat import ImagePart, Message, Part, TextPart, ToolCall
from edged.errors import InvalidRequest

# The first bytes of the kinds of images that clients send; WebP's kind stands behind a length.
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}
_OWNERS = {"thinking": "assistant", "tool_calls": "assistant", "tool_name": "tool", "tool_call_id": "tool"}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


# More than fit into any body.
MAX_IMAGES = 64


class _CalledFunction(Strict):
    name: ToolName
    arguments: Annotated[dict[str, Any], Field(default_factory=dict)]
    # What clients echo of an answer: the order of the calls, which their list has already.
    index: int | None = None


class _ToolCall(Strict):
    id: CallId | None = None
    type: Literal["function"] = "function"
    # Open WebUI has it here, Ollama in `function`.
    index: int | None = None
    function: _CalledFunction


class MessageBody(Strict):
    """One of `messages`. What only some roles have is refused for the others."""

    # Ollama lowers the case of whatever comes. What is "thinking" is the assistant's, before the message that follows.
    role: Annotated[Literal["system", "user", "assistant", "tool", "thinking"], BeforeValidator(_lower)]
    content: str = ""
    thinking: str = ""
    images: Annotated[list[str], Field(max_length=MAX_IMAGES, default_factory=list)]
    tool_calls: Annotated[list[_ToolCall], Field(max_length=MAX_TOOLS, default_factory=list)]
    tool_name: Annotated[str, StringConstraints(max_length=256)] = ""
    tool_call_id: Annotated[str, StringConstraints(max_length=256)] = ""

    def to_message(self, index: int) -> Message:
        """The message in our words; `index` is its place in the conversation. Raises `InvalidRequest`."""
        place = f"messages.{index}"
        for field, owner in _OWNERS.items():
            if getattr(self, field) and self.role != owner:
                raise InvalidRequest(f"A {self.role} message has no {field}.", param=f"{place}.{field}")
        if self.role == "thinking":
            return Message("assistant", (), self.content)
        calls = tuple(
            ToolCall(call.id or f"call_{index}_{number}", call.function.name, compact(call.function.arguments))
            for number, call in enumerate(self.tool_calls)
        )
        parts = (*images(self.images, f"{place}.images"), TextPart(self.content))
        return Message(self.role, parts, self.thinking, calls, self.tool_call_id, self.tool_name)


def conversation(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """All messages in our words, every result tied to its call. Raises `InvalidRequest`."""
    messages: list[Message] = []
    is_thought = False
    for index, body in enumerate(bodies):
        message = body.to_message(index)
        if is_thought and message.role == "assistant":
            message = replace(message, thought=messages.pop().thought + message.thought)
        is_thought = body.role == "thinking"
        messages.append(message)
    return tied(messages)


def images(encoded: Sequence[str], place: str) -> tuple[Part, ...]:
    """Images as Ollama takes them: base64 of a file that says itself what it is. Raises `InvalidRequest`."""
    return tuple(_image(text, f"{place}.{index}") for index, text in enumerate(encoded))


def tied(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with every result tied to its call: by id, else by the tool's name, else in order.

    A result for which no call is left stays as it is: Ollama takes it, and programs that know no ids shorten their
    conversations wherever they like.
    """
    told: list[Message] = []
    open_calls: list[ToolCall] = []
    for message in messages:
        if message.role == "tool" and (call := _answered(message, open_calls)) is not None:
            open_calls.remove(call)
            message = replace(message, call_id=call.id, tool=message.tool or call.name)
        open_calls.extend(message.calls)
        told.append(message)
    return tuple(told)


def _answered(result: Message, calls: Sequence[ToolCall]) -> ToolCall | None:
    if result.call_id:
        return next((call for call in calls if call.id == result.call_id), None)
    return next((call for call in calls if result.tool in ("", call.name)), None)


def _image(text: str, place: str) -> ImagePart:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"The image is not base64: {error}.", param=place) from None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImagePart("image/webp", data)
    for magic, media_type in _MAGIC.items():
        if data.startswith(magic):
            return ImagePart(media_type, data)
    raise InvalidRequest("The image is none of PNG, JPEG, WebP, GIF and BMP.", param=place)
