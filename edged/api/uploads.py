"""The handlers of models that are brought here over HTTP: announced, sent from where they stopped, installed.

    POST   /edged/v1/imports       what will come: name, size, checksum if it is known    → id, offset
    PATCH  /edged/v1/imports/ID    bytes from `Upload-Offset` on; the last one installs the model, and so does none at
                                   all where every byte is here and the answer to the last one was lost
    GET    /edged/v1/imports/ID    how far it is, for whoever was cut off
    DELETE /edged/v1/imports/ID    it is called off

The shape is that of resumable uploads elsewhere (the core protocol of tus.io). No path on this device is ever taken:
whoever can say one over HTTP could have the daemon read what only the daemon may. What is sent here is no request body
in the sense of `[http] body_bytes`: it goes to the disk as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from aiohttp import StreamReader, web
from pydantic import Field, StringConstraints

from edged.api import body
from edged.api.body import Strict
from edged.api.exposed import Exposed, Route, Told
from edged.api.intake import BODIES, more
from edged.api.patience import LEAST_BYTES_PER_S, Patience
from edged.errors import InvalidRequest, ModelNotFound, UnsupportedMediaType
from edged.store import Piece
from edged.store.uploads import Upload, Writing

_CHUNK_BYTES = 2**20
_TYPES = ("application/offset+octet-stream", "application/octet-stream")
_EXAMPLE = {"name": "mine", "size_bytes": 4096}
_OFFSET = "Upload-Offset"

Result = TypeVar("Result")


class UploadBody(Strict):
    """`POST /edged/v1/imports`: a model that will come, as one GGUF file."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    size_bytes: int = Field(ge=1, le=2**44)
    sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")] = Field(
        "", description="What the file must be, where that is known; without, it is taken as it comes."
    )


class Imports:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed
        self._uploads = exposed.uploads

    def routes(self) -> list[Route]:
        """Where they are found."""
        announced = Told({200: "Import", 201: "Import"}, UploadBody, _EXAMPLE, fails=(409, 503, 507))
        sent = Told({200: "Import"}, params=(_OFFSET,), fails=(409, 415, 422, 507))
        return [
            Route("POST", "/edged/v1/imports", "owner", self.announce, announced),
            Route("GET", "/edged/v1/imports", "owner", self.list, Told({200: "Imports"})),
            Route("GET", "/edged/v1/imports/{id}", "owner", self.state, Told({200: "Import"})),
            Route("PATCH", "/edged/v1/imports/{id}", "owner", self.send, sent),
            Route("DELETE", "/edged/v1/imports/{id}", "owner", self.cancel, Told({204: ""}, fails=(409,))),
        ]

    async def announce(self, request: web.Request) -> web.StreamResponse:
        """Announce a model. The answer says at which byte it goes on; the same announcement goes on where it was."""
        wanted = await body.read(request, UploadBody)
        if await asyncio.to_thread(self._is_here, wanted):
            return web.json_response(
                _told("", wanted.name, wanted.size_bytes, wanted.sha256, wanted.size_bytes, is_installed=True)
            )
        upload = await asyncio.to_thread(self._uploads.begin, wanted.name, wanted.size_bytes, wanted.sha256)
        return web.json_response(_body(upload), status=201, headers={"Location": f"/edged/v1/imports/{upload.id}"})

    async def list(self, _request: web.Request) -> web.StreamResponse:
        """The models that are on their way here over HTTP."""
        return web.json_response({"imports": [_body(upload) for upload in await asyncio.to_thread(self._uploads.list)]})

    async def state(self, request: web.Request) -> web.StreamResponse:
        """How far an announced model is."""
        return web.json_response(_body(await asyncio.to_thread(self._uploads.find, request.match_info["id"])))

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Bytes of a model. What has come is kept when they break off; the last one has it checked and installed.

        No bytes at the last offset do the same: that is for whoever was cut off when all was here.
        """
        if request.content_type not in _TYPES:
            raise UnsupportedMediaType(f"The body must be {_TYPES[0]}, not {request.content_type[:80]!r}.")
        id = request.match_info["id"]
        upload = await asyncio.to_thread(self._uploads.find, id)
        offset_bytes = await self._receive(request, id, _offset(request.headers.get(_OFFSET, "")))
        is_whole = offset_bytes == upload.total_bytes
        if is_whole:
            file = await _to_its_end(lambda: self._uploads.finish(id))
            self._exposed.journal.tell("model_uploaded", model=file.name, size_bytes=file.size_bytes)
        return web.json_response(
            _told(id, upload.name, upload.total_bytes, upload.sha256, offset_bytes, is_installed=is_whole)
        )

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Call an upload off; what has come of it is deleted."""
        await _to_its_end(lambda: self._uploads.cancel(request.match_info["id"]))
        return web.Response(status=204)

    async def _receive(self, request: web.Request, id: str, offset_bytes: int) -> int:
        """Write what comes; the byte to go on at. Whatever ends this, what has come is on the disk and noted."""
        held = self._uploads.writing(id, offset_bytes)
        writing = await _to_its_end(held.__enter__)
        batch = bytearray()
        try:
            patience = request.app[BODIES].patience
            while True:
                chunk, patience = await _next(request.content, patience)
                if not chunk:
                    break
                batch += chunk
                if len(batch) >= _CHUNK_BYTES:
                    await _written(writing, batch)
        finally:
            try:
                await _written(writing, batch)
            finally:
                await _to_its_end(lambda: held.__exit__(None, None, None))
        return writing.offset_bytes

    def _is_here(self, wanted: UploadBody) -> bool:
        """Whether exactly this is installed: the answer to whoever missed that the last byte came."""
        with suppress(ModelNotFound):
            record = self._exposed.store.find(wanted.name).record
            return record is not None and record.pieces == (Piece(wanted.sha256, wanted.size_bytes),)
        return False


async def _next(content: StreamReader, patience: Patience) -> tuple[bytes, Patience]:
    """What comes next, nothing at the end, and the patience left. Raises `InvalidRequest` where it came too slowly."""
    try:
        return await more(content, patience)
    except TimeoutError as error:
        raise InvalidRequest(
            f"It came more slowly than {LEAST_BYTES_PER_S} bytes a second, or stopped coming. What came before is "
            "kept: ask how far it is and go on there."
        ) from error


async def _written(writing: Writing, batch: bytearray) -> None:
    data = bytes(batch)
    batch.clear()
    if data:
        await _to_its_end(lambda: writing.write(data))


async def _to_its_end(work: Callable[[], Result]) -> Result:
    """`work` in a thread; who is cancelled meanwhile waits for it, so that no two threads ever hold one upload."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _body(upload: Upload) -> dict[str, Any]:
    return _told(upload.id, upload.name, upload.total_bytes, upload.sha256, upload.offset_bytes, is_installed=False)


def _told(id: str, name: str, size_bytes: int, sha256: str, offset: int, *, is_installed: bool) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "size_bytes": size_bytes,
        "sha256": sha256 or None,
        "offset": offset,
        "installed": is_installed,
    }


def _offset(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidRequest(f"{_OFFSET} must be a number of bytes, not {text[:40]!r}.", param=_OFFSET)
    return int(text)
