"""How long a load takes, before and while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.local.loads import LoadTimes, left_s, loading, must_load

MIB = 2**20


def test_before_anything_was_loaded_nothing_is_expected() -> None:
    assert LoadTimes().expected_s(1000 * MIB) is None


def test_large_files_load_as_the_disk_reads_and_small_ones_as_a_process_starts() -> None:
    times = LoadTimes()
    times.note(2 * MIB, 0.5)
    assert times.expected_s(1000 * MIB) is None, "a small file says nothing about the disk"
    for seconds in (9.0, 10.0, 30.0):
        times.note(500 * MIB, seconds)

    assert times.expected_s(1000 * MIB) == 20.0
    assert times.expected_s(5 * MIB) == 0.5


def test_only_the_last_loads_count() -> None:
    times = LoadTimes()
    for _ in range(50):
        times.note(500 * MIB, 50.0)
    for _ in range(20):
        times.note(500 * MIB, 5.0)

    assert times.expected_s(500 * MIB) == 5.0


@pytest.mark.parametrize(
    ("elapsed_s", "progress", "expected_s", "left"),
    [
        (10.0, 0.25, None, 30.0),  # what it says itself
        (10.0, 0.0, None, 10.0),  # nothing is known: about as long again
        (10.0, 0.0, 60.0, 50.0),  # what was remembered
        (10.0, 0.5, 60.0, 30.0),  # half of each
        (70.0, 0.5, 60.0, 70.0),  # it has taken longer than any before
        (70.0, 0.0, 60.0, 70.0),
        (10.0, 1.0, None, 0.0),
    ],
)
def test_what_is_left(elapsed_s: float, progress: float, expected_s: float | None, left: float) -> None:
    assert left_s(elapsed_s, progress, expected_s) == left


@given(st.floats(0, 3600), st.floats(0, 1), st.none() | st.floats(0, 7200))
def test_what_is_left_is_never_less_than_nothing(elapsed_s: float, progress: float, expected_s: float | None) -> None:
    assert left_s(elapsed_s, progress, expected_s) >= 0
    assert loading(elapsed_s, progress, expected_s).retry_after_s >= 1


def test_who_would_not_wait_is_told_when_to_come_back() -> None:
    refused = must_load("large", 42.4, 5)

    assert (refused.progress, refused.retry_after_s) == (0.0, 42.4)
    assert "about 42 s, and this request would wait 5 s at most" in str(refused)


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"size_bytes": "x", "seconds": 1}]', "{}", "null"])
def test_a_damaged_file_is_written_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "loads.json"
    file.write_text(content)
    times = LoadTimes(file)
    assert times.expected_s(MIB) is None
    times.note(MIB, 1.0)
    times.keep()

    assert LoadTimes(file).expected_s(MIB) == 1.0


def test_what_cannot_be_true_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "loads.json"
    file.write_text('[{"size_bytes": 5, "seconds": -1.0}, {"size_bytes": 0, "seconds": 1.0}]')

    assert LoadTimes(file).expected_s(MIB) is None
