"""Opening what lies in a folder that others can write to: no link is followed, nothing but a regular file is opened.

Each step is opened from the one before (`openat`), so that nothing can be exchanged between the look and the use: what
is asked afterwards is asked of the descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

# A folder, and the steps below it.
Place: TypeAlias = tuple[Path, tuple[str, ...]]


def open_file(folder: Path, *steps: str, is_ours: bool = False) -> int:
    """A read-only descriptor of the regular file `steps` below `folder`, which alone may be a link. Raises `OSError`.

    `is_ours` refuses a file of a user who owns neither this process nor the folder, and could change it after every
    check.
    """
    at = os.open(folder, _FOLDER)
    owners = {0, os.geteuid(), os.fstat(at).st_uid}
    try:
        for step in steps[:-1]:
            inner = os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        descriptor = os.open(steps[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        problem = OSError(errno.EINVAL, "it is no regular file")
    elif is_ours and status.st_uid not in owners:
        problem = PermissionError(errno.EPERM, f"it belongs to another user ({status.st_uid})")
    else:
        return descriptor
    os.close(descriptor)
    raise problem


@contextmanager
def opened(files: Sequence[Place], *, is_ours: bool = False) -> Iterator[tuple[int, ...]]:
    """Descriptors of several files; closed on leaving. Raises `OSError`."""
    with ExitStack() as undo:
        descriptors = []
        for folder, steps in files:
            descriptors.append(open_file(folder, *steps, is_ours=is_ours))
            undo.callback(os.close, descriptors[-1])
        yield tuple(descriptors)
