"""Prefixes on disk, between the workers that know them and the folder that has them.

    load ─▶ offer what earlier runs have left ─▶ give and take files while the worker lives ─▶ put away before it goes

The worker says what is worth a file, the shelf whether there is room; descriptors go one way and numbers the other. A
file that a worker was reading when it died may be what it died of, and is deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

from edged.local.process import WorkerProcess
from edged.local.shelf import Draft, Entry, Shelf
from edged.prefix_wire import (
    AllPutAway,
    Denied,
    Discard,
    Forget,
    Granted,
    Keep,
    Kept,
    Offer,
    PrefixNews,
    PutAway,
    Restoring,
    Used,
)
from edged.store import Store, key_of
from edged.wire import Load, Loaded

# A descriptor each, for a moment here and for good in the worker, which may have 1,024 (the usual soft limit). The
# default budget holds so many prefixes of some 700 tokens of a 0.5B model.
_MOST_OFFERED = 128
# Of the files that were used last the kernel is asked to have so much at hand: a card gives 25 MB in half a second, and
# the worker would wait for it between two words of somebody else. It is page cache, which gives way to everything.
_READ_AHEAD_BYTES = 256 * 2**20


class Keeper:
    """One worker's dealings with the shelf until it is gone. `forget` hears of files that had to make room."""

    def __init__(self, shelf: Shelf, process: WorkerProcess, forget: Callable[[Iterable[Entry]], None]) -> None:
        self.room: str | None = None
        self.put_away = asyncio.Event()
        self._shelf = shelf
        self._process = process
        self._forget = forget
        self._news: asyncio.Queue[tuple[PrefixNews | None, bool]] = asyncio.Queue()
        self._files: dict[int, Path] = {}
        self._draft: tuple[int, Draft] | None = None
        self._suspect: int | None = None
        self._next_id = 1
        process.on_prefix_news = self._hear

    async def offer(self, room: str) -> None:
        """Hand over what earlier runs have left in `room`, and use it from now on."""
        self.room = room
        for path, descriptor in await asyncio.to_thread(self._open_all, room):
            self._process.tell(Offer(self._name(path)), [descriptor])
            os.close(descriptor)

    async def run(self) -> None:
        """Do what the worker asks for until it is gone."""
        while (told := await self._news.get())[0] is not None:
            match told:
                case Keep(size_bytes, is_owners), _:
                    await self._grant(size_bytes, is_owners=is_owners)
                case Kept(id), _:
                    await self._publish(id)
                case Discard() as discard, _:
                    await self._discard(discard)
                case Used(id), is_restored if id in self._files:
                    await asyncio.to_thread(self._shelf.touch, self._files[id], is_restored=is_restored)
                case AllPutAway(), _:
                    self.put_away.set()
        await self._bury()

    def end(self) -> None:
        """There is no worker, or none any more."""
        self._hear(None)

    def ask_to_put_away(self) -> None:
        """Have the worker write what is worth it; `put_away` tells when it has."""
        self._process.tell(PutAway())

    def forget(self, path: Path) -> None:
        """A file has left the shelf."""
        for id in [id for id, known in self._files.items() if known == path]:
            del self._files[id]
            self._process.tell(Forget(id))

    def _hear(self, news: PrefixNews | None) -> None:
        # What is being read is noted at once and not in turn: it may be the last that is heard.
        is_restored = isinstance(news, Used) and news.id == self._suspect
        if isinstance(news, Restoring):
            self._suspect = news.id
        elif news is not None:
            self._suspect = None
        self._news.put_nowait((news, is_restored))

    async def _grant(self, size_bytes: int, *, is_owners: bool) -> None:
        assert self.room is not None
        draft, gone = None, list[Entry]()
        if self._draft is None:
            draft, gone = await asyncio.to_thread(self._shelf.begin, self.room, size_bytes, is_owners=is_owners)
        self._forget(gone)
        if draft is None:
            self._process.tell(Denied())
            return
        self._draft = (self._name(draft.path), draft)
        self._process.tell(Granted(self._draft[0]), [draft.descriptor])

    async def _publish(self, id: int) -> None:
        if self._draft is not None and self._draft[0] == id:
            draft, self._draft = self._draft[1], None
            is_kept = await asyncio.to_thread(self._shelf.publish, draft)
            os.close(draft.descriptor)
            if not is_kept:
                self.forget(draft.path)

    async def _discard(self, discard: Discard) -> None:
        path = self._files.pop(discard.id, None)
        if self._draft is not None and self._draft[0] == discard.id:
            await self._give_up(discard.detail)
        elif path is not None:
            reason = "" if discard.reason == "replaced" else discard.detail
            await asyncio.to_thread(self._shelf.drop, path, reason)

    async def _give_up(self, reason: str = "") -> None:
        assert self._draft is not None
        draft, self._draft = self._draft[1], None
        os.close(draft.descriptor)
        await asyncio.to_thread(self._shelf.give_up, draft, reason)

    async def _bury(self) -> None:
        self.put_away.set()
        if self._suspect is not None and (path := self._files.get(self._suspect)):
            reason = f"the process of model {self._process.name} died while it read it"
            await asyncio.to_thread(self._shelf.drop, path, reason)
        if self._draft is not None:
            await self._give_up()

    def _name(self, path: Path) -> int:
        id, self._next_id = self._next_id, self._next_id + 1
        self._files[id] = path
        return id

    def _open_all(self, room: str) -> list[tuple[Path, int]]:
        opened, ahead_bytes = [], 0
        for entry in self._shelf.entries(room)[:_MOST_OFFERED]:
            with contextlib.suppress(OSError):  # what cannot be opened is offered to nobody, and goes when it is old
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                opened.append((entry.path, descriptor))
                ahead_bytes += entry.size_bytes
                if ahead_bytes <= _READ_AHEAD_BYTES:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        return opened


class Keeping:
    """The keepers of all workers. An async context that must outlive them; without a shelf nothing is kept."""

    def __init__(self, shelf: Shelf | None = None, store: Store | None = None) -> None:
        self.shelf = shelf
        self._store = store
        self._keepers: set[Keeper] = set()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Keeping:
        await self._tasks.__aenter__()
        if self.shelf is not None:
            await asyncio.to_thread(self.shelf.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for keeper in self._keepers:
            keeper.end()
        # Without the error: a task group would wrap it.
        await self._tasks.__aexit__(None, None, None)

    async def load(self, process: WorkerProcess, wanted: Load, descriptors: Sequence[int]) -> Loaded:
        """Have `process` load the model behind `descriptors`, and offer it what is kept of earlier runs.

        Raises what `WorkerProcess.load` raises.
        """
        if self.shelf is None or not self.shelf.budget_bytes:
            return await process.load(wanted, descriptors)
        key = await asyncio.to_thread(key_of, *descriptors[: wanted.pieces])
        keeper = Keeper(self.shelf, process, self._forget)
        self._keepers.add(keeper)
        self._tasks.create_task(self._run(keeper), name=f"keep prefixes of {process.name}")
        try:
            card = await process.load(replace(wanted, prefix_bytes=self.shelf.budget_bytes, model_key=key), descriptors)
        except BaseException:
            keeper.end()
            raise
        if card.pooling is None:
            await keeper.offer(f"{key}-{blake2b(card.build.encode(), digest_size=8).hexdigest()}")
            self._tasks.create_task(self._tidy(), name="tidy prefixes")
        return card

    async def put_away(self, within_s: float) -> None:
        """Have every worker write what is worth it, as far as time allows; what is half written then is lost."""
        keepers = [keeper for keeper in self._keepers if keeper.room is not None and within_s > 0]
        for keeper in keepers:
            keeper.ask_to_put_away()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for keeper in keepers:
                    await keeper.put_away.wait()

    async def _run(self, keeper: Keeper) -> None:
        try:
            await keeper.run()
        finally:
            self._keepers.discard(keeper)

    async def _tidy(self) -> None:
        """What was kept for models that are gone or have changed goes as well."""
        assert self.shelf is not None
        rooms = {keeper.room for keeper in self._keepers if keeper.room is not None}
        await asyncio.to_thread(self._keep_only, rooms)

    def _keep_only(self, rooms: set[str]) -> None:
        assert self.shelf is not None
        if self._store is not None and self.shelf.rooms() - rooms:
            self.shelf.keep_only(self._store.keys(), rooms)

    def _forget(self, gone: Iterable[Entry]) -> None:
        for entry in gone:
            for keeper in self._keepers:
                keeper.forget(entry.path)
