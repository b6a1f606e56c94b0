"""One daemon with the real built-in model for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon_process import DaemonProcess, running


@pytest.fixture(scope="session")
def edged_daemon() -> Iterator[DaemonProcess]:
    """A daemon as a process, in its default configuration but for the port, that answers with `guide`."""
    with running() as daemon:
        yield daemon
