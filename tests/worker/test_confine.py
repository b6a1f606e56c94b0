"""What a child has given up it cannot take back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITES_MORE = """
import sys
from edged.worker.confine import limit_files
limit_files(1000)
with open(sys.argv[1], "wb", buffering=0) as file:
    assert file.write(bytes(1500)) == 1000
    try:
        file.write(b"more")
    except OSError as error:
        print(error.strerror)
"""


def test_no_file_that_a_worker_writes_grows_past_its_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES_MORE, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "File too large\n"
    assert (tmp_path / "file").stat().st_size == 1000
