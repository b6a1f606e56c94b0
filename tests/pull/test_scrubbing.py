"""The one scrub that goes on belongs to the daemon."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from edged.pull.scrub import Checked, Scrub
from edged.pull.scrubbing import Scrubbing
from edged.store import Record, Store
from tests.api.shelves import shelves
from tests.api.test_server import exposed_without_sockets
from tests.hub import model, sha256


def with_a_model(folder: Path) -> Store:
    """One that was sent here."""
    exposed, data = exposed_without_sockets(folder), model()
    exposed.store.ready()
    upload = exposed.uploads.begin("mine", len(data), sha256(data))
    with exposed.uploads.writing(upload.id, 0) as writing:
        writing.write(data)
    exposed.uploads.finish(upload.id)
    return exposed.store


async def test_it_goes_on_without_whoever_asked_and_is_followed_to_its_end(tmp_path: Path) -> None:
    store = await asyncio.to_thread(with_a_model, tmp_path)
    pulls = shelves(store, exposed_without_sockets(tmp_path).journal)[0]
    may_read = asyncio.Event()
    scrub = Scrub(store, pulls, lambda event, **facts: None, lambda: not may_read.is_set())
    async with asyncio.timeout(20), Scrubbing(scrub) as scrubbing:
        assert [found async for found in scrubbing.follow()] == [[]]
        scrubbing.start()
        scrubbing.start()  # the same one
        was_running = scrubbing.is_running
        may_read.set()
        last: list[Checked] = [found async for found in scrubbing.follow()][-1]

        assert [(one.name, one.state) for one in last] == [("mine", "good")]
        assert (was_running, scrubbing.is_running) == (True, False)
        assert scrubbing.checked == last


async def test_why_it_ended_early_is_told_until_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await asyncio.to_thread(with_a_model, tmp_path)
    pulls = shelves(store, exposed_without_sockets(tmp_path).journal)[0]

    def broken() -> list[Record]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with (
        asyncio.timeout(20),
        Scrubbing(Scrub(store, pulls, lambda event, **facts: None, lambda: False)) as scrubbing,
    ):
        monkeypatch.setattr(store, "records", broken)
        scrubbing.start()
        assert [found async for found in scrubbing.follow()][-1] == []
        assert scrubbing.failed == "The check ended early: Input/output error."
        monkeypatch.undo()
        scrubbing.start()
        assert [found async for found in scrubbing.follow()][-1]
        assert scrubbing.failed == ""


async def test_the_end_of_the_daemon_ends_it(tmp_path: Path) -> None:
    store = await asyncio.to_thread(with_a_model, tmp_path)
    pulls = shelves(store, exposed_without_sockets(tmp_path).journal)[0]
    async with asyncio.timeout(20):
        async with Scrubbing(Scrub(store, pulls, lambda event, **facts: None, lambda: True)) as scrubbing:
            scrubbing.start()
        assert not scrubbing.is_running
