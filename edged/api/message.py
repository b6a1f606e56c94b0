"""One message of a conversation in OpenAI's shape: text, or a list of text and images; calls, and what they came to."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints

from edged.api.body import Strict
from edged.api.fields import CacheControl
from edged.api.tools import MAX_TOOLS, CallId, ToolCallBody
from edged.chat import ImagePart, Message, Part, Role, TextPart
from edged.errors import InvalidRequest, UnsupportedParameter


class _TextPart(Strict):
    type: Literal["text"]
    text: str
    # OpenRouter's, from Anthropic: Roo Code and LiteLLM send it to whatever is not OpenAI itself.
    cache_control: CacheControl | None = None


class _ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _ImagePart(Strict):
    type: Literal["image_url"]
    image_url: _ImageUrl


_Part: TypeAlias = Annotated[_TextPart | _ImagePart, Field(discriminator="type")]
# What is no part is an error to describe, all in one go that holds up everybody: half a million take two seconds.
MAX_PARTS = 4096
_OWNERS = {"tool_calls": "assistant", "reasoning_content": "assistant", "tool_call_id": "tool"}


class MessageBody(Strict):
    """One of `messages`. What only some roles have is refused for the others."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[_Part], Field(max_length=MAX_PARTS)] = ""
    tool_calls: Annotated[list[ToolCallBody], Field(max_length=MAX_TOOLS, default_factory=list)]
    tool_call_id: CallId | None = None
    # Who of several in this role speaks; with what a tool came to, the tool's name, which older programs send.
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    # What a thinking model thought: DeepSeek's name for it, which llama-server and most clients share.
    reasoning_content: str = ""
    # What the official client echoes back of an answer, in the only form in which it means nothing.
    annotations: Annotated[list[Any], Field(max_length=0, default_factory=list)]

    def to_message(self, index: int) -> Message:
        """The message in our words; `index` is its place in the conversation. Raises `InvalidRequest`."""
        place = f"messages.{index}"
        self._check(place)
        parts: tuple[Part, ...] = (TextPart(self.content),) if isinstance(self.content, str) else ()
        if not isinstance(self.content, str):
            parts = tuple(_part(f"{place}.content", part) for part in self.content)
        calls = tuple(call.to_call(f"{place}.tool_calls.{number}") for number, call in enumerate(self.tool_calls))
        tool = self.name or "" if self.role == "tool" else ""
        return Message(self.plain_role, parts, self.reasoning_content, calls, self.tool_call_id or "", tool)

    @property
    def plain_role(self) -> Role:
        """The role in our words: a developer's instructions are the system's."""
        return "system" if self.role == "developer" else self.role

    @property
    def speaker(self) -> tuple[Role, str]:
        """Who says this."""
        return self.plain_role, "" if self.role == "tool" else self.name or ""

    def _check(self, place: str) -> None:
        if self.role == "tool" and self.tool_call_id is None:
            raise InvalidRequest("A tool's message says which call it answers.", param=f"{place}.tool_call_id")
        for field, owner in _OWNERS.items():
            if getattr(self, field) and self.role != owner:
                raise UnsupportedParameter(
                    f"{place}.{field} is not supported in a message of the role {self.role}; leave it out.",
                    param=f"{place}.{field}",
                )


def conversation(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """All messages in our words. Raises `InvalidRequest`.

    Names are there to tell participants of one role apart (API reference, `name`). No template has a place for them, so
    where a role has several they stand in front of what they say; where it has one, there is nothing to tell apart.
    AutoGen names everybody in every request, LangGraph its agents.
    """
    speakers = {body.speaker for body in bodies}
    roles = [role for role, _ in speakers]
    messages = []
    for index, body in enumerate(bodies):
        message = body.to_message(index)
        role, name = body.speaker
        if name and message.text and roles.count(role) > 1:
            message = replace(message, parts=(TextPart(f"{name}: "), *message.parts))
        messages.append(message)
    return tuple(messages)


class Prediction(Strict):
    """What much of the answer will repeat, in OpenAI's shape (API reference, `prediction`)."""

    type: Literal["content"]
    content: str | Annotated[list[_TextPart], Field(max_length=MAX_PARTS)]

    @property
    def text(self) -> str:
        """The parts in one."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


def image_of(url: str, place: str) -> ImagePart:
    """The image inside a `data:` URL; `place` is where it stands in the request. Raises `InvalidRequest`."""
    header, comma, payload = url.partition(",")
    if not (header.startswith("data:image/") and header.endswith(";base64") and comma):
        raise InvalidRequest("Images are taken as data:image/…;base64 only; nothing is fetched.", param=place)
    try:
        data = base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise InvalidRequest(f"The image is not base64: {error}.", param=place) from None
    return ImagePart(header.removeprefix("data:").removesuffix(";base64"), data)


def _part(place: str, part: _TextPart | _ImagePart) -> Part:
    return TextPart(part.text) if isinstance(part, _TextPart) else image_of(part.image_url.url, place)
