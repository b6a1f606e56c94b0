"""Prefixes outlive their worker, whoever it was that ended it, and never speak to the wrong account."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edged.chat import Caller, ChatRequest
from edged.completion import Delta
from edged.config import Engine, Limits
from edged.local.keeping import Keeper, Keeping
from edged.local.pool import Pool
from edged.local.shelf import Shelf
from edged.prefix_wire import (
    AllPutAway,
    Denied,
    Discard,
    Forget,
    Granted,
    Keep,
    Kept,
    Offer,
    PrefixOrder,
    PutAway,
    Restoring,
    Used,
)
from edged.sampling import Sampling
from edged.store import Store
from edged.template_wire import Span
from tests.fakes import until

FIRST = "Which way is it to the harbour, and where do the boats leave that go to the islands? " * 6
PATIENCE_S = 20.0


@asynccontextmanager
async def running(store: Store, folder: Path) -> AsyncIterator[tuple[Pool, Keeping]]:
    """A daemon's pool with its prefixes in `folder`; leaving it puts them away first."""
    engine = Engine(context_tokens=512, sequences=2, threads=1, gpu_layers=0, snapshot_bytes=2**24, kv_type="q8_0")
    keeping = Keeping(Shelf(folder / "kv", 2**24, 2**30), store)
    async with keeping, Pool(store, engine, Limits(), lambda event, **facts: None, None, keeping) as pool:
        yield pool, keeping
        await keeping.put_away(PATIENCE_S)


async def answer(pool: Pool, prompt: str, account: str = "ann") -> tuple[str, int]:
    """What is said, and how many tokens of the prompt were known."""
    asked = ChatRequest("id", sampling=Sampling(temperature=0.0), caller=Caller(account=account))
    async with pool.lease("one") as lease:
        with lease.process.answering(asked, (Span(prompt),), 8) as answers:
            cached = (await answers.admitted()).cached_tokens
            events = [event async for event in answers.events()]
    return "".join(event.text for event in events if isinstance(event, Delta)), cached


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "kv").glob("*/*"))


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


async def test_a_conversation_goes_on_after_a_restart_as_if_there_had_been_none(store: Store, folder: Path) -> None:
    async with running(store, folder) as (pool, _):
        first, _ = await answer(pool, FIRST)
        second = FIRST + first + " And back?"
        expected, known = await answer(pool, second)
    assert [path.suffix for path in kept(folder)] == [".kv"]

    async with running(store, folder) as (pool, keeping):
        assert await answer(pool, second, "ben") == (expected, 0), "another account learns nothing"
        text, cached = await answer(pool, second)
        assert text == expected
        assert cached >= known > 64
        shelf = keeping.shelf
        assert shelf is not None
        await until(lambda: shelf.restored_bytes > 0)


@pytest.mark.parametrize("damage", ["flip", "cut", "noise"])
async def test_a_damaged_file_costs_only_the_reading(store: Store, folder: Path, damage: str) -> None:
    async with running(store, folder) as (pool, _):
        expected = await answer(pool, FIRST)
    (path,) = kept(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-100]), "noise": os.urandom(5000)}[damage])

    async with running(store, folder) as (pool, _):
        assert await answer(pool, FIRST) == expected
        await until(lambda: not path.exists())


async def test_another_file_under_the_models_name_begins_anew(store: Store, folder: Path) -> None:
    async with running(store, folder) as (pool, _):
        await answer(pool, FIRST)
    (old,) = kept(folder)
    os.utime(store.folder / "one.gguf", (1, 1))

    async with running(store, folder) as (pool, _):
        assert (await answer(pool, FIRST))[1] == 0
        await until(lambda: not old.parent.exists())


async def test_a_model_that_is_gone_takes_what_was_kept_for_it_along(store: Store, folder: Path) -> None:
    gone = folder / "kv" / "of-a-model-that-was-here" / "some.kv"
    gone.parent.mkdir(parents=True)
    gone.write_bytes(b"a prompt")

    async with running(store, folder) as (pool, _):
        await answer(pool, FIRST)
        await until(lambda: not gone.parent.exists())


async def test_a_model_that_cannot_be_loaded_keeps_nobody_waiting(store: Store, folder: Path) -> None:
    async with running(store, folder) as (pool, keeping):
        with pytest.raises(Exception, match="garbage"):
            async with pool.lease("garbage"):
                pass
        await until(lambda: not keeping._keepers)


@dataclass
class FakeWorker:
    """A worker's process as a keeper sees it."""

    name: str = "fake"
    told: list[PrefixOrder] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    on_prefix_news: Any = None

    def tell(self, order: PrefixOrder, descriptors: Sequence[int] = ()) -> None:
        self.told.append(order)
        self.files += [os.dup(descriptor) for descriptor in descriptors]


@asynccontextmanager
async def kept_for(shelf: Shelf) -> AsyncIterator[tuple[FakeWorker, Keeper]]:
    """A keeper and its worker, until that is gone."""
    worker = FakeWorker()
    process: Any = worker
    keepers: list[Keeper] = []

    def forget(gone: Any) -> None:
        for entry in gone:
            keepers[0].forget(entry.path)

    keeper = Keeper(shelf, process, forget)
    keepers.append(keeper)
    await keeper.offer("room")
    task = asyncio.create_task(keeper.run())
    yield worker, keeper
    worker.on_prefix_news(None)
    await task
    for descriptor in worker.files:
        os.close(descriptor)


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    """Room for a kilobyte."""
    found = Shelf(folder / "kv", 1000, 2**20)
    found.open()
    return found


async def written(worker: FakeWorker, size: int) -> None:
    """One file from the question to its end."""
    before = len(worker.files)
    worker.on_prefix_news(Keep(size, False))
    await until(lambda: len(worker.files) > before)
    os.write(worker.files[-1], bytes(size))
    granted = worker.told[-1]
    assert isinstance(granted, Granted)
    worker.on_prefix_news(Kept(granted.id))


async def test_what_a_worker_was_reading_when_it_died_is_deleted(shelf: Shelf) -> None:
    async with kept_for(shelf) as (worker, _):
        await written(worker, 100)
        await written(worker, 200)
    async with kept_for(shelf) as (worker, _):
        assert worker.told == [Offer(1), Offer(2)]
        large = next(id for id in (1, 2) if os.fstat(worker.files[id - 1]).st_size == 200)
        worker.on_prefix_news(Restoring(3 - large))
        worker.on_prefix_news(Used(3 - large))
        worker.on_prefix_news(Restoring(large))

    assert [entry.size_bytes for entry in shelf.entries("room")] == [100]
    assert shelf.restored_bytes == 100


async def test_what_has_to_make_room_is_forgotten_by_the_worker(shelf: Shelf) -> None:
    async with kept_for(shelf) as (worker, _):
        await written(worker, 600)
        await written(worker, 600)
        first = worker.told[0]
        assert isinstance(first, Granted)

        assert worker.told[1] == Forget(first.id)


async def test_what_is_not_granted_is_denied_and_a_second_question_too(shelf: Shelf, folder: Path) -> None:
    async with kept_for(shelf) as (worker, _):
        worker.on_prefix_news(Keep(1001, False))
        worker.on_prefix_news(Keep(10, False))
        worker.on_prefix_news(Keep(10, False))  # before the first file is whole
        await until(lambda: len(worker.told) == 3)

        assert [type(order) for order in worker.told] == [Denied, Granted, Denied]
    assert kept(folder) == [], "a file that its worker never finished"


async def test_what_the_worker_discards_is_deleted(shelf: Shelf, folder: Path) -> None:
    async with kept_for(shelf) as (worker, _):
        await written(worker, 100)
        await until(lambda: len(shelf.entries("room")) == 1)
        granted = worker.told[0]
        assert isinstance(granted, Granted)
        worker.on_prefix_news(Discard(granted.id, "replaced"))
        worker.on_prefix_news(Discard(99, "damaged", "unknown ids are nothing"))
        await until(lambda: kept(folder) == [])

        worker.on_prefix_news(Keep(10, False))
        await until(lambda: len(worker.told) == 2)
        granted = worker.told[1]
        assert isinstance(granted, Granted)
        worker.on_prefix_news(Discard(granted.id, "unwritten", "No space left on device"))
        await until(lambda: kept(folder) == [])


async def test_putting_away_waits_for_the_worker_and_not_for_ever(shelf: Shelf) -> None:
    keeping = Keeping(shelf)
    async with kept_for(shelf) as (worker, keeper):
        keeping._keepers.add(keeper)
        began_s = time.monotonic()
        await keeping.put_away(0.05)
        assert time.monotonic() - began_s >= 0.05
        assert worker.told == [PutAway()]

        worker.on_prefix_news(AllPutAway())
        await keeping.put_away(PATIENCE_S)

        worker.told.clear()
        await keeping.put_away(0.0)
        assert worker.told == [], "no time is left"
    keeping._keepers.clear()
