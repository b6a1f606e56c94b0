"""`edged pull` tells what becomes of a model, whatever becomes of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import control
from edged.__main__ import main

PULL = {"id": "a", "name": "tiny", "reference": "tiny", "state": "queued", "done_bytes": 0, "total_bytes": None}


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_daemon_that_stops_meanwhile_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_broken: bool
) -> None:
    def follow(*_: Any) -> Iterator[dict[str, Any]]:
        yield PULL | {"state": "fetching"}
        if is_broken:
            raise control.NotRunning("Nobody is there.")

    monkeypatch.setattr(control, "ask", lambda *_: PULL)
    monkeypatch.setattr(control, "follow", follow)

    assert main(["pull", "tiny", "--state-dir", str(tmp_path)]) == 1
    assert "The daemon stopped; tiny goes on when it starts again: edged pull" in capsys.readouterr().err
