"""A device for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.home import Home, home


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Home]:
    """One that others can reach and nobody owns yet."""
    with home(tmp_path / "edged.db") as found:
        yield found
