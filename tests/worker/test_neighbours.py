"""What others use of this machine is what all use less what we use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edged.worker import neighbours as module
from edged.worker.neighbours import Neighbours, Sample, busy_s, cores_between

STAT = """cpu  300 40 60 900 5 1 2 3 0 0
cpu0 100 20 30 400 5 1 0 3 0 0
cpu1 200 20 30 500 0 0 2 0 0 0
intr 1 2 3
"""


def test_busy_time_is_that_of_the_allowed_processors_without_waiting_and_idleness() -> None:
    assert busy_s(STAT, {"cpu0"}) == pytest.approx(1.54)
    assert busy_s(STAT, {"cpu0", "cpu1"}) == pytest.approx(1.54 + 2.52)


def test_our_own_time_is_taken_off() -> None:
    assert cores_between(Sample(10, 100, 50), Sample(12, 104, 51)) == 1.5


def test_more_own_time_than_was_counted_is_nobody_else() -> None:
    assert cores_between(Sample(0, 0, 0), Sample(1, 0.98, 1.0)) == 0


def test_too_soon_after_the_last_look_nothing_is_known() -> None:
    assert Neighbours().cores() is None


def test_what_others_did_while_we_rested_is_not_held_against_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(at_s: float, busy_s: float) -> None:
        processor = f"cpu{min(os.sched_getaffinity(0))}"
        (tmp_path / "stat").write_text(f"{processor} {int(busy_s * os.sysconf('SC_CLK_TCK'))} 0 0 0 0 0 0 0\n")
        monkeypatch.setattr(module, "perf_counter", lambda: at_s)

    monkeypatch.setattr(module, "_PROC", tmp_path)
    machine(0, 0)
    rested, worked = Neighbours(), Neighbours()
    machine(100, 90)
    rested.begin()
    machine(101, 90)

    assert worked.cores() == pytest.approx(90 / 101, abs=0.2)
    assert rested.cores() == pytest.approx(0, abs=0.2)


def test_what_siblings_use_is_not_a_neighbours() -> None:
    assert cores_between(Sample(0, 0, 0, {7: 1.0}), Sample(1, 2, 0.5, {7: 2.0})) == 0.5
    assert cores_between(Sample(0, 0, 0, {7: 1.0}), Sample(1, 2, 0.5, {8: 90.0})) == 1.5, "gone, and another came"


def test_the_time_of_a_sibling_is_read_from_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(module, "_PROC", tmp_path)
    processor = f"cpu{min(os.sched_getaffinity(0))}"

    def machine(at_s: float, busy_s: int, sibling_s: int) -> None:
        (tmp_path / "stat").write_text(f"{processor} {busy_s * ticks} 0 0 0 0 0 0 0\n")
        (tmp_path / "7").mkdir(exist_ok=True)
        used = f"{sibling_s * ticks} 0"
        (tmp_path / "7/stat").write_text(f"7 (a (strange) name) S 1 1 1 0 -1 0 0 0 0 0 {used} 0 0 20 0 3\n")
        monkeypatch.setattr(module, "perf_counter", lambda: at_s)

    machine(0, 0, 0)
    neighbours = Neighbours()
    neighbours.ignore([7, 8])
    machine(10, 15, 10)

    assert neighbours.cores() == pytest.approx(0.5, abs=0.1)
