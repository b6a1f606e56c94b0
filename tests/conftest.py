"""What the tests against a whole daemon share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from blockbuster import blockbuster_ctx

from tests.asking import synthetic_tiny
from tests.daemon_process import DaemonProcess, running


class StartDaemon(Protocol):
    """Starts a daemon for one test; the options are those of `daemon_process.running`."""

    def __call__(
        self,
        models: dict[str, Path] | None = None,
        config: str = "",
        environment: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        *,
        wait: bool = True,
    ) -> DaemonProcess: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the long tests are: as they stand in the suite, or as far as somebody wants to go."""
    parser.addoption("--samples", type=int, default=3, help="answers for each JSON schema; 20 take minutes")
    parser.addoption("--load-s", type=float, default=20, help="how long clients crowd in; 300 take six minutes")
    parser.addoption(
        "--states", type=int, default=150, help="states after a power cut; 5000 take minutes (--timeout 900)"
    )


@pytest.fixture(autouse=True)
def _nothing_blocks_the_event_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A call of ours that blocks while an event loop runs raises: everybody else's words would wait for it.

    Tests of commands that have a loop to themselves are marked `own_loop`.
    """
    if request.node.get_closest_marker("own_loop"):
        yield
        return
    with blockbuster_ctx(["edged"]) as blockbuster:
        for call in blockbuster.functions.values():
            call.can_block_in("edged/api/page.py", {"assets"})  # at the start and the end, when nobody is served
            call.can_block_in("tests/daemon_process.py", {"get", "_owners_key"})  # its owner is a process of its own
            call.can_block_in("tests/api/shelves.py", {"_access"})  # before anybody is served
            call.can_block_in("edged/api/listening.py", {"_owners_socket"})
            call.can_block_in("edged/local/loading.py", {"load"})  # opens files, once for each model
            call.can_block_in("edged/local/residents.py", {"_load"})  # looks for a GPU, which is memory as well
            call.can_block_in("edged/host/memory.py", {"available_bytes", "own_bytes"})  # /proc and cgroups are memory
            call.can_block_in("edged/host/cpu.py", {"usable_cores"})
            call.can_block_in("edged/local/loads.py", {"__init__"})  # once, before anybody is served
            call.can_block_in("psutil/_pslinux.py", {"_parse_stat_file"})  # /proc is memory
        yield


@pytest.fixture(scope="session")
def tiny() -> Iterator[Path]:
    """The file of a model that talks noise, fast, for as long as it is asked to; greedily it never ends by itself."""
    with tempfile.TemporaryDirectory(prefix="edged-test-") as folder:
        yield synthetic_tiny(Path(folder))


@pytest.fixture
def start_daemon() -> Iterator[StartDaemon]:
    """Daemons that live as long as the test and must end cleanly with it."""
    with ExitStack() as daemons:

        def start(
            models: dict[str, Path] | None = None,
            config: str = "",
            environment: dict[str, str] | None = None,
            arguments: tuple[str, ...] = (),
            *,
            wait: bool = True,
        ) -> DaemonProcess:
            return daemons.enter_context(running(models, config, environment, arguments, wait=wait))

        yield start
