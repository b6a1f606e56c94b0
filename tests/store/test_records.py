"""Records and room: what is written can be read, and nothing needs no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.errors import DiskFull
from edged.store import Piece, Record, room
from edged.store.records import MOST_PIECES, Records


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.folder.mkdir()
    with pytest.raises(ValueError, match=str(MOST_PIECES)):
        records.put(Record("a", (Piece("a" * 64, 1),) * (MOST_PIECES + 1)))
    assert records.names() == []
    whole = Record("a", (Piece("a" * 64, 1),) * MOST_PIECES)
    records.put(whole)
    assert records.get("a") == whole


def test_nothing_needs_no_room(tmp_path: Path) -> None:
    room.check(tmp_path, 0, 2**62)
    with pytest.raises(DiskFull):
        room.check(tmp_path, 1, 2**62)
