"""Models that are sent to this device, in portions: each goes on where the last one that is safe ended.

    models/partial/upload-<id>.part     the bytes
    models/partial/upload-<id>.json     what they are to become, and how many of them are on the disk for sure

A model becomes visible when it is finished, and only if it is what was announced.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256 as hash_of
from pathlib import Path

from edged import durable
from edged.checked import fields_of, reader
from edged.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidRequest,
    ModelInvalid,
    ModelNotFound,
    NotFound,
    OffsetConflict,
    QueueFull,
)
from edged.store import gathering, names, room
from edged.store.door import Store
from edged.store.gathering import Gathered
from edged.store.model_file import ModelFile
from edged.store.opening import open_file
from edged.store.records import Piece, Record

# Written for sure at least so often, and when a portion ends: no more than this is sent twice.
_SAFE_EVERY_BYTES = 32 * 2**20
_MOST_UPLOADS = 8
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}|")


@dataclass(frozen=True, slots=True)
class Upload:
    """A model on its way. `offset_bytes` is where to go on; `sha256` is empty where the sender does not know it."""

    id: str
    name: str
    total_bytes: int
    sha256: str
    offset_bytes: int


class Writing:
    """An upload that is being written to. `offset_bytes` is where the next byte goes."""

    def __init__(self, uploads: Uploads, upload: Upload, descriptor: int) -> None:
        self._uploads = uploads
        self._upload = upload
        self._descriptor = descriptor
        self.offset_bytes = upload.offset_bytes

    def write(self, data: bytes) -> int:
        """Append; the offset behind it. Raises `InvalidRequest` for more than was announced, `DiskFull`, `OSError`."""
        if self.offset_bytes + len(data) > self._upload.total_bytes:
            raise InvalidRequest(f"More was sent than the {self._upload.total_bytes} bytes that were announced.")
        with room.writing(self._uploads.store.partials):
            gathering.write(self._descriptor, data)
        self.offset_bytes += len(data)
        if self.offset_bytes - self._upload.offset_bytes >= _SAFE_EVERY_BYTES:
            self.settle()
            self._uploads.check_room(self._upload)
        return self.offset_bytes

    def settle(self) -> None:
        """Have all of it on the disk, and then noted. Raises `DiskFull`, `OSError`."""
        if self.offset_bytes > self._upload.offset_bytes:
            with room.writing(self._uploads.store.partials):
                os.fsync(self._descriptor)
                # The weights of a running model are to stay in memory, not these.
                os.posix_fadvise(self._descriptor, 0, self.offset_bytes, os.POSIX_FADV_DONTNEED)
                self._upload = self._uploads.note(replace(self._upload, offset_bytes=self.offset_bytes))


class Uploads:
    """All uploads. Every method waits for the disk and may be called from threads."""

    def __init__(self, store: Store, reserve_bytes: int | None = None) -> None:
        self.store = store
        self._reserve_bytes = reserve_bytes

    def begin(self, name: str, total_bytes: int, sha256: str = "") -> Upload:
        """Announce a model: a GGUF in one file. The same announcement again gives the same upload, to go on with.

        Raises `InvalidRequest`, `Conflict` where the name is another model's, `DiskFull`, `QueueFull`.
        """
        self.store.check_name(name, "name")
        if total_bytes < 1 or not _SHA256.fullmatch(sha256):
            raise InvalidRequest(
                "An upload has at least one byte, and a SHA-256 has 64 hexadecimal digits or is empty."
            )
        id = hash_of(f"{name}\n{total_bytes}\n{sha256}".encode()).hexdigest()[:32]
        with contextlib.suppress(NotFound):
            return self.find(id)
        self._check_free(name, total_bytes, sha256)
        if len(self.list()) >= _MOST_UPLOADS:
            raise QueueFull(f"{_MOST_UPLOADS} uploads are under way already: end one of them, or call it off.")
        upload = Upload(id, name, total_bytes, sha256, 0)
        self.store.ready()
        self.check_room(upload)
        with room.writing(self.store.partials):
            os.close(os.open(self._part(id), os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            return self.note(upload)

    def list(self) -> list[Upload]:
        """What is under way, by name; what cannot be read is nothing."""
        found = []
        for file in self.store.partials.glob("upload-*.json") if self.store.partials.is_dir() else ():
            with contextlib.suppress(NotFound):
                found.append(self.find(file.stem.removeprefix("upload-")))
        return sorted(found, key=lambda upload: upload.name)

    def find(self, id: str) -> Upload:
        """How far it is. Raises `NotFound`."""
        try:
            upload = self._noted(id)
            if self._part(id).lstat().st_size >= upload.offset_bytes:
                return upload
        except (OSError, ValueError, TypeError) as error:
            raise NotFound(f"There is no upload {id[:64]!r}.") from error
        raise NotFound(f"What there was of upload {id} is gone: begin it again.")

    @contextmanager
    def writing(self, id: str, offset_bytes: int) -> Iterator[Writing]:
        """Go on at this byte; on leaving, whatever happens, what was written is safe and noted.

        Raises `NotFound`, `OffsetConflict` with the right byte, `Conflict` where somebody else is writing to it.
        """
        with self._alone(id) as (upload, descriptor):
            if offset_bytes != upload.offset_bytes:
                raise OffsetConflict(
                    f"This upload goes on at byte {upload.offset_bytes}, and not at {offset_bytes}.",
                    offset_bytes=upload.offset_bytes,
                )
            os.ftruncate(descriptor, offset_bytes)  # what lies behind was never safe
            os.lseek(descriptor, offset_bytes, os.SEEK_SET)
            writing = Writing(self, upload, descriptor)
            try:
                yield writing
            finally:
                writing.settle()

    def finish(self, id: str) -> ModelFile:
        """Verify what was sent and make it a model; asked again for one that became one, the same answer.

        Raises `OffsetConflict` where something is missing, `NotFound`; `ChecksumMismatch` and `ModelInvalid` for what
        is not what it should be, which is deleted then; `Conflict`, `DiskFull`, `OSError`.
        """
        if entered := self._entered(id):
            return entered
        with self._alone(id) as (upload, descriptor), room.writing(self.store.folder):
            if upload.offset_bytes != upload.total_bytes:
                raise OffsetConflict(
                    f"Of {upload.total_bytes} bytes {upload.offset_bytes} are here.", offset_bytes=upload.offset_bytes
                )
            os.ftruncate(descriptor, upload.total_bytes)
            now_s = int(time.time())
            try:
                piece = _verified(upload, descriptor)
                record = Record(upload.name, (piece,), added_s=now_s, verified_s=now_s)
                self.store.install([Gathered(self._part(id), descriptor, piece)], record)
            except (ChecksumMismatch, ModelInvalid):
                self._forget(id)
                raise
            self._forget(id)
        return self.store.find(upload.name)

    def cancel(self, id: str) -> None:
        """Call it off; nothing stays of it. Raises `NotFound`, `Conflict` where somebody is writing to it."""
        with self._alone(id):
            self._forget(id)

    def note(self, upload: Upload) -> Upload:
        """Have it written how far it is. Raises `OSError`."""
        durable.write(self._note(upload.id), json.dumps(upload, default=fields_of))
        return upload

    def check_room(self, upload: Upload) -> None:
        """Whether the rest of it fits. Raises `DiskFull`."""
        room.check(self.store.partials, upload.total_bytes - upload.offset_bytes, self._reserve_bytes)

    @contextmanager
    def _alone(self, id: str) -> Iterator[tuple[Upload, int]]:
        self.find(id)
        descriptor = os.open(self._part(id), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict("Somebody else is writing to this upload.") from error
            yield self.find(id), descriptor
        finally:
            os.close(descriptor)

    def _entered(self, id: str) -> ModelFile | None:
        """The model that the upload became, where the plug was pulled before its note was thrown away."""
        with contextlib.suppress(OSError, ValueError, TypeError, ModelNotFound):
            if not self._part(id).exists():
                upload = self._noted(id)
                file = self.store.find(upload.name)
                if file.record and not file.problem and self._is(file.record, upload.total_bytes, upload.sha256):
                    self._forget(id)
                    return file
        return None

    def _check_free(self, name: str, total_bytes: int, sha256: str) -> None:
        """A name may be announced again for what may be the same; whether it is, turns out at the end."""
        for record in self.store.records():
            if record.name == name and not self._is(record, total_bytes, sha256):
                raise Conflict(f"There is another model named {name!r} already. Delete it first.", param="name")

    def _is(self, record: Record, total_bytes: int, sha256: str) -> bool:
        return record.pieces == (Piece(sha256 or record.pieces[0].sha256, total_bytes),)

    def _noted(self, id: str) -> Upload:
        if not _ID.fullmatch(id):
            raise ValueError(id)
        descriptor = open_file(self.store.folder, self.store.partials.name, self._note(id).name, is_ours=True)
        try:
            upload: Upload = reader(Upload)(json.loads(os.pread(descriptor, 4096, 0)))
        finally:
            os.close(descriptor)
        if upload.id != id or not names.is_name(upload.name) or not 0 <= upload.offset_bytes <= upload.total_bytes:
            raise ValueError(id)
        return upload

    def _forget(self, id: str) -> None:
        # The note goes last: as long as it is there, somebody may ask what became of the upload.
        self._part(id).unlink(missing_ok=True)
        durable.remove(self._note(id))

    def _part(self, id: str) -> Path:
        return self.store.partial_path(f"upload-{id}")

    def _note(self, id: str) -> Path:
        return self.store.partials / f"upload-{id}.json"


def _verified(upload: Upload, descriptor: int) -> Piece:
    piece = gathering.checksum(descriptor)
    if upload.sha256 and piece.sha256 != upload.sha256:
        raise ChecksumMismatch(
            f"What was sent as {upload.name} has the SHA-256 {piece.sha256}, and {upload.sha256} was announced. It was "
            "deleted: send it again."
        )
    return piece
