"""A file is as it was or as it should become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edged import durable


def test_a_file_is_replaced_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    durable.write(file, "old")
    durable.write(file, "new")

    assert file.read_text() == "new"
    assert [part.stat().st_mode & 0o777 for part in (file, file.parent)] == [0o600, 0o700]


def test_what_cannot_be_finished_leaves_the_old_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError("no more")

    file = tmp_path / "file"
    durable.write(file, "old")
    monkeypatch.setattr(os, "fsync", fails)

    with pytest.raises(OSError, match="no more"):
        durable.write(file, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_folders_are_on_the_disk_with_all_above_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[Path]()
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.make_folder(tmp_path / "a" / "b")
    durable.make_folder(tmp_path / "a" / "b")

    assert synced == [tmp_path, tmp_path / "a"]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        durable.make_folder(tmp_path / "file")


def test_what_is_removed_is_gone_for_good_and_what_is_not_there_is_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        durable.remove(tmp_path / "file")
    durable.remove(tmp_path / "nowhere" / "file")

    assert list(tmp_path.iterdir()) == []
