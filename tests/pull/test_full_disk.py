"""A disk that fills up at any byte (attack F6) costs a pull, and neither the partial nor the next pull."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_disk import counted, needs_mounting


@needs_mounting
@pytest.mark.own_loop
def test_a_disk_that_fills_up_at_any_byte_costs_one_pull_and_nothing_else(tmp_path: Path) -> None:
    rounds, kept = counted("tests.pull.full_disk", tmp_path, within_s=55)
    assert rounds >= 36
    assert kept >= 12
