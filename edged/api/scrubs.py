"""The handlers of checking what is installed against its checksums: begun, watched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from aiohttp import web

from edged.api.events import events, living, streamed
from edged.api.exposed import SSE, Exposed, Route, Told
from edged.pull.scrub import Checked


class Scrubs:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._scrubbing = exposed.scrubbing

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("POST", "/edged/v1/scrub", "owner", self.start, Told({202: "Scrub"})),
            Route("GET", "/edged/v1/scrub", "owner", self.state, Told({200: "Scrub"}, streams=SSE)),
        ]

    async def start(self, _request: web.Request) -> web.StreamResponse:
        """Read every model that has a checksum again, slowly, and fetch anew what is bad; twice at once is once."""
        self._scrubbing.start()
        return web.json_response(self._body(self._scrubbing.checked), status=202)

    async def state(self, request: web.Request) -> web.StreamResponse:
        """What was found by now or the last time; with `Accept: text/event-stream` as it goes on."""
        if SSE in request.headers.get("Accept", ""):
            return await streamed(request, SSE, events(self._bodies()))
        return web.json_response(self._body(self._scrubbing.checked))

    async def _bodies(self) -> AsyncGenerator[dict[str, Any] | None, None]:
        async with aclosing(living(self._scrubbing.follow())) as changes:
            async for checked in changes:
                yield None if checked is None else self._body(checked)

    def _body(self, checked: Sequence[Checked]) -> dict[str, Any]:
        scrubbing = self._scrubbing
        models = [asdict(one) for one in checked]
        return {"running": scrubbing.is_running, "failed": scrubbing.failed, "models": models}
