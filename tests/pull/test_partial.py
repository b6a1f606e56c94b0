"""What a disk does to a file on its way, and what is left to do then."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edged.pull import line
from edged.pull.found import Found, Remote
from edged.pull.installing import check_room
from edged.pull.partial import Partial, keep, sweep
from edged.store import Store


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


def test_orders_that_cannot_be_read_keep_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "queue.json").mkdir()
    assert line.read(tmp_path) == []
    (tmp_path / "queue.json").rmdir()
    (tmp_path / "queue.json").write_text("[" * 100_000)
    assert line.read(tmp_path) == []
    (tmp_path / "queue.json").write_text(json.dumps([{"id": 1}]))
    assert line.read(tmp_path) == []
