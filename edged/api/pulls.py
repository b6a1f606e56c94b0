"""The handlers of downloads: asked for, listed, watched, cancelled, in our words and in Ollama's.

A download belongs to the daemon. Whoever asked for it may go away; whoever comes later may watch it; only `DELETE` ends
it. What a handler holds is a look at its progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints

from edged import catalogue
from edged.api import body, ollama_pull
from edged.api.body import Strict
from edged.api.events import events, living, streamed
from edged.api.exposed import JSON, NDJSON, SSE, Exposed, Route, Told
from edged.api.ollama_pull import PullBody, pulled_body
from edged.pull.progress import Progress

_REFERENCE = {"model": "qwen3-0.6b"}


class Wanted(Strict):
    """`POST /edged/v1/pulls`: a model from elsewhere. `name` is what it shall be called here."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=2048)] = Field(
        description="A name of the catalogue, hf.co/ORG/REPO[:QUANT], https://HOST/FILE.gguf, or a name of Ollama's."
    )
    sha256: Annotated[str, StringConstraints(max_length=71)] | None = Field(
        None, description="What the file must be, where the link does not come with a checksum of its own."
    )
    name: Annotated[str, StringConstraints(max_length=128)] | None = None


class Downloads:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route(
                "POST", "/edged/v1/pulls", "owner", self.submit, Told({202: "Pull"}, Wanted, _REFERENCE, fails=(503,))
            ),
            Route("GET", "/edged/v1/pulls", "owner", self.list, Told({200: "Pulls"})),
            Route("GET", "/edged/v1/pulls/{id}", "owner", self.watch, Told({200: "Pull"}, streams=SSE)),
            Route("DELETE", "/edged/v1/pulls/{id}", "owner", self.cancel, Told({200: "Pull"})),
            Route(
                "POST",
                "/api/pull",
                "owner",
                self.ollama,
                Told({200: "Pulled"}, PullBody, {"model": "guide", "stream": False}, streams=NDJSON, fails=(503,)),
            ),
        ]

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Fetch a model. It goes on whether or not anybody watches; the same model twice is one download."""
        wanted = await body.read(request, Wanted)
        progress = self._exposed.pulls.submit(wanted.model, sha256=wanted.sha256, name=wanted.name)
        location = f"/edged/v1/pulls/{progress.id}"
        return web.json_response(progress_body(progress), status=202, headers={"Location": location})

    async def list(self, _request: web.Request) -> web.StreamResponse:
        """What is being fetched, what waits, and what ended lately."""
        return web.json_response({"pulls": [progress_body(progress) for progress in self._exposed.pulls.list()]})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """How far a download is: now, or with `Accept: text/event-stream` as it goes on."""
        pulls, id = self._exposed.pulls, request.match_info["id"]
        if SSE in request.headers.get("Accept", ""):
            return await streamed(request, SSE, events(_bodies(living(pulls.follow(id)))))
        return web.json_response(progress_body(pulls.find(id)))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End a download; what there is of it is deleted."""
        return web.json_response(progress_body(self._exposed.pulls.cancel(request.match_info["id"])))

    async def ollama(self, request: web.Request) -> web.StreamResponse:
        """Fetch a model and watch it, in Ollama's words. The download goes on when the client goes away."""
        asked = await body.read(request, PullBody)
        installed = [file for _, file in await asyncio.to_thread(self._exposed.installed)]
        reference, bare = asked.reference(), asked.reference().removesuffix(":latest")
        if any(file.name == bare and file.record is None for file in installed):
            # The owner put it there: no hub knows it better.
            kind = NDJSON if asked.stream else JSON
            return web.json_response(pulled_body(), content_type=kind)
        pulls = self._exposed.pulls
        wanted = bare if catalogue.find(bare) else reference
        changes = living(pulls.follow(pulls.submit(wanted).id))
        if asked.stream:
            return await streamed(request, NDJSON, ollama_pull.lines(changes))
        async with aclosing(changes):
            async for progress in changes:
                if progress is not None and progress.has_ended and progress.state != "done":
                    return web.json_response(ollama_pull.failure_body(progress), status=500)
        return web.json_response(pulled_body())


def progress_body(progress: Progress) -> dict[str, Any]:
    """A download as JSON."""
    return asdict(progress)


async def _bodies(changes: AsyncGenerator[Progress | None, None]) -> AsyncGenerator[dict[str, Any] | None, None]:
    async with aclosing(changes):
        async for progress in changes:
            yield None if progress is None else progress_body(progress)
