"""Answers that outlive their connection: a phone locks its screen, comes back and reads on.

    POST … X-Conversation-Id ─▶ a task of the daemon's ─▶ Tape ─▶ whoever reads, from whatever byte
                                                            └── the last mebibyte, for five minutes after its end

Opt-in by that header; without it an answer ends with its connection. Header, paths and meanings are llama-server's
(tools/server/README-dev.md of llama.cpp, "Resumable streaming"), so that its pages and programs find what they know. A
tape belongs to the account that asked; to all others it does not exist.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edged.api.errors import defect
from edged.errors import Cancelled, EdgedError, InvalidRequest, NotFound, ShuttingDown

log = logging.getLogger(__name__)

CONVERSATION = "X-Conversation-Id"
# Of one answer: several times what 2,048 tokens are as events of a stream.
TAPE_BYTES = 2**20
# Of all together; what has ended goes first, oldest first.
_ALL_BYTES = 16 * 2**20
# What even an empty one counts, so that they are not endlessly many.
_LEAST_BYTES = 4096
# llama-server's, and long enough for a lift or a tunnel.
KEPT_S = 300.0
_LONGEST_ID = 256

Key: TypeAlias = tuple[str, str]  # account, conversation


@dataclass(slots=True, eq=False)
class Tape:
    """What was written of one answer, as far as it is kept: `first` is the offset of the first byte still there.

    `prepared`: the answer has begun, and `headers` say who gives it. `words` are how its dialect tells of an error.
    """

    request_id: str
    content_type: str
    words: Callable[[EdgedError], bytes]
    began_s: float = field(default_factory=time.time)
    ended_s: float | None = None
    first: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    prepared: bool = False
    _refusal: EdgedError | None = None
    _ended_clock_s: float = 0.0
    _kept: bytearray = field(default_factory=bytearray)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def total_bytes(self) -> int:
        """How much was ever written."""
        return self.first + len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """How much memory it counts for."""
        return _LEAST_BYTES + len(self._kept)

    @property
    def age_s(self) -> float | None:
        """Seconds since its end; None while it is being written."""
        return None if self.ended_s is None else time.monotonic() - self._ended_clock_s

    def open(self, headers: dict[str, str]) -> None:
        """The answer begins; `headers` say who gives it."""
        self.headers, self.prepared = headers, True
        self._tell()

    async def write(self, data: bytes) -> None:
        """Add to the end; what no longer fits goes from the beginning."""
        self._kept += data
        if len(self._kept) > TAPE_BYTES:
            lost = len(self._kept) - TAPE_BYTES
            del self._kept[:lost]
            self.first += lost
        self._tell()

    async def fail(self, error: EdgedError) -> None:
        """Something went wrong: before the beginning, whoever comes is refused with it; after it, the tape tells."""
        if not self.prepared:
            self._refusal = _bare(error)
        await self.write(self.words(error))

    def end(self) -> None:
        """Nothing follows. Safe to call twice."""
        if self.ended_s is None:
            self.ended_s, self._ended_clock_s = time.time(), time.monotonic()
            self._tell()

    async def opened(self) -> None:
        """Wait until it begins. Raises what happened instead."""
        while not self.prepared and self._refusal is None and self.ended_s is None:
            await self._news.wait()
        if self._refusal is not None:
            raise _bare(self._refusal)

    async def read(self, offset: int) -> AsyncIterator[bytes]:
        """Everything from `offset` on, as it comes, to the end. Raises `InvalidRequest` where that is gone."""
        while True:
            self.check(offset)
            data = bytes(self._kept[offset - self.first :])
            if data:
                offset += len(data)
                yield data
            elif self.ended_s is not None:
                return
            else:
                await self._news.wait()

    def check(self, offset: int) -> None:
        """Raises `InvalidRequest` where there is nothing at `offset`, any more or yet."""
        if not self.first <= offset <= self.total_bytes:
            raise InvalidRequest(
                f"Bytes {self.first} to {self.total_bytes} of this answer are kept, and byte {offset} is not there.",
                param="from",
            )

    def _tell(self) -> None:
        """Wake everybody who waits; whoever waits next waits for something new."""
        self._news.set()
        self._news = asyncio.Event()


def _bare(error: EdgedError) -> EdgedError:
    """The same error without its traceback, which would keep alive whatever the code that raised it had in hand."""
    bare = type(error).__new__(type(error))
    bare.args = error.args
    bare.__dict__.update(vars(error))
    return bare


class Tapes:
    """All that can be read again. Its tasks end with the block that holds it."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._tapes: dict[Key, tuple[Tape, asyncio.Task[None]]] = {}

    def record(self, key: Key, tape: Tape, perform: Callable[[Tape], Awaitable[None]]) -> None:
        """Have `perform` write `tape`; one of the same conversation that is still being written is stopped."""
        self._forget()
        self.stop(key)
        task = asyncio.ensure_future(_written(tape, perform))
        task.add_done_callback(lambda _: tape.end())  # also where it was cancelled before its first step
        self._tapes[key] = tape, task

    def find(self, key: Key) -> Tape:
        """The tape of a conversation. Raises `NotFound`."""
        self._forget()
        if key not in self._tapes:
            raise NotFound(f"There is no answer to read on in conversation {key[1][:80]!r}.", param="conv_id")
        return self._tapes[key][0]

    def stop(self, key: Key) -> None:
        """End the answer of a conversation, if there is one, and forget it."""
        found = self._tapes.pop(key, None)
        if found is None or found[0].ended_s is not None:
            return
        try:
            self._stops.stop(found[0].request_id, key[0])
        except NotFound:
            found[1].cancel()  # it has not begun to wait, or has said its last word

    def status(self, account: str, conversations: list[str]) -> list[dict[str, Any]]:
        """What there is of `conversations`, in llama-server's shape."""
        self._forget()
        found = [(id, self._tapes[account, id][0]) for id in conversations if (account, id) in self._tapes]
        return [
            {
                "conversation_id": id,
                "is_done": tape.ended_s is not None,
                "total_bytes": tape.total_bytes,
                "started_at": int(tape.began_s),
                "completed_at": int(tape.ended_s or 0),
            }
            for id, tape in found
        ]

    async def aclose(self) -> None:
        """Stop everything."""
        tasks = [task for _, task in self._tapes.values()]
        self._tapes.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _forget(self) -> None:
        """Let go of what ended long ago, and of the oldest that ended where all together are too much."""
        ended = [(age_s, key) for key, (tape, _) in self._tapes.items() if (age_s := tape.age_s) is not None]
        excess = sum(tape.kept_bytes for tape, _ in self._tapes.values()) - _ALL_BYTES
        for age_s, key in sorted(ended, reverse=True):
            if excess > 0 or age_s > KEPT_S:
                excess -= self._tapes.pop(key)[0].kept_bytes


def conversation_of(headers: Any) -> str | None:
    """The conversation that a request belongs to, where it says so. Raises `InvalidRequest`."""
    id: str | None = headers.get(CONVERSATION)
    if id is not None and not 0 < len(id) <= _LONGEST_ID:
        raise InvalidRequest(f"{CONVERSATION} must have 1 to {_LONGEST_ID} characters.", param=CONVERSATION)
    return id


class Stops:
    """Answers that can be stopped from elsewhere, by the id of their request."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[str, asyncio.Timeout]] = {}

    @asynccontextmanager
    async def stoppable(self, id: str, account: str) -> AsyncIterator[None]:
        """The block ends with `Cancelled` once `stop` is called."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._running[id] = account, scope
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise Cancelled("The answer was stopped, as somebody asked for.") from None
        finally:
            self._running.pop(id, None)

    def stop(self, id: str, account: str) -> None:
        """End the answer to request `id`. Raises `NotFound` where nothing of this account runs under it."""
        owner, scope = self._running.get(id, (None, None))
        if scope is None or owner != account:
            raise NotFound(f"No request {id[:80]!r} is running.", param="id")
        del self._running[id]  # a scope that is ending cannot be told to end
        scope.reschedule(0)


async def _written(tape: Tape, perform: Callable[[Tape], Awaitable[None]]) -> None:
    """Whatever happens is told on the tape: nobody else looks at this task."""
    try:
        await perform(tape)
    except EdgedError as error:
        await tape.fail(error)
    except asyncio.CancelledError:
        await tape.fail(ShuttingDown("The answer was given up: the device is stopping, or another took its place."))
        raise
    except Exception:
        log.exception("request %s failed", tape.request_id)
        await tape.fail(defect(tape.request_id))
