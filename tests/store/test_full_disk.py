"""A disk that fills up at any page costs an import or an upload, and nothing that is there, nor the next try."""

from __future__ import annotations

from pathlib import Path

from tests.small_disk import counted, needs_mounting


@needs_mounting
def test_a_disk_that_fills_up_at_any_page_costs_one_try_and_nothing_else(tmp_path: Path) -> None:
    rounds, failed = counted("tests.store.full_disk", tmp_path, within_s=50)
    assert rounds >= 60
    assert rounds > failed >= 40
