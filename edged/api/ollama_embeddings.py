"""`POST /api/embed` and the older `POST /api/embeddings`, both ways. Knows neither sockets nor models.

Shapes: docs/api.md of ollama/ollama, `EmbedRequest`, `EmbedResponse`, `EmbeddingRequest` in its api/types.go.
"""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeAlias

from pydantic import Field, StringConstraints, WithJsonSchema

from edged.api.body import check_texts
from edged.api.embeddings import MAX_INPUTS, closing
from edged.api.keep_alive import KeepAliveField
from edged.api.ollama_answer import nanoseconds
from edged.api.ollama_models import tagged
from edged.api.ollama_options import WHOLE, EmbedOptionsBody
from edged.api.tools import compact
from edged.chat import Caller, EmbedRequest
from edged.completion import Embeddings
from edged.errors import InvalidRequest

# More numbers than any model's vector has.
_MAX_DIMENSIONS = 65_536
# What of it a schema can say; `_texts` checks all.
_Texts: TypeAlias = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 1}}]})
]


class _Common(KeepAliveField):
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    options: EmbedOptionsBody = EmbedOptionsBody()

    def _request(self, id: str, address: str, inputs: tuple[str, ...], dimensions: int | None) -> EmbedRequest:
        return EmbedRequest(id, inputs, self.model or None, dimensions, Caller("ollama", address=address))


class EmbedBody(_Common):
    """`POST /api/embed`. Without an input it only loads the model."""

    input: _Texts = None
    # No text is cut, whatever this says: one that is too long is refused with its place and both numbers, because a
    # vector of its beginning would look like one of the whole.
    truncate: bool = True
    dimensions: Annotated[int, Field(ge=0, le=_MAX_DIMENSIONS), WHOLE] = 0

    @property
    def is_errand(self) -> bool:
        """Whether there is nothing to make a vector of."""
        return self.input in (None, "", [])

    def to_request(self, id: str, address: str, text_bytes: int) -> EmbedRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        inputs = _texts(self.input)
        check_texts(inputs, text_bytes)
        return self._request(id, address, inputs, self.dimensions or None)


class OldEmbedBody(_Common):
    """`POST /api/embeddings`. Without a prompt it only loads the model."""

    prompt: str = ""

    @property
    def is_errand(self) -> bool:
        """Whether there is nothing to make a vector of."""
        return not self.prompt

    def to_request(self, id: str, address: str, text_bytes: int) -> EmbedRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        inputs = _texts(self.prompt)
        check_texts(inputs, text_bytes)
        return self._request(id, address, inputs, None)


async def embed_body(found: Embeddings, asked: str | None, elapsed_s: float) -> AsyncIterator[bytes]:
    """The answer to `/api/embed` in pieces, a vector each: others wait for the event loop meanwhile.

    `asked` is the model's name as the caller wrote it, `elapsed_s` what all of it took.
    """
    real = found.admission.model
    name = asked if asked and asked.removesuffix(":latest") == real else tagged(real)
    yield b'{"model":' + json.dumps(name).encode() + b',"embeddings":['
    for index, vector in enumerate(found.vectors):
        yield (b"," if index else b"") + compact(list(array("f", vector))).encode()
        await asyncio.sleep(0)  # writing waits only once the kernel's buffer is full, which takes megabytes
    end = {
        "total_duration": nanoseconds(elapsed_s),
        "load_duration": nanoseconds(found.admission.queue_s),
        "prompt_eval_count": found.admission.prompt_tokens,
        "edged": closing(found.admission)["edged"],
    }
    yield b"]," + compact(end).encode()[1:]


def old_embed_body(found: Embeddings) -> dict[str, Any]:
    """The answer to `/api/embeddings`: one vector, here of length 1."""
    (vector,) = found.vectors
    return {"embedding": list(array("f", vector)), "edged": closing(found.admission)["edged"]}


def no_vectors_body(name: str) -> dict[str, Any]:
    """The answer to `/api/embed` without an input."""
    return {"model": name, "embeddings": []}


def _texts(value: Any) -> tuple[str, ...]:
    """A text or a list of texts; told apart by hand, because a union explains itself badly."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest("input must be a text or a list of texts.", param="input")
    if len(texts) > MAX_INPUTS:
        raise InvalidRequest(
            f"input holds {len(texts)} texts; at most {MAX_INPUTS} are taken at once. Send it in parts.", param="input"
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            shown = json.dumps(text)[:80]
            raise InvalidRequest(f"input.{index} must be a text, and not empty (got {shown}).", param=f"input.{index}")
    return tuple(texts)
