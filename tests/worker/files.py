"""Files without a disk, as a worker gets them: by their descriptor."""

from __future__ import annotations

import os

from edged.worker.prefix_file import pieces
from edged.worker.prefixes import Snapshot


def a_file(content: bytes = b"") -> int:
    """A descriptor of a file with `content`, which is nowhere else and the caller's to close."""
    descriptor = os.memfd_create("prefix")
    os.write(descriptor, content)
    return descriptor


def a_file_of(snapshot: Snapshot, identity: bytes) -> int:
    """The file that a worker would write of `snapshot`."""
    return a_file(b"".join(pieces(snapshot, identity)))


def content_of(descriptor: int) -> bytes:
    """Everything in the file."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
