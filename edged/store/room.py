"""Room on the disk: what may still be written, and clear words where there is none.

Some of every disk stays free. Logs, updates and state need it, and a device whose disk is full to the last byte fails
in ways that nobody connects with a download.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edged.errors import DiskFull

_MOST_RESERVED_BYTES = 2 * 2**30
_RESERVED_SHARE = 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Only a person makes room on a disk.
_RETRY_S = 60.0


def room_bytes(folder: Path, reserve_bytes: int | None = None) -> int:
    """How much may still be written there; below zero where the reserve is touched already. Raises `OSError`.

    A folder that is not there yet will be where its nearest parent is.
    """
    while True:
        try:
            found = os.statvfs(folder)
            break
        except FileNotFoundError:
            if folder == folder.parent:
                raise
            folder = folder.parent
    size_bytes = found.f_blocks * found.f_frsize
    reserve = min(_MOST_RESERVED_BYTES, size_bytes // _RESERVED_SHARE) if reserve_bytes is None else reserve_bytes
    return found.f_bavail * found.f_frsize - reserve


def check(folder: Path, wanted_bytes: int, reserve_bytes: int | None = None) -> None:
    """Whether so much may be written there; nothing always may. Raises `DiskFull`."""
    left = room_bytes(folder, reserve_bytes)
    if wanted_bytes > max(0, left):
        raise DiskFull(
            f"{_mb(wanted_bytes)} MB are to be written to {folder}, and there is room for {_mb(max(0, left))} MB. "
            "Delete a model or something else.",
            retry_after_s=_RETRY_S,
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Whoever writes there hears of a full disk as `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(f"{folder} takes nothing any more: {error.strerror}.", retry_after_s=_RETRY_S) from error


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"
