"""`edged pull` tells what becomes of a model, whatever becomes of the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edged.__main__ import main
from tests.commands.cut_short import answer, saying, stream

PULL: dict[str, Any] = {
    "id": "a", "name": "tiny", "reference": "tiny", "state": "queued", "done_bytes": 0, "total_bytes": None,
    "reason": "", "verified": True,
}  # fmt: skip
DONE = PULL | {"state": "done", "done_bytes": 8, "total_bytes": 8}
STREAM = stream([PULL, PULL | {"state": "fetching"}, DONE])
LAST = STREAM.rindex(b"data: ")


def test_a_daemon_that_stops_at_any_byte_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    for cut_at in (*range(0, LAST, 7), LAST, len(STREAM) - 10, len(STREAM)):
        with saying(tmp_path / "edged.sock", answer(PULL), STREAM[:cut_at]):
            ended = main(["pull", "tiny", "--state-dir", str(tmp_path)])
        told = capsys.readouterr()
        if cut_at == len(STREAM):
            assert (ended, told.err) == (0, "")
            assert "tiny is installed: 8 B, checksum verified." in told.out
        else:
            assert ended == 1, cut_at
            assert "The daemon stopped; tiny goes on when it starts again: edged pull" in told.err, cut_at
