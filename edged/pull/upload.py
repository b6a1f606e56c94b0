"""Models that are brought here over HTTP, by whoever may: resumable, checked, and installed when the last byte is there.

    offer ─▶ bytes of every file, from where they stopped ─▶ verify ─▶ adopt as blobs ─▶ enter the name

The shape is that of resumable uploads elsewhere (tus.io, the "offset" of its core protocol; OCI's distribution spec,
"chunked"): whoever uploads asks how far it is and goes on from there. An offer whose files all have checksums is the
same offer when it is made again, after a restart too; files that are here already need not be sent. On disk it is a
partial like those of downloads, with `upload-ID.json` beside it, which says what was offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from edged import durable
from edged.checked import fields_of, reader
from edged.errors import ChecksumMismatch, DiskFull, InvalidRequest, NotFound, PayloadTooLarge
from edged.pull import installing
from edged.pull import partial as on_disk
from edged.pull.installing import Arrived
from edged.pull.partial import Partial, file_thread
from edged.store import Piece, Record, Store

State: TypeAlias = Literal["receiving", "verifying", "done"]

_BATCH_BYTES = 2**20
_REHASH_BYTES = 64 * 2**20
_REMEMBERED = 32
_MOST_OPEN = 16
_MOST_NOTE_BYTES = 256 * 1024
_ID = re.compile(r"[0-9a-f]{32}")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Offered:
    """A file that will come; without a checksum it is taken as it comes."""

    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that will come. `source`, `revision` and `license` are what its manifest says, where it has one."""

    name: str
    files: tuple[Offered, ...]
    source: str = ""
    revision: str = ""
    license: str = ""

    @property
    def id(self) -> str | None:
        """What it is called: the same for the same offer; None where a file could be any."""
        if any(file.sha256 is None for file in self.files):
            return None
        return sha256(json.dumps(self, default=fields_of).encode()).hexdigest()[:32]


@dataclass(slots=True)
class Upload:
    """An offer and how far it is: `offsets` has the bytes of every file that are here."""

    id: str
    offer: Offer
    offsets: list[int]
    state: State = "receiving"
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Uploads:
    """What is being brought. An async context."""

    def __init__(self, store: Store, reserve_bytes: int | None) -> None:
        self._store = store
        self._reserve_bytes = reserve_bytes
        self._thread = file_thread()
        self._open: dict[str, Upload] = {}
        self._beginning = asyncio.Lock()
        self._ended: OrderedDict[str, Upload] = OrderedDict()

    async def __aenter__(self) -> Uploads:
        for upload in await self._run(lambda: [*self._left()]):
            self._open[upload.id] = upload
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._thread.shutdown)

    async def begin(self, offer: Offer) -> Upload:
        """Make an offer, or find the one that was made; it is done at once where every file is here already.

        Raises `InvalidRequest`, `DiskFull`, `ModelInvalid`.
        """
        await self._run(lambda: self._store.check_name(offer.name, "name"))
        id = offer.id or secrets.token_hex(16)
        async with self._beginning:
            upload = self._open.get(id) or await self._begun(id, offer)
        async with upload.lock:
            await self._finish(upload)
        return upload

    async def _begun(self, id: str, offer: Offer) -> Upload:
        if len(self._open) >= _MOST_OPEN:
            raise InvalidRequest(f"{len(self._open)} uploads are open already. Finish or delete one.")
        upload = Upload(id, offer, await self._run(lambda: self._here(offer)))
        await self._run(lambda: self._check_room(upload))
        await self._run(lambda: durable.write(self._note(id), json.dumps(offer, default=fields_of)))
        self._open[id] = upload
        return upload

    def get(self, id: str) -> Upload:
        """How far an upload is. Raises `NotFound`."""
        found = self._open.get(id) or self._ended.get(id)
        if found is None:
            raise NotFound(f"There is no upload {id[:40]!r}. Offer the model again: what has come of it is remembered.")
        return found

    async def receive(self, id: str, number: int, offset: int, chunks: AsyncIterator[bytes]) -> Upload:
        """Bytes of a file from `offset` on, which is where it is; what has come when they break off is kept.

        Raises `NotFound`, `InvalidRequest` for another offset, `PayloadTooLarge`, `DiskFull`, and when the last byte is
        there `ChecksumMismatch`, `ModelInvalid`.
        """
        upload = self.get(id)
        if not 0 <= number < len(upload.offer.files):
            raise NotFound(f"The upload has {len(upload.offer.files)} files, counted from 0; there is no {number}.")
        if upload.lock.locked():
            raise InvalidRequest("Somebody else is sending this upload just now.")
        async with upload.lock:
            if upload.state != "done":
                if offset != upload.offsets[number]:
                    raise InvalidRequest(
                        f"The file is at byte {upload.offsets[number]}, not at {offset}. Go on from there.",
                        param="Upload-Offset",
                    )
                await self._append(upload, number, chunks)
                await self._finish(upload)
        return upload

    async def cancel(self, id: str) -> None:
        """Give an upload up, and delete what has come of it. Raises `NotFound`."""
        upload = self.get(id)
        async with upload.lock:
            await self._forget(upload)

    async def _append(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> None:
        size_bytes = upload.offer.files[number].size_bytes
        partial = await self._opened(upload, number)
        try:
            batch = bytearray()
            async for chunk in chunks:
                batch += chunk
                if partial.done_bytes + len(batch) > size_bytes:
                    raise PayloadTooLarge(f"The file was to have {size_bytes} bytes, and more were sent.")
                if len(batch) >= _BATCH_BYTES:
                    await self._written(upload, number, partial, batch)
            await self._written(upload, number, partial, batch)
        finally:
            await asyncio.shield(self._run(partial.close))
            upload.offsets[number] = partial.state.safe_bytes

    async def _written(self, upload: Upload, number: int, partial: Partial, batch: bytearray) -> None:
        if batch:
            data = bytes(batch)
            batch.clear()
            await self._run(lambda: partial.write(data))
            upload.offsets[number] = partial.done_bytes

    async def _opened(self, upload: Upload, number: int) -> Partial:
        """The file's partial, with the checksum of what is there, read back from the disk."""
        partial = await self._run(lambda: Partial(self._part(upload.id, number), self._reserve_bytes))
        while not await self._run(lambda: partial.rehash(_REHASH_BYTES)):
            pass
        await self._run(lambda: partial.begin(f"upload:{upload.id}", None, upload.offer.files[number].size_bytes))
        return partial

    async def _finish(self, upload: Upload) -> None:
        """Install the model if all of it is here."""
        sizes = [file.size_bytes for file in upload.offer.files]
        if upload.state == "done" or upload.offsets != sizes:
            return
        upload.state = "verifying"
        try:
            await self._verified(upload)
        except (ChecksumMismatch, InvalidRequest):
            await self._forget(upload)
            raise
        except BaseException:
            upload.state = "receiving"
            raise
        await self._forget(upload)
        upload.state = "done"
        self._ended[upload.id] = upload
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    async def _verified(self, upload: Upload) -> None:
        partials: list[Partial] = []
        try:
            pieces, arrived = [], []
            for number, file in enumerate(upload.offer.files):
                if (known := await self._known(file)) is not None:
                    pieces.append(known)
                    continue
                partial = await self._opened(upload, number)
                partials.append(partial)
                found = Piece(partial.sha256(), partial.done_bytes)
                if file.sha256 not in (None, found.sha256):
                    raise ChecksumMismatch(
                        f"File {number} of {upload.offer.name} has the SHA-256 {found.sha256}, and {file.sha256} was "
                        "announced. It was deleted; send it again."
                    )
                pieces.append(found)
                arrived.append(Arrived(partial.path, partial.descriptor, found))
            now_s = int(time.time())
            offer = upload.offer
            record = Record(offer.name, tuple(pieces), offer.source, offer.revision, offer.license, now_s, now_s)
            await self._run(lambda: installing.install(self._store, record, arrived))
        finally:
            for partial in partials:
                await asyncio.shield(self._run(partial.close))

    async def _known(self, file: Offered) -> Piece | None:
        """The file where it is a blob already."""
        piece = _piece(file)
        return piece if piece is not None and await self._run(lambda: self._store.has_blob(piece)) else None

    async def _forget(self, upload: Upload) -> None:
        paths = [self._part(upload.id, number) for number in range(len(upload.offer.files))]
        await self._run(lambda: self._delete(upload.id, paths))
        self._open.pop(upload.id, None)

    def _delete(self, id: str, parts: list[Path]) -> None:
        with contextlib.suppress(OSError):  # what the disk does not let go is offered again after a restart
            durable.remove(self._note(id))
        installing.clear(parts)

    def _left(self) -> list[Upload]:
        """What an earlier run has left."""
        found = []
        for note in sorted(self._store.partials.glob("upload-*.json")):
            id = note.stem.removeprefix("upload-")
            if _ID.fullmatch(id):
                with contextlib.suppress(OSError, ValueError, TypeError):  # damaged: whoever wants it offers it anew
                    raw = note.read_bytes()
                    offer: Offer = reader(Offer)(json.loads(raw) if len(raw) <= _MOST_NOTE_BYTES else None)
                    found.append(Upload(id, offer, self._here(offer, id)))
        return found

    def _here(self, offer: Offer, id: str = "") -> list[int]:
        """How many bytes of every file are here: all, of one that is a blob."""
        offsets = []
        for number, file in enumerate(offer.files):
            piece = _piece(file)
            if piece is not None and self._store.has_blob(piece):
                offsets.append(file.size_bytes)
            elif id and self._part(id, number).exists():
                partial = Partial(self._part(id, number), self._reserve_bytes)
                offsets.append(min(partial.state.safe_bytes, file.size_bytes))
                partial.close()
            else:
                offsets.append(0)
        return offsets

    def _check_room(self, upload: Upload) -> None:
        durable.make_folder(self._store.partials)
        wanted = sum(file.size_bytes for file in upload.offer.files) - sum(upload.offsets)
        left = on_disk.room_bytes(self._store.partials, self._reserve_bytes)
        if wanted > left:
            raise DiskFull(
                f"{upload.offer.name} takes {wanted / 1e6:,.0f} MB more, and beside the reserve there are "
                f"{max(0, left) / 1e6:,.0f} MB. Delete a model, or lower [downloads] reserve_bytes.",
                retry_after_s=60.0,
            )

    def _note(self, id: str) -> Path:
        return self._store.partials / f"upload-{id}.json"

    def _part(self, id: str, number: int) -> Path:
        return self._store.partial_path(f"upload-{id}-{number}")

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _piece(file: Offered) -> Piece | None:
    return Piece(file.sha256, file.size_bytes) if file.sha256 else None
