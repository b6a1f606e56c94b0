"""What was measured is remembered for the same model on the same machine; who guesses ahead follows from the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edged.config import Engine
from edged.host.memory import total_bytes
from edged.local.tuning import ChosenDrafter, Loading, Tuning, choose_drafter, snapshot_bytes
from edged.store import ModelFile
from edged.wire import Tuned

GIB = 2**30
MODEL = ModelFile("m", Path("/models/m.gguf"), 2 * GIB, 1)
READ = Loading(maps_file=False, repacks=True)
FOUND = Tuned(2, (1, 2, 4), (0.02, 0.03, 0.04))


SMALL = ModelFile("small", Path("/models/small.gguf"), GIB // 2, 1)


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        (None, MODEL, ""),
        ("m", MODEL, ""),  # nobody guesses for himself
        ("small", replace(MODEL, made_for="vectors"), ""),
        ("lost", MODEL, "draft_model = 'lost': no such model"),
        ("m", SMALL, ""),  # who is no smaller would only slow it down
    ],
)
def test_a_smaller_model_that_is_not_used_says_why(name: str | None, model: ModelFile, expected: str) -> None:
    found = choose_drafter(model, name, [MODEL, SMALL])

    assert found.drafter is None
    assert expected in found.problem
    assert bool(expected) == bool(found.problem)


def test_a_smaller_model_with_a_damaged_file_is_not_used() -> None:
    damaged = replace(SMALL, made_for=None, problem="it is cut off.")
    found = choose_drafter(MODEL, "small", [MODEL, damaged])

    assert found == ChosenDrafter(problem="The file of model small cannot be loaded: it is cut off.")


def test_a_sound_smaller_model_is_chosen() -> None:
    assert choose_drafter(MODEL, "small", [MODEL, SMALL]) == ChosenDrafter(SMALL)


def test_conversations_outside_of_the_context_get_what_is_set_or_a_share_of_the_memory() -> None:
    assert snapshot_bytes(Engine(snapshot_bytes=1000)) == 1000
    assert snapshot_bytes(Engine(snapshot_bytes=1000), among=2) == 500
    assert 0 < snapshot_bytes(Engine()) <= total_bytes() / 16


def test_a_measurement_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "tuning.json"
    Tuning(file, "Pi 5").remember(MODEL, READ, 4, FOUND)

    assert Tuning(file, "Pi 5").known(MODEL, READ, 4) == FOUND


def test_another_machine_model_or_number_of_cores_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "tuning.json"
    Tuning(file, "Pi 5").remember(MODEL, READ, 4, FOUND)

    assert Tuning(file, "Pi 5, 1500 MHz").known(MODEL, READ, 4) == Tuned()
    assert Tuning(file, "Pi 5").known(MODEL, READ, 3) == Tuned()
    assert Tuning(file, "Pi 5").known(MODEL, Loading(maps_file=True, repacks=False), 4) == Tuned()
    assert Tuning(file, "Pi 5").known(ModelFile("m", MODEL.path, 2 * GIB, 2), READ, 4) == Tuned()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"a": "b"}',
        '{"a": 3}',
        '{"a": {"decode_threads": 0, "rows": [], "rows_s": [], "depth_tokens": 0, "deep_rows_s": []}}',
        '{"a": {"decode_threads": 1}}',
    ],
)
def test_a_damaged_file_is_told_and_written_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tuning.json"
    file.write_text(text)
    tuning = Tuning(file, "Pi 5")
    assert "is not used" in caplog.text

    tuning.remember(MODEL, READ, 4, FOUND)
    assert Tuning(file, "Pi 5").known(MODEL, READ, 4) == FOUND


def test_only_the_newest_measurements_are_kept(tmp_path: Path) -> None:
    tuning = Tuning(tmp_path / "tuning.json", "Pi 5")
    for modified_s in range(100):
        tuning.remember(ModelFile("m", MODEL.path, 1, modified_s), READ, 4, FOUND)

    assert tuning.known(ModelFile("m", MODEL.path, 1, 0), READ, 4) == Tuned()
    assert tuning.known(ModelFile("m", MODEL.path, 1, 99), READ, 4) == FOUND


@pytest.mark.parametrize(
    "tuned",
    [
        Tuned(0),
        Tuned(None, (1, 2), (0.1,)),
        Tuned(None, (0,), (0.1,)),
        Tuned(None, (1,), (-0.1,)),
        Tuned(None, (1,), (0.1,), 100, (0.1, 0.2)),
        Tuned(None, (1,), (0.1,), 0, (0.2,)),
    ],
)
def test_what_cannot_be_true_is_not_kept(tmp_path: Path, tuned: Tuned) -> None:
    tuning = Tuning(tmp_path / "tuning.json", "Pi 5")
    tuning.remember(MODEL, READ, 4, FOUND)
    tuning.remember(MODEL, READ, 4, tuned)

    assert tuning.known(MODEL, READ, 4) == FOUND
