"""One connection: aiohttp's own, which knows in addition since when it does what it does, and when that is too long.

Idle for 30 s; 10 s from the first byte of a request to the last of its head; an answer of which less than 1 KiB a
second is read, for 20 s; a hundred requests, or ten minutes. Between an answer that is being given and its reader there
are at most 256 KiB; who cannot take most of them within 20 s is cut off. The worker never waits for a reader.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Literal, Protocol, TypeAlias, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler

from edged.api.errors import defect, error_body, headers_of, status_of
from edged.api.patience import Deadlines
from edged.api.places import Places, Sitting
from edged.errors import EdgedError, InvalidRequest

log = logging.getLogger(__name__)

# More than an answer of 1,000 tokens as events; who is further behind than that waits for nothing any more.
BEHIND_BYTES = 256 * 1024
# What is read ahead of a body that nobody reads; aiohttp's default is four times that, and holds twice what it says.
_READ_BYTES = 64 * 1024
# Who still sends where the last answer is given is read on for so long, so as to see it.
_LINGER_S = 2.0
_LONGEST_SHOWN = 120

Reason: TypeAlias = Literal["idle", "slow_head", "slow_reader", "gave_way"]
Write: TypeAlias = Callable[[bytes], Awaitable[None]]


class Keeper(Protocol):
    """Whoever has all connections."""

    @property
    def deadlines(self) -> Deadlines:
        """How long a client may take."""
        ...

    def leave(self, connection: Connection) -> None:
        """It is gone."""
        ...

    def cut(self, connection: Connection, reason: Reason) -> None:
        """It has to go."""
        ...


class Connection(web.RequestHandler):
    """A place in `places` that somebody from `origin` has, until the connection is lost or cut."""

    __slots__ = (
        "_answered_bytes", "_deadlines", "_head_since_s", "_idle_since_s", "_is_deaf", "_is_over", "_keeper", "_line",
        "_looked_s", "_made_s", "_patience", "_requests", "_sent_bytes", "_writer", "origin", "places",
    )  # fmt: skip

    def __init__(self, server: web.Server, keeper: Keeper, places: Places, origin: str | None) -> None:
        # A compressed body is refused in words (`api/body.py`); aiohttp would unpack it first, or answer without them.
        options: dict[str, Any] = {"access_log": None, "auto_decompress": False}
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            read_bufsize=_READ_BYTES,
            lingering_time=_LINGER_S,
            **options,
        )
        self.origin = origin
        self.places = places
        self._keeper = keeper
        self._deadlines = keeper.deadlines
        self._line: asyncio.Transport | None = None
        self._is_over = False  # it must not stay
        self._is_deaf = False  # nothing more is answered
        self._made_s = self._looked_s = time.monotonic()
        self._idle_since_s: float | None = self._made_s
        self._head_since_s: float | None = None
        self._requests = 0
        self._patience = self._deadlines.reading
        self._writer: AbstractStreamWriter | None = None
        self._answered_bytes = 0  # by requests before this one
        self._sent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From here on it is looked after."""
        self._line = cast(asyncio.Transport, transport)  # uvloop's are none by type
        super().connection_made(transport)
        if self._is_over:
            self._line.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It gives its place back, and whatever was under way for it is cancelled."""
        self._line = None
        self._keeper.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first bytes of a request start the clock for its head."""
        if self._is_deaf:
            return
        if data and self._idle_since_s is not None and self._head_since_s is None:
            self._head_since_s = time.monotonic()
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; the last one arrives even where more is asked behind it."""
        answered, is_lost = await super().finish_response(request, resp, start_time)
        if not is_lost and not answered.keep_alive and request.content.is_eof():
            await self._linger()
        return answered, is_lost

    async def _linger(self) -> None:
        """Say that this was all, and read what still comes: a socket that is closed with something unread takes back
        what it has sent (RFC 9112, 9.6). Ends early, cancelled, when the other side hangs up. aiohttp itself does so
        for the rest of a body, and within TLS there is no half of a line to close.
        """
        if self._line is None or not self._line.can_write_eof():
            return
        self._is_deaf = True
        self._line.write_eof()
        if not self._line.is_reading():
            self._line.resume_reading()  # aiohttp had heard enough requests for a while
        await asyncio.sleep(_LINGER_S)

    def begin(self, request: web.BaseRequest) -> None:
        """The head of a request is here."""
        self._idle_since_s = self._head_since_s = None
        self._requests += 1
        if self._writer is not None:
            self._answered_bytes += self._writer.output_size
        self._writer = request.writer

    def end(self) -> None:
        """The request has its answer, which may still be on its way."""
        self._idle_since_s = time.monotonic()
        if self._line is not None:
            self._line.set_write_buffer_limits()  # as they were

    @property
    def has_had_its_time(self) -> bool:
        """Whether the answer that is now given is the last on this connection."""
        is_old = time.monotonic() - self._made_s >= self._deadlines.connection_s
        return is_old or self._requests >= self._deadlines.requests

    async def stream(self, write: Write, data: bytes) -> None:
        """`write`, in an answer that is sent as it comes. Raises `ConnectionResetError` where nobody reads it."""
        if self._line is not None:
            self._line.set_write_buffer_limits(high=BEHIND_BYTES)
        try:
            async with asyncio.timeout(self._deadlines.stall_s):
                await write(data)
        except TimeoutError:
            self._keeper.cut(self, "slow_reader")
            raise ConnectionResetError("the reader is too far behind") from None

    def overdue(self, now_s: float) -> Reason | None:
        """Why it has to go, if it has. Called regularly, as it notes how much has moved since the last time."""
        margin_s, elapsed_s = self._deadlines.look_s, now_s - self._looked_s
        self._looked_s = now_s
        if unsent_bytes := self._line.get_write_buffer_size() if self._line else 0:
            sent_bytes = self._written_bytes - unsent_bytes
            self._patience = self._patience.after(elapsed_s, sent_bytes - self._sent_bytes)
            self._sent_bytes = sent_bytes
            if self._idle_since_s is not None:
                self._idle_since_s = now_s
            return "slow_reader" if self._patience.is_over else None
        self._patience, self._sent_bytes = self._deadlines.reading, self._written_bytes
        if self._head_since_s is not None:
            return "slow_head" if now_s - self._head_since_s > self._deadlines.head_s - margin_s else None
        if self._idle_since_s is not None and now_s - self._idle_since_s > self._deadlines.idle_s - margin_s:
            return "idle"
        return None

    @property
    def sitting(self) -> Sitting | None:
        """What is to be said of it where it has asked nothing for a while."""
        if self._idle_since_s is None or self._head_since_s is not None:
            return None
        if self._line is not None and self._line.get_write_buffer_size():
            return None
        idle_s, has_asked = time.monotonic() - self._idle_since_s, self._requests > 0
        settled_s = self._deadlines.settled_s if has_asked else self._deadlines.silent_s
        return Sitting(self.origin, has_asked, idle_s) if idle_s >= settled_s else None

    def left_s(self, now_s: float) -> float:
        """How long it can still stay if it does nothing more; of who is being answered that is not known."""
        if self._head_since_s is not None:
            return max(0.0, self._deadlines.head_s - (now_s - self._head_since_s))
        if self._idle_since_s is not None:
            return max(0.0, self._deadlines.idle_s - (now_s - self._idle_since_s))
        return self._deadlines.idle_s

    def hang_up(self) -> None:
        """End it now, whatever was still to be sent: who does not read would keep a polite end waiting for ever."""
        self._is_over = True
        if self._line is not None:
            self._line.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, or fails before the envelope: refused as everything else is, and no page in the log."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer had begun")
        id = uuid.uuid4().hex
        error: EdgedError
        if isinstance(exc, EdgedError):
            error = exc
        elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
            first = ((message or str(exc)).splitlines() or [""])[0].rstrip(":")
            error = InvalidRequest(f"This is no HTTP that is understood here: {ascii(first)[1:-1][:_LONGEST_SHOWN]}.")
        else:
            log.error("request %s failed", id, exc_info=exc)
            error = defect(id)
        headers = {**headers_of(error), "X-Edged-Request-Id": id, "Connection": "close"}
        response = web.json_response(error_body(error, "openai", id), status=status_of(error), headers=headers)
        response.force_close()
        return response

    @property
    def _written_bytes(self) -> int:
        return self._answered_bytes + (self._writer.output_size if self._writer else 0)


@web.middleware
async def attended(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost: the connection knows when it is being answered."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    connection.begin(request)
    try:
        return await handler(request)
    finally:
        connection.end()


async def say_goodbye(request: web.Request, response: web.StreamResponse) -> None:
    """Before an answer's head is sent: whether it is the last on this connection."""
    connection = request.protocol
    if isinstance(connection, Connection) and connection.has_had_its_time:
        response.force_close()
        response.headers["Connection"] = "close"


def keeping_up(request: web.Request, write: Write) -> Write:
    """`write`, for an answer that comes word by word: a reader who does not keep up costs a `ConnectionError`."""
    connection = request.protocol
    assert isinstance(connection, Connection)

    async def write_on(data: bytes) -> None:
        await connection.stream(write, data)

    return write_on
