"""What a disk does to a file on its way, and what is left to do then."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edged.pull import line
from edged.pull.found import Found, Remote
from edged.pull.installing import check_room
from edged.pull.partial import Partial, keep, sweep
from edged.pull.transfer import Means, Transfer
from edged.store import Store
from tests.hub import model
from tests.pull.conftest import SHORT, Bench, ended


def begun(path: Path, size_bytes: int = 100) -> None:
    partial = Partial(path, 0)
    partial.begin("https://x/", None, size_bytes)
    partial.write(bytes(size_bytes))
    partial.close()


def test_what_the_disk_has_lost_is_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    begun(path)
    partial = Partial(path, 0)
    assert partial.has_earlier
    os.truncate(path, 0)

    assert partial.rehash(2**20)
    assert (partial.done_bytes, partial.has_earlier) == (0, False)
    assert not path.with_suffix(".json").exists()
    partial.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_disk_without_second_names_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.part"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "link", link)
    keep(path)

    assert path.read_bytes() == b"x"


def test_a_model_that_was_becoming_one_needs_no_room_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    store.ready()
    path = store.partial_path("a" * 64)
    begun(path)
    keep(path)
    path.unlink()
    found = Found("a", (Remote("https://x/", 100, "a" * 64, "a.gguf"),), "a")
    check_room(store, found, 2**62)

    assert path.stat().st_size == 100


def test_what_nobody_has_gone_on_with_for_weeks_is_deleted(tmp_path: Path) -> None:
    for name in ("ordered", "left", "upload-known", "upload-lost"):
        begun(tmp_path / f"{name}.part")
    (tmp_path / "upload-lost.json").unlink()
    keep(tmp_path / "left.part")
    touched_s = (tmp_path / "left.part").stat().st_mtime
    sweep(tmp_path, {"ordered"}, touched_s + 13 * 86400)
    assert len(list(tmp_path.glob("*.part"))) == 5

    sweep(tmp_path, {"ordered"}, touched_s + 15 * 86400)
    assert {path.name for path in tmp_path.iterdir()} == {
        "ordered.part",
        "ordered.json",
        "upload-known.part",
        "upload-known.json",
    }


async def test_what_an_earlier_version_of_a_model_has_left_goes_when_another_is_fetched(bench: Bench) -> None:
    bench.hub.repositories["a/b"] = {"a-Q8_0.gguf": model(10)}
    older = bench.store.partial_path("b" * 64)
    await asyncio.to_thread(begun, older)
    await asyncio.to_thread(line.write, bench.store.partials, [line.Order("1", "hf.co/a/b", keys=("b" * 64,))])
    async with bench.pulls() as pulls:
        assert (await ended(pulls, "1")).state == "done"

    assert not older.exists()
    assert bench.partials() == []


async def test_who_is_cancelled_while_a_file_is_opened_leaves_none_open(tmp_path: Path, bench: Bench) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go_on.wait(10)

    path, thread = tmp_path / "a.part", ThreadPoolExecutor(1)
    async with bench.pulls() as pulls:
        means = Means(pulls._web, thread, pulls._throttle, SHORT, lambda *_: None, lambda _: None)
        thread.submit(wait)
        transfer = Transfer(means, Remote("https://x/", 1, None, "a.gguf"), path, is_whole=True)
        task = asyncio.create_task(AsyncExitStack().enter_async_context(transfer.verified()))
        await asyncio.to_thread(began.wait, 10)
        await asyncio.sleep(0)  # it has asked the thread now
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    thread.shutdown()

    assert path.exists()
    assert str(path) not in {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}


def test_orders_that_cannot_be_read_keep_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "queue.json").mkdir()
    assert line.read(tmp_path) == []
    (tmp_path / "queue.json").rmdir()
    (tmp_path / "queue.json").write_text("[" * 100_000)
    assert line.read(tmp_path) == []
    (tmp_path / "queue.json").write_text(json.dumps([{"id": 1}]))
    assert line.read(tmp_path) == []
