"""When the machine was not itself."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import machine
from benchmarks.peers.machine import Condition

CALM = Condition(3, frozenset(), 100, 10_000, 0.010)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (replace(CALM, throttle_events=5), "throttled 2 times"),
        (replace(CALM, signs=frozenset({"undervoltage"})), "undervoltage"),
        (replace(CALM, stolen_ticks=200, all_ticks=11_000), "10%"),
        (replace(CALM, arithmetic_s=0.013), r"\+30%"),
        (replace(CALM, arithmetic_s=0.008), "-20%"),
    ],
)
def test_whatever_changed_the_speed_is_named(after: Condition, reason: str) -> None:
    assert re.search(reason, machine.disturbance(CALM, after))


def test_a_calm_machine_has_no_reason() -> None:
    assert machine.disturbance(CALM, replace(CALM, stolen_ticks=110, all_ticks=20_000, arithmetic_s=0.0105)) == ""


def test_a_board_is_asked_for_its_own_signs(tmp_path: Path) -> None:
    system, processes = tmp_path / "sys", tmp_path / "proc"
    for core in range(2):
        folder = system / f"devices/system/cpu/cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text("4\n")
    firmware = system / "devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50005\n")  # throttled and too little voltage, now and before
    processes.mkdir()
    (processes / "stat").write_text("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n")

    found = machine.condition(system, processes)

    assert (found.throttle_events, found.stolen_ticks, found.all_ticks) == (8, 8, 36)
    assert found.signs == {"undervoltage", "throttled"}
    assert found.arithmetic_s > 0


def test_this_machine_can_be_asked() -> None:
    assert machine.condition().all_ticks > 0
