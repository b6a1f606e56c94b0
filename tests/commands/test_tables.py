"""The pictures of models, on wide and narrow terminals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from edged.advice.adviser import body
from edged.advice.choice import Device, Found, guessed_bytes, judge
from edged.catalogue import entries
from edged.commands.scrub import is_well
from edged.commands.tables import Recommended, installed, installed_body, pulls, scrubbed
from edged.store import ModelFile

BOARD = Device(int(7.2 * 2**30), 40 * 2**30, 11e9, line_bytes_per_s=6e6)
ALL = {entry.reference: Found(guessed_bytes(entry), "2026-11-20") for entry in entries()}


def shown(picture: RenderableType, width: int) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(picture)
    return captured.get()


def advice(found: dict[str, Found], device: Device = BOARD, installed: tuple[str, ...] = ()) -> dict[str, Any]:
    return body(judge(entries(), found, device, installed), device)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_entry_is_there_with_its_reason_and_the_best_comes_first(width: int) -> None:
    told = advice(ALL)
    text = shown(Recommended(told), width)

    words = " ".join(text.split())
    assert all(len(line) <= width for line in text.splitlines())
    assert text.index(told["best"]["chat"]) < text.index("qwen3-0.6b")
    assert words.endswith(f"Get it: edged pull {told['best']['chat']}")
    if width != 120:  # where a reason has a column of its own, its words are between those of other columns
        for model in told["models"]:
            assert model["name"] in words
            assert width == 200 or model["reason"] in words


def test_without_the_hub_it_is_said_what_to_do() -> None:
    text = " ".join(shown(Recommended(advice({})), 80).split())
    assert "Nothing can be recommended" in text
    assert "edged import FILE" in text
    assert "about 1.22 GB" in text


def test_what_is_installed_needs_no_pull() -> None:
    best = next(model for model in advice(ALL)["models"] if model["verdict"] == "best")
    assert f"{best['name']} is installed." in shown(Recommended(advice(ALL, installed=(best["reference"],))), 80)


def test_a_speed_that_was_not_measured_is_no_number() -> None:
    text = shown(Recommended(advice(ALL, Device(BOARD.memory_bytes, BOARD.disk_bytes))), 80)
    assert "?" in text
    assert "speed unknown" in text


def test_downloads_are_listed_with_what_strangers_say_of_them() -> None:
    pull: dict[str, Any] = {
        "id": "5", "reference": "a", "name": "a", "state": "failed", "total_bytes": None, "done_bytes": 0,
        "reason": "", "message": "[/INST] is no model.",
    }  # fmt: skip
    assert "failed: [/INST] is no model." in shown(pulls({"pulls": [pull]}), 80)
    assert "\x1b" not in shown(pulls({"pulls": [pull | {"message": "\x1b[2J"}]}), 80)
    going = pull | {"state": "fetching", "total_bytes": 200_000_000, "done_bytes": 50_000_000}
    assert "fetching, 25% of 200 MB" in shown(pulls({"pulls": [going]}), 80)
    assert "Nothing is being fetched" in shown(pulls({"pulls": []}), 80)


def test_what_is_bad_cannot_be_overlooked() -> None:
    bad = {"name": "[b]a[/b]", "state": "bad", "message": "Another SHA-256; import it again."}
    text = shown(scrubbed({"failed": "", "models": [bad, {"name": "c", "state": "good", "message": ""}]}), 80)
    assert "BAD   [b]a[/b]" in text
    assert "import it again" in text
    assert "as it was" in text
    assert "nothing to check" in shown(scrubbed({"failed": "", "models": []}), 80)


@pytest.mark.parametrize(("states", "failed", "expected"), [
    (("good", "mended"), "", True), (("good", "bad"), "", False), (("unchecked",), "", False),
    (("replaced",), "", False), (("checking",), "", False), (("good",), "The check ended early.", False),
    ((), "", True), ((), "The check ended early.", False),
])  # fmt: skip
def test_a_check_is_well_only_where_all_of_it_was_done(states: tuple[str, ...], failed: str, expected: bool) -> None:
    body = {"failed": failed, "models": [{"name": "a", "state": state, "message": ""} for state in states]}
    assert is_well(body) is expected
    assert failed in shown(scrubbed(body), 80)


def test_why_a_model_cannot_be_loaded_is_shown_as_it_is() -> None:
    bent = ModelFile("bent", Path("/bent.gguf"), 5, 0, None, problem="the entry '[/INST]' is of kind 99.")
    text = shown(installed([bent], "guide"), 200)

    assert "unreadable" in text
    assert "the entry '[/INST]' is of kind 99." in text
    assert installed_body(bent, "guide")["problem"] == bent.problem
    assert installed_body(ModelFile("m", Path("/m.gguf"), 5, 0), "m")["problem"] is None
