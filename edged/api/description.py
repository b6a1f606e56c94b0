"""The handlers that tell what can be asked: to programs as an OpenAPI document, to people as a page made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from edged.api import docs, openapi, page
from edged.api.exposed import JSON, Route, Told


@dataclass(slots=True)
class Description:
    """The handlers. Nothing is made before somebody asks, and then once."""

    described: Sequence[Route] = ()
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _made: tuple[page.Asset, page.Asset] | None = None

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("GET", "/openapi.json", "public", self.openapi, Told({200: "Description"})),
            Route("GET", "/docs", "public", self.docs, Told({200: "Page"}, content_type="text/html")),
        ]

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """All that can be asked, for programs."""
        return page.respond(request, (await self._pages())[0])

    async def docs(self, request: web.Request) -> web.StreamResponse:
        """All that can be asked, for people."""
        return page.respond(request, (await self._pages())[1])

    async def _pages(self) -> tuple[page.Asset, page.Asset]:
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(_pages, tuple(self.described))
        return self._made


def _pages(routes: Sequence[Route]) -> tuple[page.Asset, page.Asset]:
    document = openapi.document(routes)
    told = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return page.asset(told, JSON), page.asset(docs.html(document).encode(), "text/html")
