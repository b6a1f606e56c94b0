"""What the command line hears of a daemon that does not answer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edged import control


def test_who_is_slow_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        with pytest.raises(control.Silent, match="has not answered for"):
            control.ask(path, "/edged/v1/models/large", "DELETE", timeout_s=0.1)

    assert not control.is_running(path)
    with pytest.raises(control.NotRunning, match="Start one with scripts/run"):
        control.ask(path, "/healthz")
