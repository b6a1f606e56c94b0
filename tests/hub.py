"""A hub on loopback that speaks as Hugging Face, ModelScope and Ollama's registry do, and can fail on demand.

Files themselves lie on another origin, as on all three: the hub redirects there. What goes wrong is told beforehand,
one `Fault` for each answer of that other host; without one it behaves. Shapes are those of huggingface_hub 2.4 (hf_api
`ModelInfo`), modelscope_hub 0.5 (_legacy_api `_list_files_page`) and Ollama's server/images.go.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aiohttp import web

from tests.daemon_process import PATIENCE_S
from tests.gguf_draft import WIDTH, Draft, Tensor, pieces

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@cache
def model(extra_rows: int = 12_000, seed: int = 1) -> bytes:
    """A sound model of some `extra_rows` times 64 bytes, every one of them by chance."""
    draft = Draft()
    draft.tensors = [*draft.tensors, Tensor("extra.weight", (WIDTH, extra_rows))]
    header = draft.header()
    aligned = -(-len(header) // draft.alignment) * draft.alignment
    data_bytes = sum(-(-one.size_bytes // draft.alignment) * draft.alignment for one in draft.tensors)
    return header.ljust(aligned, b"\0") + random.Random(seed).randbytes(data_bytes)


def split_model(count: int) -> list[bytes]:
    """A sound model in so many files."""
    return [draft.written() for draft in pieces(count)]


def sha256(data: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Fault:
    """What one answer with a file does instead. Offsets are in the file, not in the body."""

    status: int | None = None  # instead of an answer
    headers: dict[str, str] = field(default_factory=dict)  # in addition to its own, or instead
    cut_at: int | None = None  # the connection ends there
    stall_at: int | None = None  # nothing more comes from there on
    bytes_per_s: int | None = None
    ignores_range: bool = False
    shifted_by: int = 0  # the range that is sent begins so much later
    longer_by: int = 0  # Content-Length says so many more
    bent_at: int | None = None  # this byte is another
    etag: str | None = None
    redirect: str | None = None
    body: bytes | None = None
    is_endless: bool = False  # no length, and no end
    meanwhile: Callable[[int], None] = lambda _: None  # hears how far the body is


@dataclass(frozen=True)
class Seen:
    """A request that came. `host` is "hub" or "files"."""

    host: str
    path: str
    headers: dict[str, str]


class Hub:
    """The servers. `files` are by path within a repository, `faults` are used up one by one."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.registry: dict[str, list[tuple[str, bytes]]] = {}
        self.links: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.is_down = False
        self.busy = 0  # so many manifests are refused
        self.license: Any = "apache-2.0"
        self.gated: set[str] = set()
        self.token = ""
        self.repeats_tokens = False  # in its refusals, as careless servers do
        self.announces: Callable[[str], str] = lambda digest: digest
        self.announced_bytes: Callable[[int], int] = lambda size: size
        self.linked_etag: str | None = None
        self.hub_url = self.files_url = ""
        self.sent_bytes = 0
        self._blobs: dict[str, bytes] = {}

    @property
    def fetched(self) -> list[Seen]:
        """What was asked of the host that has the files."""
        return [seen for seen in self.seen if seen.host == "files"]

    # Hugging Face

    async def model_info(self, request: web.Request) -> web.StreamResponse:
        repository = f"{request.match_info['org']}/{request.match_info['repo']}"
        refused = self._refused(request, repository)
        if refused is not None:
            return refused
        siblings = [
            {
                "rfilename": path,
                "blobId": "0" * 40,
                "size": self.announced_bytes(len(data)),
                "lfs": {
                    "sha256": self.announces(sha256(data)),
                    "size": self.announced_bytes(len(data)),
                    "pointerSize": 134,
                },
            }
            for path, data in self.repositories[repository].items()
        ]
        readme = {"rfilename": "README.md", "blobId": "1" * 40, "size": 5}
        body = {"id": repository, "sha": COMMIT, "gated": False, "cardData": {"license": self.license}}
        return web.json_response({**body, "siblings": [readme, *siblings]})

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        repository = f"{request.match_info['org']}/{request.match_info['repo']}"
        refused = self._refused(request, repository)
        if refused is not None:
            return refused
        data = self.repositories[repository][request.match_info["path"]]
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{self.linked_etag or self.announces(sha256(data))}"',
        }
        return self._elsewhere(data, 302, headers)

    # ModelScope

    async def listing(self, request: web.Request) -> web.StreamResponse:
        repository = f"{request.match_info['org']}/{request.match_info['repo']}"
        if repository not in self.repositories:
            return web.json_response({"Code": 10010205001, "Message": "not found", "Success": False}, status=404)
        assert request.query["Revision"] == "master"
        files: list[dict[str, Any]] = [
            {"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(data), "Sha256": sha256(data)}
            for path, data in self.repositories[repository].items()
        ]
        files.append({"Path": "sub", "Name": "sub", "Type": "tree", "Size": 0, "Sha256": ""})
        return web.json_response({"Code": 200, "Success": True, "Data": {"Files": files}})

    async def scope_file(self, request: web.Request) -> web.StreamResponse:
        repository = f"{request.match_info['org']}/{request.match_info['repo']}"
        return self._elsewhere(self.repositories[repository][request.query["FilePath"]], 302, {})

    # Ollama

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept"] == _MANIFEST
        if self.busy:
            self.busy -= 1
            return web.Response(status=429)
        layers = self.registry.get(
            f"{request.match_info['space']}/{request.match_info['model']}:" + request.match_info["tag"]
        )
        if layers is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        body = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": "sha256:" + "0" * 64,
                "size": 2,
            },
            "layers": [
                {
                    "mediaType": f"application/vnd.ollama.image.{kind}",
                    "digest": f"sha256:{sha256(data)}",
                    "size": len(data),
                }
                for kind, data in layers
            ],
        }
        return web.Response(text=json.dumps(body), content_type=_MANIFEST)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["digest"].removeprefix("sha256:")
        data = next(data for layers in self.registry.values() for _, data in layers if sha256(data) == wanted)
        if len(data) < 1000:
            return web.Response(body=data)
        return self._elsewhere(data, 307, {})

    # Files

    async def link(self, request: web.Request) -> web.StreamResponse:
        data = self.links.get(request.match_info["path"])
        return web.Response(status=404) if data is None else await self._send(request, data)

    async def file(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, self._blobs[request.match_info["digest"]])

    async def _send(self, request: web.Request, data: bytes) -> web.StreamResponse:
        fault = self.faults.pop(0) if self.faults else Fault()
        if fault.status is not None:
            return web.Response(status=fault.status, headers=fault.headers)
        if fault.redirect is not None:
            return web.Response(status=302, headers={"Location": fault.redirect})
        if fault.body is not None:
            return web.Response(body=fault.body)
        etag = fault.etag or f'"{sha256(data)[:16]}"'
        begin = self._begin(request, fault, etag)
        if begin is not None and begin >= len(data):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}", "ETag": etag})
        if fault.bent_at is not None:
            data = data[: fault.bent_at] + bytes([data[fault.bent_at] ^ 1]) + data[fault.bent_at + 1 :]
        response = web.StreamResponse(headers={"ETag": etag, "Accept-Ranges": "bytes"})
        if begin is not None:
            begin += fault.shifted_by
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        response.headers.update(fault.headers)
        if fault.is_endless:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(data) - (begin or 0) + fault.longer_by
        await response.prepare(request)
        await self._body(request, response, data, begin or 0, fault)
        return response

    def _begin(self, request: web.Request, fault: Fault, etag: str) -> int | None:
        """Where a body begins, or None where it is the whole file."""
        asked = request.headers.get("Range")
        if asked is None or fault.ignores_range or request.headers.get("If-Range", etag) != etag:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    async def _body(
        self, request: web.Request, response: web.StreamResponse, data: bytes, at: int, fault: Fault
    ) -> None:
        step = 2**16 if fault.bytes_per_s is None else max(1, fault.bytes_per_s // 20)
        stops = [stop for stop in (fault.cut_at, fault.stall_at) if stop is not None]
        while at < len(data) or fault.is_endless:
            end = min([at + step, *(stop for stop in stops if stop > at), *([] if fault.is_endless else [len(data)])])
            piece = data[at:end] or bytes(end - at)
            await response.write(piece)
            self.sent_bytes += len(piece)
            at = end
            fault.meanwhile(at)
            if at == fault.cut_at:
                assert request.transport is not None
                request.transport.close()
                return
            if at == fault.stall_at:
                await asyncio.sleep(60)
            if fault.bytes_per_s is not None:
                await asyncio.sleep(step / fault.bytes_per_s)

    def _elsewhere(self, data: bytes, status: int, headers: dict[str, str]) -> web.Response:
        self._blobs[sha256(data)] = data
        return web.Response(
            status=status, headers={**headers, "Location": f"{self.files_url}/file/{sha256(data)}?sig=a%2Fb"}
        )

    def _refused(self, request: web.Request, repository: str) -> web.Response | None:
        if self.is_down:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if repository not in self.repositories:
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        if repository in self.gated and request.headers.get("Authorization") != f"Bearer {self.token}":
            said = f"gated {request.headers.get('Authorization', '')}" if self.repeats_tokens else "gated"
            return web.Response(status=401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": said})
        return None

    def app(self, host: str) -> web.Application:
        """The routes of one of the two hosts."""

        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            self.seen.append(Seen(host, request.path_qs, dict(request.headers)))
            answer: web.StreamResponse = await handler(request)
            return answer

        app = web.Application(middlewares=[note])
        if host == "files":
            app.router.add_get("/file/{digest}", self.file)
            app.router.add_get("/{path:.+}", self.link)
            return app
        app.router.add_get("/api/models/{org}/{repo}", self.model_info)
        app.router.add_get("/api/models/{org}/{repo}/revision/{commit}", self.model_info)
        app.router.add_get("/{org}/{repo}/resolve/{commit}/{path:.+}", self.resolve)
        app.router.add_get("/api/v1/models/{org}/{repo}/repo/files", self.listing)
        app.router.add_get("/api/v1/models/{org}/{repo}/repo", self.scope_file)
        app.router.add_get("/v2/{space}/{model}/manifests/{tag}", self.manifest)
        app.router.add_get("/v2/{space}/{model}/blobs/{digest}", self.blob)
        return app


@asynccontextmanager
async def running() -> AsyncIterator[Hub]:
    """A hub on two free ports of loopback."""
    hub = Hub()
    runners = []
    try:
        for host in ("hub", "files"):
            runner = web.AppRunner(hub.app(host), shutdown_timeout=0.1, handler_cancellation=True)
            runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            if host == "hub":
                hub.hub_url = url
            else:
                hub.files_url = url
        yield hub
    finally:
        for runner in runners:
            await runner.cleanup()


@contextmanager
def beside() -> Iterator[Hub]:
    """The same in a thread of its own, for tests that have no loop."""
    loop, leave = asyncio.new_event_loop(), asyncio.Event()
    opened: list[Hub] = []
    is_open = threading.Event()

    async def live() -> None:
        async with running() as hub:
            opened.append(hub)
            is_open.set()
            await leave.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert is_open.wait(PATIENCE_S)
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()
        loop.close()
