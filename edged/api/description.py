"""The handlers that tell what can be asked: to programs as an OpenAPI document, to people as a page made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from edged.api import docs, openapi, page
from edged.api.exposed import JSON, Route, Told


@dataclass(slots=True)
class Description:
    """The handlers. Nothing is made before somebody asks, and then once.

    The page says, like every other, where the owner can read what is written on this device.
    """

    is_supervised: Callable[[], bool]
    described: Sequence[Route] = ()
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _made: _Made | None = None

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("GET", "/openapi.json", "public", self.openapi, Told({200: "Description"})),
            Route("GET", "/docs", "public", self.docs, Told({200: "Page"}, content_type="text/html")),
        ]

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """All that can be asked, for programs."""
        return page.respond(request, (await self._pages()).for_programs)

    async def docs(self, request: web.Request) -> web.StreamResponse:
        """All that can be asked, for people."""
        made = await self._pages()
        return page.respond(request, made.for_the_supervised if self.is_supervised() else made.for_people)

    async def _pages(self) -> _Made:
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(_pages, tuple(self.described))
        return self._made


@dataclass(frozen=True, slots=True)
class _Made:
    for_programs: page.Asset
    for_people: page.Asset
    for_the_supervised: page.Asset


def _pages(routes: Sequence[Route]) -> _Made:
    document = openapi.document(routes)
    told = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    pages = (page.asset(docs.html(document, notice).encode(), "text/html") for notice in ("", docs.SUPERVISED))
    return _Made(page.asset(told, JSON), *pages)
