"""One message of a conversation in OpenAI's shape: text, or a list of text and images."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from edged.api.body import STRICT
from edged.chat import ImagePart, Message, Part, TextPart
from edged.errors import InvalidRequest


class Strict(BaseModel):
    model_config = STRICT


class _TextPart(Strict):
    type: Literal["text"]
    text: str


class _ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _ImagePart(Strict):
    type: Literal["image_url"]
    image_url: _ImageUrl


_Part: TypeAlias = Annotated[_TextPart | _ImagePart, Field(discriminator="type")]


class MessageBody(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part] = ""
    # What the official client echoes back of an answer, in the only form in which it means nothing.
    annotations: Annotated[list[Any], Field(max_length=0)] = []

    def to_message(self, index: int) -> Message:
        """The message in our words; `index` is its place in the conversation. Raises `InvalidRequest`."""
        role: Literal["system", "user", "assistant"] = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, (TextPart(self.content),))
        return Message(role, tuple(_part(f"messages.{index}.content", part) for part in self.content))


class Prediction(Strict):
    """What much of the answer will repeat, in OpenAI's shape (API reference, `prediction`)."""

    type: Literal["content"]
    content: str | list[_TextPart]

    @property
    def text(self) -> str:
        """The parts in one."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


def _part(place: str, part: _TextPart | _ImagePart) -> Part:
    if isinstance(part, _TextPart):
        return TextPart(part.text)
    header, comma, payload = part.image_url.url.partition(",")
    if not (header.startswith("data:image/") and header.endswith(";base64") and comma):
        raise InvalidRequest("Images are taken as data:image/…;base64 only; nothing is fetched.", param=place)
    try:
        data = base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise InvalidRequest(f"The image is not base64: {error}.", param=place) from None
    return ImagePart(header.removeprefix("data:").removesuffix(";base64"), data)
