"""A disk that fills up at any page costs an import or an upload, and nothing that is there, nor the next try."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def may_mount() -> bool:
    """Whether this process may have a mount namespace of its own, and mount in it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([unshare, "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="a small disk to fill takes a mount namespace, and that root")
def test_a_disk_that_fills_up_at_any_page_costs_one_try_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.store.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rounds, failed = map(int, done.stdout.split())
    assert rounds >= 60
    assert rounds > failed >= 40
