"""A stream of events that outlives silence: what changes as it comes, and a sign of life where nothing does.

Events are as the HTML standard has them ("Server-sent events" in html.spec.whatwg.org), with a comment as heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

from aiohttp import web

_HEARTBEAT_S = 10.0

Change = TypeVar("Change")


async def living(followed: AsyncIterator[Change]) -> AsyncGenerator[Change | None, None]:
    """The changes as they come, and None where nothing has changed for a while."""
    changes = aiter(followed)
    pending = asyncio.ensure_future(_next(changes))
    try:
        while True:
            done, _ = await asyncio.wait([pending], timeout=_HEARTBEAT_S)
            if not done:
                yield None
                continue
            change = pending.result()
            if change is None:
                return
            yield change
            pending = asyncio.ensure_future(_next(changes))
    finally:
        if not pending.done():
            pending.cancel()
            await asyncio.wait([pending])


async def events(bodies: AsyncGenerator[dict[str, Any] | None, None]) -> AsyncGenerator[bytes, None]:
    """Each body as an event."""
    async with aclosing(bodies):
        async for body in bodies:
            yield b":\n\n" if body is None else b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


async def streamed(request: web.Request, content_type: str, pieces: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Onto the socket as it comes. What fails before the first piece is still a status; a client may leave any time."""
    async with aclosing(pieces):
        first = await anext(pieces)
        response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(first)
            async for piece in pieces:
                await response.write(piece)
            await response.write_eof()
    return response


async def _next(changes: AsyncIterator[Change]) -> Change | None:
    return await anext(changes, None)
