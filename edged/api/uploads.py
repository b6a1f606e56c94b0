"""The handlers of models that are brought here over HTTP: offered, sent from where they stopped, installed.

    POST   /edged/v1/imports                    what will come: a name, and the size of every file       → id, offsets
    PATCH  /edged/v1/imports/ID/files/NUMBER    bytes from `Upload-Offset` on
    GET    /edged/v1/imports/ID                 how far it is, for whoever was cut off
    DELETE /edged/v1/imports/ID                 it is given up

No path on this device is ever taken: whoever can say one over HTTP could have the daemon read what only the daemon may.
The command line reads the file with its owner's rights and sends it over the control socket. What is sent here is no
request body in the sense of `[http] body_bytes`: it goes to the disk as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints

from edged.api import body
from edged.api.body import Strict
from edged.api.exposed import Exposed, Route, Told
from edged.errors import InvalidRequest, UnsupportedMediaType
from edged.pull.upload import Offer, Offered, Upload

_CHUNK_BYTES = 256 * 1024
_TYPES = ("application/offset+octet-stream", "application/octet-stream")
_EXAMPLE = {"name": "mine", "files": [{"size_bytes": 4096}]}
_OFFSET = "Upload-Offset"

_Text = Annotated[str, StringConstraints(max_length=512)]


class OfferedBody(Strict):
    """A file that will come."""

    size_bytes: int = Field(ge=24, le=2**44, description="No GGUF file is shorter than its head.")
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None


class OfferBody(Strict):
    """`POST /edged/v1/imports`: a model that will come, of one file, or of several in their order."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    files: Annotated[list[OfferedBody], Field(min_length=1, max_length=64)]
    source: _Text = ""
    revision: _Text = ""
    license: _Text = ""

    @property
    def offer(self) -> Offer:
        """As the daemon knows it."""
        files = tuple(Offered(file.size_bytes, file.sha256) for file in self.files)
        return Offer(self.name, files, self.source, self.revision, self.license)


class Imports:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        one = "/edged/v1/imports/{id}"
        return [
            Route(
                "POST",
                "/edged/v1/imports",
                "admin",
                self.offer,
                Told({201: "Import"}, OfferBody, _EXAMPLE, fails=(507,)),
            ),
            Route("GET", one, "admin", self.state, Told({200: "Import"})),
            Route(
                "PATCH",
                f"{one}/files/{{number}}",
                "admin",
                self.send,
                Told({200: "Import"}, params=(_OFFSET,), fails=(413, 415, 422, 507)),
            ),
            Route("DELETE", one, "admin", self.cancel, Told({204: ""})),
        ]

    async def offer(self, request: web.Request) -> web.StreamResponse:
        """Offer a model. The answer says where each of its files goes on; the same offer goes on where it was."""
        upload = await self._exposed.uploads.begin((await body.read(request, OfferBody)).offer)
        return web.json_response(
            upload_body(upload), status=201, headers={"Location": f"/edged/v1/imports/{upload.id}"}
        )

    async def state(self, request: web.Request) -> web.StreamResponse:
        """How far an offered model is."""
        return web.json_response(upload_body(self._exposed.uploads.get(request.match_info["id"])))

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Bytes of a file. With the last of the last file the model is checked and installed before the answer."""
        if request.content_type not in _TYPES:
            raise UnsupportedMediaType(f"The body must be {_TYPES[0]}, not {request.content_type[:80]!r}.")
        offset, number = _number(request.headers.get(_OFFSET, ""), _OFFSET), request.match_info["number"]
        chunks = request.content.iter_chunked(_CHUNK_BYTES)
        upload = await self._exposed.uploads.receive(
            request.match_info["id"], _number(number, "number"), offset, _chunks(chunks)
        )
        return web.json_response(upload_body(upload))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Give an offer up; what has come of it is deleted."""
        await self._exposed.uploads.cancel(request.match_info["id"])
        return web.Response(status=204)


def upload_body(upload: Upload) -> dict[str, Any]:
    """An upload as JSON."""
    files = [
        {"size_bytes": file.size_bytes, "sha256": file.sha256, "offset": offset}
        for file, offset in zip(upload.offer.files, upload.offsets, strict=True)
    ]
    return {"id": upload.id, "name": upload.offer.name, "state": upload.state, "files": files}


async def _chunks(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in source:
        yield chunk


def _number(text: str, param: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidRequest(f"{param} must be a number of bytes or files, not {text[:40]!r}.", param=param)
    return int(text)
