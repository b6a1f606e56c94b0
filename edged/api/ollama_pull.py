"""A download in Ollama's words: how it is asked for, what it says while it fetches, and how it says that it could not.

Shapes: "Pull a Model" in docs/api.md of ollama/ollama, `ProgressResponse` in its api/types.go, `PullModel` in its
server/images.go; programs draw a bar for every `digest` that they see (`pullModelWithProgress` in its cmd/cmd.go). Ours
has one for the whole model: no program can check it either, it only tells one bar from another.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Annotated, Any

from pydantic import StringConstraints

from edged.api.ollama_models import NamedBody
from edged.errors import InvalidRequest, UnsupportedParameter
from edged.pull.progress import Progress

_ENDING = ("verifying sha256 digest", "writing manifest", "success")


class PullBody(NamedBody):
    """`POST /api/pull`. What is left of a registry's account is refused, because it would be for nothing."""

    stream: bool = True
    insecure: bool = False
    # Ollama ignores them by now; an account's secret would stand in a log for nothing.
    username: Annotated[str, StringConstraints(max_length=0)] = ""
    password: Annotated[str, StringConstraints(max_length=0)] = ""

    def reference(self) -> str:
        """What is to be fetched. Raises `InvalidRequest`, `UnsupportedParameter`."""
        if self.insecure:
            raise UnsupportedParameter(
                "insecure is not supported: who may be asked without encryption is for the owner to say ([downloads] "
                "hosts). Leave it out.",
                param="insecure",
            )
        if not (name := self.model or self.name):
            raise InvalidRequest("model is required.", param="model")
        return name


def pulled_body() -> dict[str, Any]:
    """The last thing that a download says that has succeeded, and the only one of a model that is there."""
    return {"status": _ENDING[-1]}


def line_body(progress: Progress) -> dict[str, Any]:
    """What is said of a download that goes on."""
    match progress.state:
        case "fetching" if progress.total_bytes:
            digest = sha256(progress.reference.encode()).hexdigest()
            body = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": progress.total_bytes}
            return body | ({"completed": progress.done_bytes} if progress.done_bytes else {})
        case "verifying" | "done":
            return {"status": _ENDING[0]}
        case "waiting" | "queued" if progress.reason:
            return {"status": f"waiting: {progress.reason}"}
        case _:
            return {"status": "pulling manifest"}


async def lines(changes: AsyncGenerator[Progress | None, None]) -> AsyncGenerator[bytes, None]:
    """The whole stream, one JSON object a line. None among the changes is a sign of life: the last line once more."""
    said: dict[str, Any] = {"status": "pulling manifest"}
    yield _line(said)
    async with aclosing(changes):
        async for progress in changes:
            if progress is None:
                yield _line(said)
            elif progress.state == "done":
                for status in _ENDING[said["status"] == _ENDING[0] :]:
                    yield _line({"status": status})
            elif progress.has_ended:
                yield _line(failure_body(progress))
            elif (body := line_body(progress)) != said:
                said = body
                yield _line(said)


def failure_body(progress: Progress) -> dict[str, Any]:
    """How a download ended that did not succeed: in the stream, or alone."""
    message = progress.message or f"the pull of {progress.reference} was cancelled"
    return {"error": message, "code": progress.code or "cancelled", "src": "edged"}


def _line(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode() + b"\n"
