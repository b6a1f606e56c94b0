"""A model onto a stick: its files, and a manifest that tells what they are, for a place without internet.

The files come first and the manifest last, each under another name until it is on the disk. Nothing is asked of the
file system but names, bytes and renames: FAT has no owners, no modes, no links and no colons.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edged import durable
from edged.errors import ChecksumMismatch, InvalidRequest
from edged.store import gathering, loose, manifest, room
from edged.store.door import Store
from edged.store.opening import open_file
from edged.store.records import Piece, Record

# A file on FAT32 has a size of 32 bits.
_FAT = ("vfat", "msdos")
_LARGEST_ON_FAT = 2**32 - 1
_MOUNTS = Path("/proc/self/mountinfo")


def export_model(
    store: Store, name: str, directory: Path, tell: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Write the model called `name` into `directory`; the paths, the manifest last. `tell` hears bytes done and of all.

    What is there already and the same stays. Raises `ModelNotFound`, `ModelInvalid`, `InvalidRequest` where it cannot
    be written there, `DiskFull`, and `ChecksumMismatch` where the store's own file is damaged. Takes minutes.
    """
    if not directory.is_dir():
        raise InvalidRequest(f"{directory} is no folder. Say where the stick is mounted.", param="directory")
    file = store.find(name)
    with store.open(name) as descriptors:
        store.examine(name, descriptors)
        sizes = [os.fstat(descriptor).st_size for descriptor in descriptors]
        check_size(max(sizes), filesystem_of(_MOUNTS.read_text(), directory.stat().st_dev), directory)
        targets = [directory / each for each in loose.file_names(manifest.stem(name), len(sizes))]
        room.check(directory, sum(sizes) - sum(map(_there_bytes, targets)), reserve_bytes=0)
        expected = file.record.pieces if file.record else (None,) * len(sizes)
        moved = gathering.counting(sum(sizes), tell)
        pieces = [_put(*each, moved) for each in zip(descriptors, targets, expected, strict=True)]
    origin = file.record or Record(name, tuple(pieces))
    told = manifest.of(origin, [target.name for target in targets])
    beside = directory / f"{manifest.stem(name)}{manifest.ENDING}"
    with _writing(directory):
        _write(beside, manifest.written(told).encode())
    return [*targets, beside]


def check_size(largest_bytes: int, filesystem: str, directory: Path) -> None:
    """Whether a file of that size can lie there. Raises `InvalidRequest`."""
    if filesystem in _FAT and largest_bytes > _LARGEST_ON_FAT:
        raise InvalidRequest(
            f"A file of the model has {largest_bytes / 2**30:.1f} GiB, and on {directory}, which is formatted as FAT, "
            "no file can have more than 4 GiB. Format the stick as exFAT or ext4.",
            param="directory",
        )


def filesystem_of(mounts: str, device: int) -> str:
    """The kind of file system on a device, as /proc/self/mountinfo tells (proc(5)); empty where it does not."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, behind = line.partition(" - ")
        if len(words := before.split()) > 2 and words[2] == number and behind:
            return behind.split()[0]
    return ""


def _put(source: int, target: Path, expected: Piece | None, moved: Callable[[int], None]) -> Piece:
    size_bytes = os.fstat(source).st_size
    if target.exists():
        return _same(source, target, expected, moved)
    temporary = target.with_name(f"{target.name}.part")
    with _writing(target.parent):
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            piece = gathering.copy(source, size_bytes, descriptor, moved)
            if expected and piece != expected:
                raise _damaged(expected)
            os.fsync(descriptor)
            temporary.replace(target)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        _sync(target.parent)
    return piece


def _same(source: int, target: Path, expected: Piece | None, moved: Callable[[int], None]) -> Piece:
    """The file is there already: fine where it is the same."""
    try:
        there = open_file(target.parent, target.name)
    except OSError as error:
        raise InvalidRequest(f"{target} is in the way: {error.strerror or error}.", param="directory") from error
    try:
        found = gathering.checksum(there) if os.fstat(there).st_size == os.fstat(source).st_size else None
    finally:
        os.close(there)
    piece = gathering.checksum(source, moved) if expected is None else expected
    if found != piece:
        raise InvalidRequest(f"{target} is there already, and is another file. Delete it first.", param="directory")
    if expected:
        moved(expected.size_bytes)
    return piece


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(f"{file.name}.part")
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        gathering.write(descriptor, content)
        os.fsync(descriptor)
        temporary.replace(file)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    try:
        durable.sync_folder(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems in user space (exFAT's, NTFS's) may know no such thing
            raise


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        with room.writing(directory):
            yield
    except OSError as error:
        raise InvalidRequest(
            f"{directory} cannot be written to: {error.strerror or error}.", param="directory"
        ) from error


def _there_bytes(target: Path) -> int:
    return target.stat().st_size if target.is_file() else 0


def _damaged(expected: Piece) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"The file sha256-{expected.sha256} in the store is damaged. Run edged scrub, or delete the model and fetch it "
        "again."
    )
