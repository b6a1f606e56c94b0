"""What a person sees in the terminal, whatever strangers' files say."""

from __future__ import annotations

from typing import Any

import pytest

from edged.console import status_table, terminal

RESIDENT: dict[str, Any] = {
    "model": "m", "state": "ready", "progress": 1.0, "busy": 0, "slots": 8, "context_tokens": 64,
    "description": "llama 1B Q4_0", "completion_tokens": 10, "step_s": 1.0, "problem": None,
    "draft_model": None, "draft_problem": None,
}  # fmt: skip


def shown(**facts: Any) -> str:
    status = {"version": "1", "uptime_s": 5.0, "addresses": ["http://x"], "running": 0, "queued": 0}
    console = terminal()
    console.width = 200
    with console.capture() as captured:
        console.print(status_table({**status, "default_model": "m", "residents": [{**RESIDENT, **facts}]}))
    return captured.get()


@pytest.mark.parametrize(
    "reason", ["token 5 is b'[/INST]' and not b'</s>'", "[engine] draft_model: no such model", "12:AB:CD:34"]
)
@pytest.mark.parametrize("kind", ["problem", "draft_problem"])
def test_reasons_are_shown_as_they_are(kind: str, reason: str) -> None:
    assert reason in shown(**{kind: reason})


def test_the_smaller_model_is_named() -> None:
    assert "guesses by small" in shown(draft_model="small")
    assert "guesses" not in shown()
