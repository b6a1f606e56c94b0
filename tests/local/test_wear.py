"""A day's writing is bounded, also over restarts and on devices that forget the time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.local.wear import Wear

DAY_S = 86_400.0


def wear(file: Path, day: float, daily_bytes: int = 100) -> Wear:
    return Wear(file, daily_bytes, lambda: day * DAY_S)


def test_what_was_written_today_counts_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "wear.json"
    assert wear(file, 20_000.1).take(70)

    assert not wear(file, 20_000.9).take(31)
    assert wear(file, 20_000.9).take(30)
    assert wear(file, 20_001.0).take(100)


def test_a_clock_that_went_back_does_not_give_another_days_writing(tmp_path: Path) -> None:
    file = tmp_path / "wear.json"
    assert wear(file, 20_000).take(70)

    assert not wear(file, 19_999.5).take(31)
    assert not wear(file, 20_000.5).take(31)


def test_a_count_from_a_wrong_future_is_not_kept_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "wear.json"
    assert wear(file, 30_000).take(100)

    assert wear(file, 20_000).take(100)
    assert not wear(file, 20_000).take(1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"day": 1}', '{"day": "x", "written_bytes": 1}', "null"])
def test_a_damaged_count_begins_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wear.json"
    file.write_text(text)

    assert wear(file, 20_000).take(100)
    assert not wear(file, 20_000).take(1)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 60)), max_size=30))
def test_no_day_sees_more_than_its_budget(writes: list[tuple[float, int]]) -> None:
    written: dict[int, int] = {}
    day = 20_000.0
    with tempfile.TemporaryDirectory() as folder:
        for passed, size in writes:
            day += passed
            if wear(Path(folder) / "wear.json", day).take(size):
                written[int(day)] = written.get(int(day), 0) + size

    assert max(written.values(), default=0) <= 100
