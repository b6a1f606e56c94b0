"""Who is connected, and what becomes of those who dawdle.

    sock_accept ─▶ a place? ──no──▶ 429 or 503 with a reason, closed
                      │ yes
                      ▼
                  Connection  ◀── looked at twice a second

aiohttp serves whoever connects, and a process may open 1,024 files on most systems. So sockets are accepted here, and
aiohttp is given those that there is a place for (`places.py`); what is too long for one of them is for `connection.py`
to say, and how slowly a body may come for who reads it (`intake.py`). Who is still agreeing on TLS has a place as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import resource
import socket
import ssl
import time
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Protocol

from aiohttp import web

from edged.api.connection import Connection, Reason
from edged.api.errors import error_body, headers_of, status_of
from edged.api.patience import Deadlines
from edged.api.places import Lack, Places, origin_of, room_for, who_gives_way
from edged.errors import Unavailable

log = logging.getLogger(__name__)

# What the kernel keeps of what was written, which it doubles for its own books: without, up to 4 MiB a connection. The
# longest that we send are the page's scripts.
_SEND_BYTES = 128 * 1024
# A refusal that is closed while the request is still coming is a reset, which some clients see instead of it. So many
# at once are waited for, for so long; all further ones are closed.
_REFUSING = 64
_REFUSING_S = 1.0
# How long somebody may take to agree that TLS ends.
_TLS_END_S = 1.0
# When the process or the machine has no file left: until then somebody may have closed one.
_NO_FILES_S = 0.5
# An attack makes thousands of refusals; its owner wants to read of it once.
_TELL_EVERY_S = 60.0
_READ_BYTES = 64 * 1024
# Accepted before others get a turn: a millisecond or so.
_AT_ONCE = 16


class Tell(Protocol):
    """How the journal is told."""

    def __call__(self, event: str, **facts: object) -> None: ...


class Connections:
    """All that are connected over TCP, and those of the owner over the control socket, while its block runs."""

    def __init__(
        self, most: int, most_per_address: int, deadlines: Deadlines, tell: Tell = lambda event, **facts: None
    ) -> None:
        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = room_for(most, most_files)
        if room < most:
            log.warning("this process may open %d files, so there are %d connections at most", most_files, room)
        self.deadlines = deadlines
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._places = Places(room, most_per_address)
        self._owners_places = Places(room, room)  # so that a full box still listens to its owner
        self._tell = tell
        self._told_s: dict[str, float] = {}
        self._open: set[Connection] = set()
        self._arriving: dict[Connection, asyncio.Task[None]] = {}
        self._is_closing = False
        self._refusing = 0
        self._most_refusing = min(_REFUSING, most_files // 8)
        self._tasks = asyncio.TaskGroup()
        self._lasting: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Connections:
        await self._tasks.__aenter__()
        self._lasting.append(self._tasks.create_task(self._watch(), name="watch connections"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        for task in (*self._lasting, *self._arriving.values()):
            task.cancel()
        # Without the error: a task group would wrap it.
        await self._tasks.__aexit__(None, None, None)

    @property
    def open(self) -> int:
        """How many there are, the owner's included."""
        return len(self._open)

    def welcome(self, listener: socket.socket, server: web.Server, tls: ssl.SSLContext | None = None) -> None:
        """Have `server` answer whoever comes to `listener`, which is listening, until the block ends.

        With `tls` nothing else is spoken there.
        """
        listener.setblocking(False)
        name = f"accept on {listener.getsockname()}"
        self._lasting.append(self._tasks.create_task(self._accept(listener, server, tls), name=name))

    def leave(self, connection: Connection) -> None:
        """It is gone, or as good as. Safe to call twice."""
        if connection in self._open:
            self._open.remove(connection)
            connection.places.give_back(connection.origin)

    def cut(self, connection: Connection, reason: Reason) -> None:
        """Hang up."""
        self.ended[reason] += 1
        self.leave(connection)
        connection.hang_up()
        if handshake := self._arriving.get(connection):
            handshake.cancel()

    async def _accept(self, listener: socket.socket, server: web.Server, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._receive(*await loop.sock_accept(listener), listener, server, tls)
                for _ in range(_AT_ONCE):  # in a storm; the loop's own way takes one each time that it turns
                    self._receive(*listener.accept(), listener, server, tls)
            except BlockingIOError:
                pass  # nobody else is waiting
            except OSError as error:
                self._tell_once("cannot_accept", reason=str(error), open=self.open)
                await asyncio.sleep(_NO_FILES_S)

    def _receive(
        self,
        connected: socket.socket,
        address: Any,
        listener: socket.socket,
        server: web.Server,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Give somebody a place, or none."""
        connected.setblocking(False)
        is_owners = listener.family == socket.AF_UNIX
        places = self._owners_places if is_owners else self._places
        origin = None if is_owners else origin_of(address[0])
        lack = self._make_room(places, origin)
        if lack is None:
            connection = Connection(server, self, places, origin)
            self._open.add(connection)
            places.take(origin)
            self._tasks.create_task(self._serve(connected, connection, tls), name="serve a connection")
        else:
            self._send_away(connected, places, origin, lack, is_tls=tls is not None)

    def _make_room(self, places: Places, origin: str | None) -> Lack | None:
        """Why there is none; somebody who sits may have to go."""
        lack = places.lack(origin)
        if lack is None:
            return None
        numbered = {number: one for number, one in enumerate(self._open) if one.places is places}
        sitting = [(number, one) for number, connection in numbered.items() if (one := connection.sitting)]
        loser = who_gives_way(sitting, lack, origin)
        if loser is None:
            return lack
        self.cut(numbered[loser], "gave_way")
        return places.lack(origin)

    async def _serve(self, connected: socket.socket, connection: Connection, tls: ssl.SSLContext | None) -> None:
        if self._is_closing:
            connected.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._arriving[connection] = task
        handshake: dict[str, Any] = {}
        if tls is not None:
            handshake = {
                "ssl": tls,
                "ssl_handshake_timeout": self.deadlines.handshake_s,
                "ssl_shutdown_timeout": _TLS_END_S,
            }
        try:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, connected, **handshake)
        except (OSError, asyncio.CancelledError) as error:  # gone again, or sent away before the handshake was over
            connected.close()
            self.leave(connection)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            del self._arriving[connection]

    def _send_away(
        self, connected: socket.socket, places: Places, origin: str | None, lack: Lack, *, is_tls: bool
    ) -> None:
        self.refused[lack] += 1
        now_s = time.monotonic()
        rivals = [one for one in self._open if one.places is places and (lack == "full" or one.origin == origin)]
        refusal = places.refusal(lack, min((one.left_s(now_s) for one in rivals), default=1.0))
        self._tell_once("connections_refused", reason=str(refusal), refused=self.refused.total(), address=origin or "")
        if is_tls:  # words would cost a handshake, and without one nobody could read them
            connected.close()
            return
        if self._refusing < self._most_refusing:
            self._refusing += 1
            self._tasks.create_task(self._refuse(connected, refusal), name="refuse a connection")
            return
        with connected, suppress(OSError):
            connected.send(_raw(refusal))

    def _tell_once(self, event: str, **facts: object) -> None:
        """Tell the journal, unless it was told a moment ago."""
        now_s = time.monotonic()
        if now_s - self._told_s.get(event, -math.inf) >= _TELL_EVERY_S:
            self._told_s[event] = now_s
            self._tell(event, **facts)

    async def _refuse(self, connected: socket.socket, refusal: Unavailable) -> None:
        """Say why, and wait until it was heard, or for a moment."""
        loop = asyncio.get_running_loop()
        try:
            with connected, suppress(OSError, TimeoutError):
                async with asyncio.timeout(_REFUSING_S):
                    await loop.sock_sendall(connected, _raw(refusal))
                    connected.shutdown(socket.SHUT_WR)
                    while await loop.sock_recv(connected, _READ_BYTES):
                        pass
        finally:
            self._refusing -= 1

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.deadlines.look_s)
            now_s = time.monotonic()
            for connection in tuple(self._open):
                if reason := connection.overdue(now_s):
                    self.cut(connection, reason)


CONNECTIONS = web.AppKey("connections", Connections)


def _raw(error: Unavailable) -> bytes:
    """A refusal as bytes, for who has not asked anything yet: so the shape is that of most clients."""
    body = json.dumps(error_body(error, "openai")).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers_of(error),
    }
    status = HTTPStatus(status_of(error))
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
