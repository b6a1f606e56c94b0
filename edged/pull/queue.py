"""What is to be fetched: one model at a time, a line of eight, known to the disk and to everybody who follows.

A pull belongs to the daemon and not to the client that asked: it goes on when the client leaves, and after a restart.
Only whoever says so ends it, and then what was fetched of it goes as well; all else that fails keeps it for the next
time, and is told until somebody asks again, has it here, or dismisses it: after a power cut, too.

    submit ─▶ line ─▶ find ─▶ fetch every file ─▶ adopt them as blobs ─▶ enter the name
                       │
                       └── all of it is here already: enter the name
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import TracebackType

from edged.config import Downloads
from edged.errors import EdgedError, NotFound, QueueFull
from edged.plain import plain
from edged.pull import installing, line, reference
from edged.pull.finder import Finder, Hubs
from edged.pull.found import Found
from edged.pull.line import Order
from edged.pull.pace import Patience, QuietHours
from edged.pull.partial import SAFE_EVERY_BYTES, file_thread, sweep
from edged.pull.progress import Progress, Speed, Watched
from edged.pull.throttle import Clock, Throttle
from edged.pull.transfer import Means, Transfer
from edged.pull.web import Web
from edged.redaction import redacted
from edged.store import Piece, Record, Store, names
from edged.store.gathering import Gathered

log = logging.getLogger(__name__)

_MOST_WAITING = 8
_MOST_ENDED = 32
_LONGEST_MESSAGE = 1000  # characters


class _Pull(Watched):
    """An order and how far it is."""

    def __init__(self, order: Order) -> None:
        super().__init__(Progress(order.id, order.reference, order.shown or order.name, "queued"))
        if order.code:
            self.change(state="failed", code=order.code, message=order.message)
        self.order = order
        self.keys: tuple[str, ...] = order.keys
        self.is_unwanted = False
        self.speed = Speed()
        self.began_s = time.monotonic()


class Pulls:
    """Everything that is, was or will be fetched. An async context."""

    def __init__(
        self,
        store: Store,
        settings: Downloads,
        hubs: Hubs,
        tell: Callable[..., None],
        catalogue: Callable[[str], str | None] = lambda _: None,
        *,
        clock: Clock | None = None,
        patience: Patience | None = None,
        safe_every_bytes: int = SAFE_EVERY_BYTES,
    ) -> None:
        """`catalogue` gives the reference behind a name that the product ships, or None.

        Raises `ConfigError`.
        """
        self._store = store
        self._settings = settings
        self._tell = tell
        self._catalogue = catalogue
        self._patience = patience or Patience()
        self._safe_every_bytes = safe_every_bytes
        self._hubs = hubs
        self._named = hubs.named(settings)
        self._web: Web
        self._finder: Finder
        self._throttle = Throttle(settings.bytes_per_s, QuietHours.parse(settings.quiet_hours), clock or Clock())
        self._line: list[_Pull] = []
        self._running: _Pull | None = None
        self._work: asyncio.Task[None] | None = None
        self._ended: deque[_Pull] = deque(maxlen=_MOST_ENDED)
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._thread = file_thread()
        self._life = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Task[None]
        self._is_closing = False

    async def __aenter__(self) -> Pulls:
        self._life.callback(self._thread.shutdown, wait=False)
        self._web = await self._life.enter_async_context(Web(self._named, self._hubs.tokens(), self._patience))
        self._finder = Finder(self._web, self._hubs)
        orders = await asyncio.to_thread(line.read, self._store.partials)
        ordered = {key for order in orders for key in order.keys if not order.code}
        await asyncio.to_thread(sweep, self._store.partials, ordered, time.time())
        self._line = [_Pull(order) for order in orders if not order.code]
        self._ended.extend(_Pull(order) for order in orders if order.code)
        await self._tasks.__aenter__()
        self._server = self._tasks.create_task(self._serve(), name="fetch models")
        self._tasks.create_task(self._note(), name="note what is to be fetched")
        if self._line:
            self._wanted.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in [self._server, *([self._work] if self._work else [])]:
            task.cancel()
        self._is_closing = True
        self._changed.set()
        # Without the error: a task group would wrap it.
        await self._tasks.__aexit__(None, None, None)
        await self._write_line()
        await self._life.aclose()

    def submit(self, text: str, *, sha256: str | None = None, name: str | None = None, revision: str = "") -> Progress:
        """Have a model fetched; whoever wants what somebody else wants already gets the same pull.

        Raises `InvalidRequest`, `Forbidden`, `QueueFull`.
        """
        wanted = reference.parse(text, self._catalogue, self._named.has)
        checksum = reference.checksum(sha256)
        called = name or (text.strip() if self._catalogue(text.strip()) else "")
        if called:
            names.check(called, "name")
        for pull in self._unended():
            is_same = pull.order.is_same(text.strip(), checksum, called, revision)
            if is_same and not pull.is_unwanted and not pull.progress.has_ended:
                return pull.progress
        if len(self._line) >= _MOST_WAITING:
            eta_s = self._running.progress.eta_s if self._running else None
            raise QueueFull(
                f"{len(self._line)} models wait to be fetched already. Try again.", retry_after_s=eta_s or 60
            )
        again = self._forget_failed(lambda other: other.order.is_same(text.strip(), checksum, called, revision))
        order = Order(secrets.token_hex(8), text.strip(), checksum, called, revision, again)
        pull = _Pull(order)
        pull.change(name=called or line.called(wanted))
        if self._running or self._line:
            pull.change(reason="another pull is running")
        self._line.append(pull)
        self._wanted.set()
        self._changed.set()
        return pull.progress

    def list(self) -> list[Progress]:
        """The one that runs, those that wait in their order, and the last that ended, latest first."""
        return [pull.progress for pull in (*self._unended(), *reversed(self._ended))]

    def find(self, id: str) -> Progress:
        """How one stands. Raises `NotFound`."""
        return self._pull(id).progress

    def cancel(self, id: str) -> Progress:
        """Have it end, and what was fetched of it gone; of one that has failed, too. Raises `NotFound`."""
        pull = self._pull(id)
        if pull.progress.state in ("done", "cancelled"):
            return pull.progress
        was_unwanted, pull.is_unwanted = pull.is_unwanted, True
        if pull is self._running:
            if self._work is not None and not was_unwanted:  # a second time would interrupt the clearing away
                self._work.cancel()
            return pull.progress
        if pull in self._line:
            self._line.remove(pull)
            self._ended.append(pull)
        pull.change(state="cancelled", reason="", code="", message="")
        self._changed.set()
        self._tasks.create_task(self._clear(pull), name=f"clear away {pull.progress.name}")
        return pull.progress

    def follow(self, id: str) -> AsyncIterator[Progress]:
        """As it is, then every change, four a second at most, until it has ended. Raises `NotFound`."""
        return self._pull(id).follow()

    def _pull(self, id: str) -> _Pull:
        for pull in (*self._unended(), *self._ended):
            if pull.progress.id == id:
                return pull
        raise NotFound(f"There is no pull {id[:40]!r}. The last {_MOST_ENDED} that ended are remembered.")

    def _unended(self) -> tuple[_Pull, ...]:
        return (*([self._running] if self._running else []), *self._line)

    def _forget_failed(self, is_meant: Callable[[_Pull], bool]) -> tuple[str, ...]:
        """It is asked for again, or is here: nobody wants to know why it failed before. The keys of its partials."""
        gone = [pull for pull in self._ended if pull.progress.state == "failed" and is_meant(pull)]
        self._ended = deque((pull for pull in self._ended if pull not in gone), _MOST_ENDED)
        return tuple(key for pull in gone for key in pull.keys)

    async def _serve(self) -> None:
        while True:
            await self._wanted.wait()
            if not self._line:
                self._wanted.clear()
                continue
            pull = self._running = self._line.pop(0)
            self._work = self._tasks.create_task(self._run(pull), name=f"fetch {pull.progress.name}")
            await asyncio.wait([self._work])
            self._work = None
            if self._running is pull:  # it was cancelled before its first step
                await self._end_unwanted(pull)

    async def _run(self, pull: _Pull) -> None:
        """One pull to its end; only the end of the daemon interrupts it."""
        try:
            record = await self._fetch(pull)
        except asyncio.CancelledError:
            if not pull.is_unwanted:
                raise
            await self._end_unwanted(pull)
        except EdgedError as error:
            self._fail(pull, error.code, plain(redacted(str(error)), _LONGEST_MESSAGE))
        except Exception:  # a pull is kept over restarts: one that could end the daemon would do so each time
            log.exception("fetching %s failed", pull.order.reference)
            self._fail(pull, "internal", "Something went wrong here; the log says what.")
        else:
            took_s = round(time.monotonic() - pull.began_s, 1)
            size = record.size_bytes
            self._forget_failed(lambda other: other.progress.name == record.name)
            self._close(pull, state="done", done_bytes=size, total_bytes=size)
            self._tell("pull_done", model=record.name, source=record.source, size_bytes=size, duration_s=took_s)

    async def _end_unwanted(self, pull: _Pull) -> None:
        await self._clear(pull)
        self._close(pull, state="cancelled")
        self._tell("pull_cancelled", model=pull.progress.name, reference=pull.order.reference)

    def _fail(self, pull: _Pull, code: str, message: str) -> None:
        self._close(pull, state="failed", code=code, message=message)
        self._tell("pull_failed", model=pull.progress.name, cause=code, reason=message)

    def _close(self, pull: _Pull, **fields: object) -> None:
        self._running = None
        self._ended.append(pull)
        self._changed.set()
        pull.change(reason="", bytes_per_s=None, eta_s=None, **fields)

    async def _fetch(self, pull: _Pull) -> Record:
        order, store = pull.order, self._store
        pull.began_s = time.monotonic()
        await self._throttle.until_loud(lambda reason: pull.change(state="waiting", reason=reason))
        pull.change(state="resolving", reason="")
        found = await self._find(pull)
        name = order.name or found.name
        await asyncio.to_thread(store.check_name, name, "name")
        known = [Piece(one.sha256, one.size_bytes) for one in found.pieces if one.sha256 and one.size_bytes is not None]
        all_known = known if len(known) == len(found.pieces) else None
        await asyncio.to_thread(store.check_origin, name, found.source, all_known)
        keys = tuple(piece.key for piece in found.pieces)
        await self._clear(pull, besides=keys)  # what an earlier version of it has left
        pull.keys = keys
        pull.change(name=name, total_bytes=found.size_bytes)
        self._changed.set()
        left = plain(" ".join(found.left))
        self._tell("pull_started", model=name, source=found.source, size_bytes=found.size_bytes, left=left)
        await asyncio.to_thread(installing.check_room, store, found, self._settings.reserve_bytes)
        async with installing.holding(store, known), AsyncExitStack() as life:
            come = [await self._one(pull, found, number, life) for number in range(len(found.pieces))]
            pull.change(state="verifying", reason="", bytes_per_s=None, eta_s=None)
            arrived = [one for _, one in come if one]
            record = await asyncio.to_thread(
                installing.record, store, found, name, [piece for piece, _ in come], arrived
            )
            await installing.through(installing.install, store, record, arrived)
            is_announced = all(remote.sha256 for remote in found.pieces)
            pull.change(verified=is_announced and len(arrived) == len(come))
            await self._clear(pull)
        return record

    async def _find(self, pull: _Pull) -> Found:
        order = pull.order
        wanted = reference.parse(order.reference, self._catalogue, self._named.has)

        def paused(reason: str) -> None:
            pull.change(state="waiting" if reason else "resolving", reason=reason)

        return await self._finder.find_patiently(
            wanted, order.sha256, order.revision, self._patience, self._throttle.clock, paused
        )

    async def _one(self, pull: _Pull, found: Found, number: int, life: AsyncExitStack) -> tuple[Piece, Gathered | None]:
        """One file of a model: what it is, and where it lies where it was not here yet."""
        remote, earlier_bytes = found.pieces[number], pull.progress.done_bytes
        if remote.sha256 and (status := await asyncio.to_thread(installing.here, self._store, remote)):
            pull.change(done_bytes=earlier_bytes + status.size_bytes)
            return status, None

        def told(done_bytes: int, size_bytes: int | None) -> None:
            pull.speed = pull.speed.at(time.monotonic(), earlier_bytes + done_bytes)
            total = size_bytes if len(found.pieces) == 1 else found.size_bytes
            pull.change(
                state="fetching",
                done_bytes=earlier_bytes + done_bytes,
                total_bytes=total,
                bytes_per_s=pull.speed.bytes_per_s,
                eta_s=pull.speed.eta_s(total),
            )

        def paused(reason: str) -> None:
            pull.change(state="waiting" if reason else "fetching", reason=reason)

        means = Means(
            self._web,
            self._thread,
            self._throttle,
            self._patience,
            told,
            paused,
            self._settings.reserve_bytes,
            self._safe_every_bytes,
        )
        path = self._store.partial_path(remote.key)
        transfer = Transfer(means, remote, path, is_whole=len(found.pieces) == 1)
        descriptor, piece = await life.enter_async_context(transfer.verified())
        return piece, Gathered(path, descriptor, piece)

    async def _clear(self, pull: _Pull, besides: tuple[str, ...] = ()) -> None:
        paths = [self._store.partial_path(key) for key in pull.keys if key not in besides]
        shared = {key for other in self._unended() if other is not pull for key in other.keys}
        await asyncio.to_thread(installing.clear, [path for path in paths if path.stem not in shared])

    async def _note(self) -> None:
        while not self._is_closing:
            await self._changed.wait()
            self._changed.clear()
            await self._write_line()

    async def _write_line(self) -> None:
        orders = [
            pull.order.with_keys(pull.keys)
            for pull in self._unended()
            if not pull.is_unwanted and not pull.progress.has_ended
        ]
        failed = [
            pull.order.with_keys(pull.keys).failed(found.code, found.message, found.name)
            for pull in self._ended
            if (found := pull.progress).state == "failed"
        ]
        try:
            await asyncio.to_thread(line.write, self._store.partials, orders, failed)
        except OSError as error:
            log.warning("what is to be fetched is not on the disk, and a restart would forget it: %s", error)
