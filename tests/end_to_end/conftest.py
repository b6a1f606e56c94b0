"""The daemons that the tests of this folder share: one with the real built-in model, one with all kinds of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import synthetic
from tests.daemon_process import DaemonProcess, running


@pytest.fixture(scope="session")
def edged_daemon() -> Iterator[DaemonProcess]:
    """A daemon as a process, in its default configuration but for the port, that answers with `guide`."""
    with running() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def all_kinds(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with models of random weights, all of them in memory at once.

    `tiny` talks without end, `caller` knows tools, `thinker` tools and thoughts (once it thinks it never stops),
    `filler` fills gaps, and `bert` makes vectors.
    """
    folder = tmp_path_factory.mktemp("models")
    shapes = {"filler": "tiny-filler", "caller": "tiny-caller", "thinker": "tiny-thinker", "bert": "tiny-bert"}
    models = {name: synthetic.build(shape, "Q8_0", folder) for name, shape in shapes.items()}
    with running({"tiny": tiny, **models}, '[models]\ndefault = "tiny"\n[engine]\nresident_models = 6\n') as daemon:
        yield daemon
