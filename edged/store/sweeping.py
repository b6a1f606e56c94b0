"""What a run that ended in the middle has left behind: temporary files that nobody holds any more."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edged.store import names

# What pulls and uploads go on from.
_KEPT = (".part", ".json")


def temporaries(records: Path, partials: Path) -> None:
    """Delete them in both folders. Raises `OSError`."""
    for path in records.iterdir():
        if names.name_of(path.name) is None and not path.is_dir():
            path.unlink(missing_ok=True)
    for path in partials.iterdir():
        if not path.name.endswith(_KEPT) and _is_left(path):
            path.unlink(missing_ok=True)


def second_names(partials: Path, blobs: Path) -> None:
    """Delete what is on its way and a blob as well: one file, which nobody may write to any more. Raises `OSError`."""
    whole = {(status.st_dev, status.st_ino) for status in map(os.lstat, blobs.iterdir())}
    for path in partials.iterdir():
        status = os.lstat(path)
        if status.st_nlink > 1 and (status.st_dev, status.st_ino) in whole:
            path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether it is a file that no living process writes: who does holds a lock on it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return path.is_file()
    finally:
        os.close(descriptor)
