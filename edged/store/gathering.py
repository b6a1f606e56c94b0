"""Copying a file while its checksum is taken, in portions, so that neither memory nor the disk's queue fills up."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edged.errors import InvalidRequest
from edged.store.records import Piece

_PORTION_BYTES = 4 * 2**20
# What waits for the disk is bounded: a card that is handed gigabytes at once keeps every other reader waiting.
_SYNC_EVERY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Gathered:
    """A file in `models/partial/` that is all there. `descriptor` is open for as long as whoever made it says."""

    path: Path
    descriptor: int
    piece: Piece


def copy(source: int, size_bytes: int, target: int, moved: Callable[[int], None]) -> Piece:
    """Copy `size_bytes` from one descriptor to the other; `moved` hears how many bytes there are more, and may raise.

    Raises `InvalidRequest` where the source becomes shorter or cannot be read, `OSError` where writing fails.
    """
    digest, done, unsynced = sha256(), 0, 0
    while done < size_bytes:
        portion = _read(source, min(_PORTION_BYTES, size_bytes - done), done)
        digest.update(portion)
        write(target, portion)
        done, unsynced = done + len(portion), unsynced + len(portion)
        if unsynced >= _SYNC_EVERY_BYTES:
            os.fsync(target)
            unsynced = 0
            for descriptor in (source, target):  # the weights of a running model are to stay in memory, not these
                os.posix_fadvise(descriptor, 0, done, os.POSIX_FADV_DONTNEED)
        moved(len(portion))
    return Piece(digest.hexdigest(), done)


def counting(total_bytes: int, tell: Callable[[int, int], None]) -> Callable[[int], None]:
    """Who hears how many bytes there are more, and tells how many are done, and of how many."""
    done = 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total_bytes)

    return moved


def checksum(descriptor: int, moved: Callable[[int], None] = lambda count: None) -> Piece:
    """What is in the file. Raises `InvalidRequest` where it becomes shorter meanwhile or cannot be read."""
    digest, done, size_bytes = sha256(), 0, os.fstat(descriptor).st_size
    while done < size_bytes:
        portion = _read(descriptor, min(_PORTION_BYTES, size_bytes - done), done)
        digest.update(portion)
        done += len(portion)
        moved(len(portion))
    return Piece(digest.hexdigest(), done)


def write(target: int, data: bytes) -> None:
    """Write all of it. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[Path, int]]:
    """A new file in `folder` that is nobody's after a power cut; what has not been moved away on leaving is deleted."""
    path = folder / f"import-{secrets.token_hex(8)}.tmp"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # a daemon that starts now leaves it alone
        yield path, descriptor
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _read(source: int, count: int, offset: int) -> bytes:
    try:
        portion = os.pread(source, count, offset)
    except OSError as error:
        raise InvalidRequest(f"It cannot be read at byte {offset}: {error.strerror}.") from error
    if not portion:
        raise InvalidRequest(f"It became shorter while it was read: it ends at byte {offset}.")
    return portion
