"""A sealed process leaves nothing behind, and nobody of its user looks into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEALED = """
import ctypes, resource, sys
from pathlib import Path
from edged.host.sealing import seal
from edged.worker.confine import confine
{"seal": seal, "confine": confine}[sys.argv[1]]()
Path(sys.argv[2]).write_text("state")
print(ctypes.CDLL(None).prctl(3), *resource.getrlimit(resource.RLIMIT_CORE))  # PR_GET_DUMPABLE
"""


def sealed(by: str, file: Path) -> str:
    """What a process says that has given this up, and has written `file`."""
    command = [sys.executable, "-c", SEALED, by, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True, umask=0).stdout


def test_the_daemon_cannot_be_dumped_and_what_it_writes_is_its_owners(tmp_path: Path) -> None:
    assert sealed("seal", tmp_path / "file") == "0 0 0\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_nor_can_what_holds_conversations(tmp_path: Path) -> None:
    assert sealed("confine", tmp_path / "file") == "0 0 0\n"
