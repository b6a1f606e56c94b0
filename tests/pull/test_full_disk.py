"""A disk that fills up at any byte (attack F6) costs a pull, and neither the partial nor the next pull."""

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
@pytest.mark.own_loop
def test_a_disk_that_fills_up_at_any_byte_costs_one_pull_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.pull.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rounds, kept = map(int, done.stdout.split())
    assert rounds >= 36
    assert kept >= 12
