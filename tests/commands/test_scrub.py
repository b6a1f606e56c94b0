"""`edged scrub` says what it knows in the end, whatever becomes of the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edged.__main__ import main
from tests.commands.cut_short import answer, saying, stream

GOOD = {"name": "a", "state": "good", "done_bytes": 8, "size_bytes": 8, "message": ""}
BEGUN: dict[str, Any] = {"running": True, "failed": "", "models": []}
STREAM = stream([BEGUN, BEGUN | {"models": [GOOD]}, {"running": False, "failed": "", "models": [GOOD]}])
LAST = STREAM.rindex(b"data: ")


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return tmp_path / "edged.sock"


def scrub(control: Path, said: bytes, *words: str) -> int:
    with saying(control, answer(BEGUN), said):
        return main(["scrub", "--state-dir", str(control.parent), *words])


def test_a_daemon_that_stops_at_any_byte_is_told_with_what_it_had_found(
    control: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cut_at in (*range(0, LAST, 7), LAST, len(STREAM) - 10):
        assert scrub(control, STREAM[:cut_at]) == 1, cut_at
        told = capsys.readouterr()
        assert "The daemon stopped before everything was checked" in " ".join(told.out.split()), cut_at
        assert told.err == ""


def test_programs_are_told_so_in_json(control: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrub(control, STREAM[:LAST], "--json") == 1
    body = json.loads(capsys.readouterr().out)
    assert (body["running"], body["models"]) == (False, [GOOD])
    assert body["failed"].startswith("The daemon stopped")


def test_what_was_checked_to_its_end_is_well_though_the_daemon_stops_then(
    control: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cut_at in (len(STREAM), len(STREAM) - 3):
        assert scrub(control, STREAM[:cut_at]) == 0, cut_at
        assert "stopped" not in capsys.readouterr().out


def test_without_a_daemon_it_is_said_how_to_start_one(control: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scrub", "--state-dir", str(control.parent)]) == 1
    assert "No edged is running" in capsys.readouterr().err
