"""What a load took is remembered for the same file on the same machine, as far as it can be true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edged.local.calibration import Calibration
from edged.local.needs import UNLEARNED, Learned
from edged.store import ModelFile

MIB = 2**20
MODEL = ModelFile("m", Path("/models/m.gguf"), 2**30, 1)
FOUND = Learned(1.0, 1.25, 0.9, 70 * MIB)


def test_it_survives_a_restart_and_is_about_one_file_and_machine(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "memory.json"
    Calibration(file, "Pi 5").remember(MODEL, FOUND)

    assert Calibration(file, "Pi 5").known(MODEL) == FOUND
    assert Calibration(file, "Pi 4").known(MODEL) == UNLEARNED
    assert Calibration(file, "Pi 5").known(replace(MODEL, modified_s=2)) == UNLEARNED


@pytest.mark.parametrize("text", ["", "[]", "null", '{"m": {"weights": 1e9}}', '{"m": {"cells": "x"}}'])
def test_a_damaged_file_is_written_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "memory.json"
    file.write_text(text)
    calibration = Calibration(file, "Pi 5")

    assert calibration.known(MODEL) == UNLEARNED
    calibration.remember(MODEL, FOUND)
    assert Calibration(file, "Pi 5").known(MODEL) == FOUND


@pytest.mark.parametrize(
    "learned",
    [Learned(cells=float("inf")), Learned(weights=float("nan")), Learned(missing_bytes=-1)],
)
def test_what_is_no_number_is_not_kept(tmp_path: Path, learned: Learned) -> None:
    calibration = Calibration(tmp_path / "memory.json", "Pi 5")
    calibration.remember(MODEL, learned)

    assert calibration.known(MODEL) == UNLEARNED


@pytest.mark.parametrize(
    ("learned", "kept"),
    [
        (Learned(cells=0.01, compute=1.25), Learned(cells=0.5, compute=1.25)),
        (Learned(compute=100, weights=1.01), Learned(compute=4.0, weights=1.01)),
        (Learned(cells=1.5, process_bytes=1), Learned(cells=1.5, process_bytes=16 * MIB)),
    ],
)
def test_what_is_far_off_is_cut_and_the_rest_kept(tmp_path: Path, learned: Learned, kept: Learned) -> None:
    calibration = Calibration(tmp_path / "memory.json", "Pi 5")
    calibration.remember(MODEL, learned)

    assert calibration.known(MODEL) == kept
    assert Calibration(tmp_path / "memory.json", "Pi 5").known(MODEL) == kept


def test_what_was_missing_is_forgotten_by_halves(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "memory.json", "Pi 5")
    calibration.note_failure(MODEL, 4 * MIB)

    left = []
    for _ in range(3):
        calibration.note_success(MODEL, FOUND)
        left.append(calibration.known(MODEL).missing_bytes // MIB)
    assert left == [2, 1, 0]


def test_what_was_missing_is_forgotten_by_the_next_daemon(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    calibration = Calibration(file, "Pi 5")
    calibration.note_success(MODEL, FOUND)
    calibration.note_failure(MODEL, 4 * MIB)

    assert calibration.known(MODEL) == replace(FOUND, missing_bytes=4 * MIB)
    assert Calibration(file, "Pi 5").known(MODEL) == FOUND


def test_it_holds_so_many_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    calibration = Calibration(file, "Pi 5")
    models = [replace(MODEL, name=f"m{number}") for number in range(70)]
    for model in models:
        calibration.remember(model, FOUND)

    known = [model.name for model in models if Calibration(file, "Pi 5").known(model) == FOUND]
    assert known == [model.name for model in models[6:]]


def test_loads_that_end_together_are_all_remembered(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    calibration = Calibration(file, "Pi 5")
    models = [replace(MODEL, name=f"m{number}") for number in range(60)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda model: calibration.note_success(model, FOUND), models))

    again = Calibration(file, "Pi 5")
    assert all(again.known(model) == FOUND for model in models)
