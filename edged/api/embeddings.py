"""`POST /v1/embeddings` in the OpenAI dialect, both ways. Knows neither sockets nor models.

Shape: platform.openai.com/docs/api-reference/embeddings. The official client asks for base64 unless it is told
otherwise: the numbers in 32 bits, little-endian.
"""

from __future__ import annotations

import asyncio
import base64
from array import array
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from edged.api.body import check_text_bytes
from edged.api.inputs import RawInputs, raw_inputs, size_bytes
from edged.api.keep_alive import KeepAliveField
from edged.api.tools import compact
from edged.chat import Caller, EmbedRequest
from edged.completion import Admission, Embeddings

# OpenAI's own bound, and what its clients send at most: "any array must be 2048 dimensions or less".
MAX_INPUTS = 2048
# More numbers than any model's vector has.
_MAX_DIMENSIONS = 65_536


class EmbeddingsBody(KeepAliveField):
    """`POST /v1/embeddings`."""

    input: RawInputs
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=_MAX_DIMENSIONS)] | None = None
    user: Annotated[str, StringConstraints(max_length=256)] = ""

    def to_request(self, id: str, address: str, text_bytes: int) -> EmbedRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        inputs = raw_inputs(self.input, "input", MAX_INPUTS)
        check_text_bytes(sum(map(size_bytes, inputs)), text_bytes)
        caller = Caller("openai", address=address, user=self.user)
        return EmbedRequest(id, inputs, self.model, self.dimensions, caller)


async def embeddings_body(found: Embeddings, encoding_format: str) -> AsyncIterator[bytes]:
    """The answer in pieces, a vector each: a thousand of them are megabytes, and others wait for the event loop."""
    yield b'{"object":"list","data":['
    for index, vector in enumerate(found.vectors):
        comma = b"," if index else b""
        yield comma + _json({"object": "embedding", "index": index, "embedding": _encoded(vector, encoding_format)})
        await asyncio.sleep(0)  # writing waits only once the kernel's buffer is full, which takes megabytes
    yield b"]," + _json(closing(found.admission))[1:]


def closing(admission: Admission) -> dict[str, Any]:
    """Model, usage and the truth about where it was made: the same for vectors and scores."""
    return {
        "model": admission.model,
        "usage": {"prompt_tokens": admission.prompt_tokens, "total_tokens": admission.prompt_tokens},
        "edged": {
            "served_by": admission.served_by,
            "model": admission.model,
            "route": admission.route,
            "lane": "background",
            "attempts": admission.attempts,
            "queue_ms": round(admission.queue_s * 1000, 1),
        },
    }


def _encoded(vector: bytes, encoding_format: str) -> str | list[float]:
    return base64.b64encode(vector).decode() if encoding_format == "base64" else list(array("f", vector))


def _json(value: Any) -> bytes:
    return compact(value).encode()
