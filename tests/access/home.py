"""An `Access` on a real database: the test sets its clock, starts it again, and has its disk take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edged.access.door import Access
from edged.access.people import Visitor
from edged.access.register import STEPS, Register
from edged.config import Access as Chosen
from edged.database import Database, opened

ADDRESS = "192.0.2.1"
DAY_S = 86_400.0


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now_s = 1.8e9

    def __call__(self) -> float:
        return self.now_s


class Disk(Database):
    """The database; while `is_full`, SQLite itself refuses every write, as it does on a read-only disk."""

    def full(self, is_full: bool) -> None:
        self._connection.execute(f"PRAGMA query_only = {int(is_full)}")


@dataclass
class Home:
    """What a test needs of a device."""

    access: Access
    register: Register
    disk: Disk
    clock: Clock
    told: list[str] = field(default_factory=list)

    def who(self, text: str) -> Visitor:
        """Who has this cookie."""
        return self.access.identify((), text, ADDRESS)

    async def started_again(self) -> Access:
        """What a daemon makes of the database that starts now."""
        return await asyncio.to_thread(device, self.register, Chosen(), self.clock)

    async def agrees(self) -> bool:
        """Whether memory and disk hold the same people, browsers, keys and choices."""
        return known(await self.started_again()) == known(self.access)


def device(register: Register, chosen: Chosen, clock: Clock, told: list[str] | None = None) -> Access:
    """One that others can reach."""
    heard = [] if told is None else told
    return Access(register, chosen, lambda event, **_: heard.append(event), reaches_beyond=True, clock=clock)


def known(access: Access) -> tuple[object, ...]:
    """All that is to be on the disk; when a browser was used is not."""
    sessions = {(one.id, one.user_id, one.digest, one.expires_s) for one in access.sessions.values()}
    choices = {name: access.chosen(name) for name in ("lan_chat", "supervised", "url_keys")}
    return access.users, sessions, access.keys, choices


@contextmanager
def home(file: Path, chosen: Chosen | None = None) -> Iterator[Home]:
    """A device with the database `file`."""
    with opened(file, STEPS) as database:
        disk, clock, told = Disk(database._connection), Clock(), list[str]()
        register = Register(disk)
        yield Home(device(register, chosen or Chosen(), clock, told), register, disk, clock, told)
