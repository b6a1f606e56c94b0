"""One line says what a measurement of speed depends on: another board or power mode is another line."""

from __future__ import annotations

import re
from pathlib import Path

from edged.host.hardware import features, identity


def board(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
PI = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd0b\n",
    f"{CPUFREQ}/scaling_governor": "ondemand\n",
    f"{CPUFREQ}/scaling_max_freq": "2400000\n",
}


def test_a_board_is_named_with_its_processor_and_power_mode(tmp_path: Path) -> None:
    said = identity(board(tmp_path, PI))

    assert said.startswith("Raspberry Pi 5 Model B Rev 1.0 | 0xd0b | ")
    assert said.endswith("cores | ondemand 2400000")


def test_another_power_mode_is_another_machine(tmp_path: Path) -> None:
    full = identity(board(tmp_path / "full", PI))
    saving = identity(board(tmp_path / "saving", PI | {f"{CPUFREQ}/scaling_max_freq": "1500000\n"}))

    assert full != saving


def test_a_machine_that_says_nothing_still_has_a_name(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d+ cores", identity(tmp_path))


def test_what_a_processor_offers_is_in_the_kernels_words_on_both_kinds(tmp_path: Path) -> None:
    arm = board(tmp_path / "arm", {"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\n"})
    x86 = board(tmp_path / "x86", {"proc/cpuinfo": "flags\t\t: fpu avx2\nbugs\t\t: none\n"})

    assert features(arm) == {"fp", "asimd", "asimddp"}
    assert features(x86) == {"fpu", "avx2"}
    assert features(tmp_path / "nothing") == frozenset()
