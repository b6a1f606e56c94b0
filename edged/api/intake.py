"""Bodies on their way into memory: each within its limit, all together within theirs, none slower than a crawl.

What counts is what has come, not what was announced: an announcement costs a stranger nothing. And what counts is only
what is more than a small body: so a chat always finds room, whoever fills the rest with large bodies.

    at most 32 MiB  =  64 KiB for each of 256 connections  +  16 MiB for all that is longer
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import StreamReader, web

from edged.api.patience import LEAST_BYTES_PER_S, Deadlines, Patience
from edged.errors import InvalidRequest, PayloadTooLarge, QueueFull

# What everybody may send without asking whether there is room; a long conversation has about as much.
_SMALL_BYTES = 64 * 1024
_TOGETHER_BYTES = 16 * 2**20


@dataclass(slots=True, eq=False)
class _Body:
    """One that is held: how much of it has come, and how much will, as far as that was said."""

    announced_bytes: int
    began_s: float
    come_bytes: int = 0

    @property
    def large_bytes(self) -> int:
        """What counts of it."""
        return max(0, self.come_bytes - _SMALL_BYTES)

    def left_s(self, now_s: float) -> float:
        """How long it still takes, if it goes on as it has."""
        rate = max(LEAST_BYTES_PER_S, self.come_bytes / max(now_s - self.began_s, 1e-3))
        return max(0, self.announced_bytes - self.come_bytes) / rate


class Bodies:
    """All bodies that are in memory as bytes."""

    def __init__(self, most_bytes: int, deadlines: Deadlines) -> None:
        self._most_bytes = most_bytes
        self._together_bytes = max(_TOGETHER_BYTES, most_bytes)
        self._deadlines = deadlines
        self._held: set[_Body] = set()

    @property
    def patience(self) -> Patience:
        """What who sends a body has at first."""
        return self._deadlines.body

    @property
    def large_bytes(self) -> int:
        """What all of them hold of the room for long ones."""
        return sum(held.large_bytes for held in self._held)

    @asynccontextmanager
    async def holding(self, request: web.Request) -> AsyncIterator[bytearray]:
        """The whole body, for the block.

        Raises `PayloadTooLarge`, `QueueFull` where others fill the room, `InvalidRequest` where it comes too slowly.
        """
        body = _Body(request.content_length or 0, time.monotonic())
        self._check(body.announced_bytes)
        data = bytearray()
        self._held.add(body)
        try:
            patience = self.patience
            while True:
                piece, patience = await _more(request.content, patience)
                if not piece:
                    break
                data += piece
                body.come_bytes = len(data)
                self._check(body.come_bytes)
                self._check_room(body)
            yield data
        finally:
            self._held.remove(body)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._most_bytes:
            raise PayloadTooLarge(f"The body exceeds {self._most_bytes} bytes ([http] body_bytes).")

    def _check_room(self, body: _Body) -> None:
        if not body.large_bytes or self.large_bytes <= self._together_bytes:
            return
        now_s = time.monotonic()
        raise QueueFull(
            f"Other requests' bodies fill the {self._together_bytes} bytes that there are for long ones.",
            retry_after_s=min(held.left_s(now_s) for held in self._held if held is not body),
        )


BODIES = web.AppKey("bodies", Bodies)


async def _more(content: StreamReader, patience: Patience) -> tuple[bytes, Patience]:
    try:
        return await more(content, patience)
    except TimeoutError as error:
        raise InvalidRequest(
            f"The body came more slowly than {LEAST_BYTES_PER_S} bytes a second, or stopped coming."
        ) from error


async def more(content: StreamReader, patience: Patience) -> tuple[bytes, Patience]:
    """What comes next, nothing at the end, and the patience that is left. Raises `TimeoutError` where none is.

    Only waiting counts: who sends is not blamed for the time that we take between two calls.
    """
    began_s = time.monotonic()
    async with asyncio.timeout(max(0.0, patience.left_s)):
        piece = await content.readany()
    return piece, patience.after(time.monotonic() - began_s, len(piece))
