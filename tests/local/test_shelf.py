"""The folder of prefixes: within its budget, whole or not there, and nobody else's business."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.local import shelf as module
from edged.local.shelf import Draft, Entry, Shelf, to_go

ROOM = "model-build"


def opened(folder: Path, budget_bytes: int = 1000, daily_bytes: int = 10_000) -> Shelf:
    shelf = Shelf(folder / "kv", budget_bytes, daily_bytes)
    shelf.open()
    return shelf


def begun(shelf: Shelf, size: int, room: str = ROOM, *, is_owners: bool = False) -> Draft:
    draft, _ = shelf.begin(room, size, is_owners=is_owners)
    assert draft is not None
    os.write(draft.descriptor, bytes(size))
    return draft


def put(shelf: Shelf, size: int, used_s: float = 0.0, room: str = ROOM, *, is_owners: bool = False) -> Path:
    """A whole file, last used then."""
    draft = begun(shelf, size, room, is_owners=is_owners)
    assert shelf.publish(draft)
    os.close(draft.descriptor)
    os.utime(draft.path, (used_s, used_s))
    shelf._entries[draft.path].used_s = used_s
    return draft.path


def files(folder: Path) -> set[Path]:
    return {path for path in (folder / "kv").glob("*/*")}


entries = st.lists(
    st.builds(
        lambda number, size, used_s, is_owners: Entry(
            Path(f"{number}{'.owner.kv' if is_owners else '.kv'}"), size, used_s
        ),
        st.integers(0, 1000),
        st.integers(0, 50),
        st.floats(0, 100),
        st.booleans(),
    ),
    max_size=12,
)


@given(entries, st.integers(0, 200), st.integers(0, 200))
def test_just_enough_goes_the_least_used_first_and_the_owners_last(held: list[Entry], wanted: int, budget: int) -> None:
    going = to_go(held, wanted, budget)
    if going is None:
        assert wanted > budget
        return
    staying = [entry for entry in held if not any(entry is gone for gone in going)]
    assert sum(entry.size_bytes for entry in staying) + wanted <= budget
    if going:
        assert sum(entry.size_bytes for entry in staying) + going[-1].size_bytes + wanted > budget
    for gone in going:
        for kept in staying:
            assert (gone.is_owners, gone.used_s) <= (kept.is_owners, kept.used_s)


def test_a_file_is_there_when_it_is_whole_and_survives_a_restart(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    draft = begun(shelf, 100)
    assert shelf.entries(ROOM) == []
    assert shelf.publish(draft)
    os.close(draft.descriptor)

    (entry,) = opened(tmp_path).entries(ROOM)

    assert entry.path.read_bytes() == bytes(100)
    assert (shelf.held_bytes, shelf.written_bytes) == (100, 100)


def test_nobody_else_may_look_and_names_tell_nothing(tmp_path: Path) -> None:
    path = put(opened(tmp_path), 100)

    assert [part.stat().st_mode & 0o777 for part in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert len(path.name.removesuffix(".kv")) == 24


def test_what_a_crash_has_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    draft = begun(opened(tmp_path), 100)
    os.close(draft.descriptor)
    assert files(tmp_path) == {draft.temporary}

    assert opened(tmp_path).entries(ROOM) == []
    assert files(tmp_path) == set()


def test_the_budget_is_kept_and_what_went_is_told(tmp_path: Path) -> None:
    shelf = opened(tmp_path, budget_bytes=250)
    old, owners, new = (
        put(shelf, 80, 2),
        put(shelf, 80, 1, is_owners=True),
        put(shelf, 80, 3, room="other-build"),
    )

    draft, gone = shelf.begin(ROOM, 100, is_owners=False)

    assert draft is not None
    assert [entry.path for entry in gone] == [old, new]
    assert files(tmp_path) == {owners, draft.temporary}
    os.close(draft.descriptor)


def test_a_budget_that_was_lowered_holds_from_the_start(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    put(shelf, 80, 1)
    new = put(shelf, 80, 2)

    assert [entry.path for entry in opened(tmp_path, budget_bytes=100).entries(ROOM)] == [new]
    assert files(tmp_path) == {new}


def test_switched_off_nothing_stays(tmp_path: Path) -> None:
    put(opened(tmp_path), 80)

    opened(tmp_path, budget_bytes=0)

    assert not (tmp_path / "kv").exists()


def test_a_days_writing_is_bounded_and_what_is_refused_costs_nobody_his_place(tmp_path: Path) -> None:
    shelf = opened(tmp_path, budget_bytes=100, daily_bytes=150)
    path = put(shelf, 90)

    assert shelf.begin(ROOM, 90, is_owners=False) == (None, [])
    assert files(tmp_path) == {path}


def test_a_file_larger_than_was_asked_for_is_not_kept(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    draft = begun(shelf, 100)
    os.write(draft.descriptor, b"more")

    assert not shelf.publish(draft)
    assert files(tmp_path) == set()
    os.close(draft.descriptor)


def test_a_disk_that_is_nearly_full_is_left_alone_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Usage(NamedTuple):
        free: int

    shelf = opened(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(module._LEFT_FREE_BYTES + 99))
    with caplog.at_level(logging.WARNING):
        assert [shelf.begin(ROOM, 100, is_owners=False)[0] for _ in range(3)] == [None] * 3

    assert len(caplog.records) == 1
    assert "nearly full" in caplog.text


def test_a_disk_that_takes_nothing_is_told_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    shelf = opened(tmp_path)
    drafts = [begun(shelf, 10), begun(shelf, 10)]
    monkeypatch.setattr(os, "fsync", fails)
    with caplog.at_level(logging.WARNING):
        assert [shelf.publish(draft) for draft in drafts] == [False, False]

    assert (files(tmp_path), len(caplog.records)) == (set(), 1)
    for draft in drafts:
        os.close(draft.descriptor)


def test_a_folder_that_cannot_be_used_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kv").write_text("in the way")

    shelf = opened(tmp_path)

    assert "cannot be used" in caplog.text
    assert shelf.begin(ROOM, 10, is_owners=False) == (None, [])


def test_use_is_remembered_over_a_restart(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    one, other = put(shelf, 10, 1), put(shelf, 10, 2)

    shelf.touch(one, is_restored=True)
    shelf.touch(one, is_restored=False)

    assert shelf.restored_bytes == 10
    assert [entry.path for entry in opened(tmp_path).entries(ROOM)] == [one, other]


def test_what_was_kept_for_models_that_are_gone_or_changed_goes_too(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    kept = {put(shelf, 10, room="a-new"), put(shelf, 10, room="b-any")}
    for room in ("a-old", "gone-any"):
        put(shelf, 10, room=room)

    shelf.keep_only({"a", "b"}, {"a-new"})

    assert files(tmp_path) == kept
    assert shelf.held_bytes == 20


def test_a_link_is_no_file_of_ours(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    path = put(shelf, 10)
    (path.parent / "link.kv").symlink_to(tmp_path / "elsewhere")

    assert [entry.path for entry in opened(tmp_path).entries(ROOM)] == [path]
