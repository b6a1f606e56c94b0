"""Changes to the register, one after the other, each to its end whoever hangs up: so memory and disk agree."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from edged.errors import DiskFull

T = TypeVar("T")


class Writing:
    """What has to be written, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._works: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()
        # What opens nothing any more, but would after a restart: its removal is not on the disk.
        self.unremoved: dict[str, Callable[[str], None]] = {}

    @contextlib.asynccontextmanager
    async def finishing(self) -> AsyncIterator[None]:
        """At the end of the block everything is on the disk, as far as it takes it."""
        try:
            yield
        finally:
            await asyncio.gather(*self._works, return_exceptions=True)
            for id, remove in list(self.unremoved.items()):
                with contextlib.suppress(DiskFull):  # it was told of when it was taken away
                    await self.removed(remove, id)

    async def removed(self, remove: Callable[[str], None], id: str) -> None:
        """Have it gone from the disk as well. Raises `DiskFull`; then it can be asked for again."""
        self.unremoved[id] = remove
        try:
            await self.kept(remove, id, then=lambda: self.unremoved.pop(id, None))
        except DiskFull as error:
            raise DiskFull(f"It opens nothing any more, but would again after a restart. {error}") from error

    async def kept(self, write: Callable[..., None], *values: object, then: Callable[[], object]) -> None:
        """Write, then do `then`. Raises `DiskFull`, and what `then` raises."""

        async def change() -> None:
            await self.write(write, *values)
            then()

        await self.in_turn(change)

    async def write(self, write: Callable[..., None], *values: object) -> None:
        """Write, in the turn that `in_turn` has given. Raises `DiskFull`."""
        try:
            await asyncio.to_thread(write, *values)
        except sqlite3.Error as error:
            raise DiskFull(f"This is not on the disk: {error}. Make room, and try again.") from error

    async def in_turn(self, change: Callable[[], Awaitable[T]]) -> T:
        """Do it when those before are done, and to its end, even where whoever asked has gone meanwhile."""

        async def work() -> T:
            async with self._turn:
                return await change()

        task = asyncio.create_task(work())
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return await asyncio.shield(task)
