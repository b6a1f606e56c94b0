"""What keys with a quota have used, counted in memory and written down now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable

from edged.access import quota as quotas
from edged.access.people import Key
from edged.access.quota import Used
from edged.access.register import Register
from edged.observe import Exchange, Observer

log = logging.getLogger(__name__)

# What a pulled plug forgives: a minute's use, and for it a card is written once a minute and not with each request.
_SAVE_S = 60.0


class Meter(Observer):
    """Counts the requests and tokens of `keys`, of those that have a quota."""

    def __init__(
        self, register: Register, keys: dict[str, Key], used: dict[str, Used], clock: Callable[[], float] = time.time
    ) -> None:
        self._register = register
        self._keys = keys
        self._used = used
        self._now_s = clock
        self._unsaved: set[str] = set()

    @contextlib.asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Write it down every minute while the block runs, and at its end."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._save_until(ended))
        try:
            yield
        finally:
            ended.set()  # not cancelled: a thread may be writing, and the database is closed soon
            await task
            await self._save()  # what was counted, or not taken by the disk, while the last was written

    def admit(self, key: Key) -> None:
        """One more request. Raises `RateLimited` where `key` has used what it may."""
        if not key.quota.is_unlimited:
            self._count(key.id, quotas.admitted(key.quota, self.used(key.id), self._now_s()))

    def on_end(self, exchange: Exchange) -> None:
        """An answer has cost what it has cost, whoever stopped it."""
        if (key := self._keys.get(exchange.account)) and not key.quota.is_unlimited:
            usage = exchange.usage
            tokens = usage.prompt_tokens + usage.completion_tokens
            self._count(key.id, quotas.charged(self.used(key.id), tokens, self._now_s()))

    def used(self, id: str) -> Used:
        """What a key has used today."""
        return self._used.get(id, Used())

    def forget(self, id: str) -> None:
        """A key is gone."""
        self._used.pop(id, None)

    def _count(self, id: str, used: Used) -> None:
        self._used[id] = used
        self._unsaved.add(id)

    async def _save_until(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _SAVE_S)
            await self._save()

    async def _save(self) -> None:
        unsaved = {id: self._used[id] for id in self._unsaved if id in self._used}
        self._unsaved.clear()
        if not unsaved:
            return
        try:
            await asyncio.to_thread(self._register.put_used, unsaved)
        except sqlite3.Error as error:
            self._unsaved |= unsaved.keys()
            log.warning("what keys have used today is not on the disk: %s", error)
