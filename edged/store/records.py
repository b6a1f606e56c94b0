"""One record per name: what the model consists of and where it came from. A model is installed when its record is.

`models/names/<quoted name>.json`, each replaced as a whole, so that a name means one complete model or none.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from edged import durable
from edged.checked import fields_of, reader
from edged.errors import Conflict
from edged.store import names
from edged.store.opening import open_file

# The largest models come in some sixty files; as many descriptors go to a worker in one message (SCM_MAX_FD: 253).
MOST_PIECES = 64
_MOST_BYTES = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file that a model consists of: what is in it, as a checksum in hexadecimal digits."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """A model with a name. `source` is the reference that it was fetched by; empty where it was imported.

    `added_s` and `verified_s` are Unix time: when it came, and when its files were last found to be as they should be.
    """

    name: str
    pieces: tuple[Piece, ...]
    source: str = ""
    revision: str = ""
    license: str = ""
    added_s: int = 0
    verified_s: int = 0

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return sum(piece.size_bytes for piece in self.pieces)

    @property
    def origin(self) -> str:
        """Where it comes from, whichever of the two hubs was at hand."""
        return _origin(self.source)


def parse(raw: bytes) -> Record:
    """A record as it was written; fields of later versions are left out. Raises `ValueError` or `TypeError`."""
    found: Any = json.loads(raw)
    if not isinstance(found, dict):
        raise TypeError("a record is an object")
    defaults = {field.name: field.default for field in fields(Record) if field.default is not MISSING}
    known = {field.name for field in fields(Record)}
    record: Record = reader(Record)({**defaults, **{key: value for key, value in found.items() if key in known}})
    check(record)
    return record


def check(record: Record) -> None:
    """Raises `ValueError` for what no model can consist of."""
    if not 0 < len(record.pieces) <= MOST_PIECES:
        raise ValueError(f"{len(record.pieces)} files; a model has at least one and at most {MOST_PIECES}")
    for piece in record.pieces:
        if not _SHA256.fullmatch(piece.sha256) or piece.size_bytes < 0:
            raise ValueError(f"{piece} is no file")


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a record, and of which file in which state; `record` is None where there is a `problem`."""

    identity: tuple[int, ...]
    record: Record | None
    problem: str = ""


class Records:
    """The folder of records. Reads are safe at any time; whoever writes holds the store's lock."""

    def __init__(self, models: Path) -> None:
        self.folder = models / "names"
        self._models = models
        # What was read is kept for as long as the file is the same: listing a thousand models costs a thousand looks.
        self._read: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Every name that has a record, readable or not."""
        try:
            return [name for file in self.folder.iterdir() if (name := names.name_of(file.name))]
        except FileNotFoundError:
            return []

    def get(self, name: str) -> Record | None:
        """The record of that name; None where there is none. Raises `ValueError` for one that cannot be read."""
        file = names.record_file(name)
        try:
            identity = _identity(os.lstat(self.folder / file))
        except FileNotFoundError:
            return None
        with self._lock:
            known = self._read.get(name)
        if known is None or known.identity != identity:
            known = self._look(name, file)
            if known is None:
                return None
            with self._lock:
                self._read[name] = known
        if known.record is None:
            raise ValueError(f"the record {self.folder / file} {known.problem}")
        return known.record

    def put(self, record: Record) -> None:
        """Write it, in place of an older one. Raises `OSError`, and `ValueError` for what could not be read again."""
        check(record)
        durable.write(self.folder / names.record_file(record.name), json.dumps(record, default=fields_of, indent=1))
        self._forget(record.name)

    def remove(self, name: str) -> None:
        """Have it gone. Raises `OSError`."""
        durable.remove(self.folder / names.record_file(name))
        self._forget(name)

    def needed(self) -> set[str] | None:
        """The checksums of every file that some record needs. None where a record is damaged: it could be any."""
        try:
            found = [self.get(name) for name in self.names()]
        except ValueError:
            return None
        return {piece.sha256 for record in found if record for piece in record.pieces}

    def check_origin(self, name: str, source: str, pieces: Sequence[Piece] | None) -> None:
        """Whether what comes from `source` may take that name: nobody has it, or a model from there, or the same files.

        `pieces` is None while nobody knows them. Raises `Conflict`.
        """
        try:
            there = self.get(name)
        except ValueError:
            return
        if there is None or (pieces is not None and there.pieces == tuple(pieces)):
            return
        if there.origin != _origin(source):
            whence = f"from {there.source}" if there.source else "which was imported"
            raise Conflict(
                f"There is another model named {name!r} already, {whence}. Delete it first, or give --name.",
                param="name",
            )

    def _forget(self, name: str) -> None:
        # Two files in a row may have one number, one size, and times in the same tick of the kernel's clock.
        with self._lock:
            self._read.pop(name, None)

    def _look(self, name: str, file: str) -> _Known | None:
        try:
            descriptor = open_file(self._models, self.folder.name, file, is_ours=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _Known((), None, f"cannot be read: {error.strerror or error}")
        try:
            identity, raw = _identity(os.fstat(descriptor)), os.pread(descriptor, _MOST_BYTES + 1, 0)
        finally:
            os.close(descriptor)
        try:
            if len(raw) <= _MOST_BYTES and (record := parse(raw)).name == name:
                return _Known(identity, record)
        except (ValueError, TypeError, RecursionError):
            pass
        return _Known(identity, None, "is damaged: delete the model and fetch it again")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _origin(source: str) -> str:
    """The same model for both hubs: what fails on the one is fetched from the other."""
    return re.sub(r"^modelscope\.cn/", "hf.co/", source)
