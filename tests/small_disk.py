"""Programs with a small disk of their own that may fill up: mounted in a namespace that ends with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def may_mount() -> bool:
    """Whether this process may have a mount namespace of its own, and mount in it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([unshare, "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0


needs_mounting = pytest.mark.skipif(
    not may_mount(), reason="a small disk to fill takes a mount namespace, and that root"
)


def counted(program: str, folder: Path, within_s: float) -> tuple[int, int]:
    """The two numbers that a program of ours prints that fills a disk in `folder`, and found all in order."""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", program, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = map(int, done.stdout.split())
    return first, second
