"""Files by what is in them: `models/blobs/sha256-<64 hexadecimal digits>`, never changed once they have that name.

Two models that have a file in common share it, and a name that is written after the file never means another content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edged import durable
from edged.store.opening import Place
from edged.store.records import Piece, Record

_PREFIX = "sha256-"
_READ_ONLY = 0o400


class Blobs:
    """The folder of files; whoever changes it holds the store's lock."""

    def __init__(self, models: Path) -> None:
        self.folder = models / "blobs"

    def path(self, sha256: str) -> Path:
        """Where the file with that checksum lies, or would."""
        return self.folder / f"{_PREFIX}{sha256}"

    def places(self, record: Record) -> list[Place]:
        """Where the files of a model are opened."""
        return [(self.folder.parent, (self.folder.name, self.path(piece.sha256).name)) for piece in record.pieces]

    def status(self, piece: Piece) -> os.stat_result | None:
        """What the disk says of it; None where it is not there, or is of another size or kind."""
        try:
            status = os.lstat(self.path(piece.sha256))
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) and status.st_size == piece.size_bytes else None

    def adopt(self, partial: Path, descriptor: int, piece: Piece) -> None:
        """Take over the file at `partial`, open as `descriptor`, whose checksum its caller has found to be right.

        On the disk before anybody is told. Raises `OSError`, also where another file came to lie there meanwhile.
        """
        ours, there = os.fstat(descriptor), os.lstat(partial)
        if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) or ours.st_size != piece.size_bytes:
            raise OSError(f"{partial} was exchanged while it was checked")
        os.fchmod(descriptor, _READ_ONLY)
        durable.publish(descriptor, partial, self.path(piece.sha256))

    def checksums(self) -> Iterator[str]:
        """Of every file that is there."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name.startswith(_PREFIX):
                yield path.name.removeprefix(_PREFIX)

    def remove(self, sha256: str) -> None:
        """Delete it; whoever has it open keeps it. A power cut may bring it back: it is swept at the next start."""
        self.path(sha256).unlink(missing_ok=True)
