"""Files that a power cut leaves as they were or as they should become, never in between.

temporary file ─▶ fsync ─▶ rename ─▶ fsync of the folder

A name is on the disk when its folder was synced, and the folder when its own one was; what a file holds is a matter of
its own. So whoever acts on what was written first waits for both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


def write(file: Path, text: str) -> None:
    """Replace the content of `file`; it and its folder are for their owner alone. Raises `OSError`."""
    make_folder(file.parent)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(descriptor, "w") as output:
            output.write(text)
            output.flush()
            os.fsync(output.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def publish(descriptor: int, temporary: Path, file: Path) -> None:
    """Make what was written to `descriptor`, the open `temporary`, the content of `file`. Raises `OSError`."""
    os.fsync(descriptor)
    temporary.replace(file)
    sync_folder(file.parent)
    if temporary.parent != file.parent:
        sync_folder(temporary.parent)


def remove(file: Path) -> None:
    """Have `file` gone for good; one that is not there is. Raises `OSError`."""
    file.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # no folder, no name in it
        sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Have `folder`, with all above it, on the disk; it is for its owner alone. Raises `OSError`."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
