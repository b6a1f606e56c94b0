"""The pages: the files of `edged/web`, read once, served under their own names, with headers that keep them in."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).parent.parent / "web"
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# Nothing from anywhere else, nothing inline, no frame around it, no form out of it (W3C Content Security Policy 3).
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page, ready to send."""

    body: bytes
    compressed: bytes
    content_type: str
    etag: str


def assets(folder: Path = _FOLDER) -> dict[str, Asset]:
    """The page's files by URL path. Files without a known type (licences) stay on disk."""
    return {
        _path(file.relative_to(folder)): asset(file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in _TYPES
    }


def _path(file: Path) -> str:
    """Where people find it: a page without the end of its file's name, and `index.html` at the root."""
    if file.suffix != ".html":
        return f"/{file.as_posix()}"
    return "/" if file.stem == "index" else f"/{file.with_suffix('').as_posix()}"


def asset(body: bytes, content_type: str) -> Asset:
    """`body`, ready to send."""
    return Asset(body, gzip.compress(body, mtime=0), content_type, hashlib.sha256(body).hexdigest()[:16])


def respond(request: web.Request, asset: Asset) -> web.Response:
    """The file, or 304 where the browser still has it. It asks each time: no update may leave half a page."""
    headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache", "ETag": f'"{asset.etag}"', "Vary": "Accept-Encoding"}
    if request.if_none_match and any(tag.value == asset.etag for tag in request.if_none_match):
        return web.Response(status=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = asset.compressed, "gzip"
    return web.Response(body=body, content_type=asset.content_type, charset="utf-8", headers=headers)
