"""What lies beside an exported model and tells what it is: `NAME.edged.json`, for people and for `edged import`.

It comes back from a stick that was in other hands, so reading it believes nothing: bounded, every field checked, and no
file named in it lies anywhere else than beside it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.checked import fields_of, reader
from edged.errors import InvalidRequest
from edged.plain import plain
from edged.store import names
from edged.store.opening import open_file
from edged.store.records import Piece, Record, check

ENDING = ".edged.json"
_ABOUT = (
    "A model for edged. `edged import` with this file, or with the folder that it lies in, checks that the files are "
    "as they should be and installs the model. `sha256sum FILE` shows the same checksum as `sha256` here."
)
_FORMAT = 1
_LONGEST = 2048  # characters of a reference, as of those that are typed
_MOST_BYTES = 64 * 1024
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.gguf", re.ASCII)
# Names of devices, which Windows takes for them whatever stands behind a dot; sticks are read there, too.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the model."""

    file: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an exported model is. `source`, `revision` and `license` are empty where nobody knows."""

    about: str
    format: int
    name: str
    files: tuple[Part, ...]
    source: str
    revision: str
    license: str

    @property
    def record(self) -> Record:
        """The model that the files are, with what is said of it as it may be shown."""
        pieces = tuple(Piece(part.sha256, part.size_bytes) for part in self.files)
        return Record(self.name, pieces, plain(self.source, _LONGEST), plain(self.revision), plain(self.license))


def of(record: Record, files: list[str]) -> Manifest:
    """The manifest of a model whose files are called so."""
    parts = [Part(file, piece.size_bytes, piece.sha256) for file, piece in zip(files, record.pieces, strict=True)]
    return Manifest(_ABOUT, _FORMAT, record.name, tuple(parts), record.source, record.revision, record.license)


def written(manifest: Manifest) -> str:
    """As it stands in the file."""
    return json.dumps(manifest, default=fields_of, indent=2) + "\n"


def read(file: Path) -> Manifest:
    """Raises `InvalidRequest` with what is wrong with the file."""
    try:
        descriptor = open_file(file.parent, file.name)
        try:
            raw = os.pread(descriptor, _MOST_BYTES + 1, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror or error}.") from error
    try:
        return _parse(raw)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidRequest(f"{file} is damaged or not written by edged: {error}.") from error


def stem(name: str) -> str:
    """How the files of the model called `name` begin: the same on every file system, FAT included."""
    plain = name.replace("/", "-").replace(":", "-")
    return f"model-{plain}" if _DEVICE.match(plain) else plain


def _parse(raw: bytes) -> Manifest:
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    found: Any = json.loads(raw)
    if found["format"] != _FORMAT:
        raise ValueError(f"its format is {found['format']!r}, and this version reads {_FORMAT}")
    manifest: Manifest = reader(Manifest)(found)
    if not names.is_name(manifest.name):
        raise ValueError(f"{manifest.name[:160]!r} is no name of a model")
    for part in manifest.files:
        if not _FILE.fullmatch(part.file):
            raise ValueError(f"{part.file[:160]!r} is no file beside it")
    check(manifest.record)
    return manifest
