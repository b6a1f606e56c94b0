"""One file from elsewhere to here: gone on with where it stopped, looked at early, verified, and only then a blob.

    part ─▶ ask for the rest ─▶ receive, write, hash ─▶ verified
               ▲                     │
               └── wait a little ◀── broke off, stalled, crawled

Whatever a server does, this ends: a body is as long as was said before it came, it comes at a least speed, and it
breaks off so many times at most without getting on. Nothing here makes a file anybody's model: that is for the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import StreamReader

from edged.errors import ChecksumMismatch, ModelInvalid, ModelUnsupported, ProviderUnavailable
from edged.gguf.header import inspect
from edged.gguf.reading import GgufInvalid, GgufUnsupported, Unfinished
from edged.plain import plain
from edged.pull.found import Remote
from edged.pull.pace import Crawl, Patience
from edged.pull.partial import SAFE_EVERY_BYTES, Partial
from edged.pull.ranges import Expected, OtherFile, place
from edged.pull.throttle import Throttle
from edged.pull.web import Opened, Retryable, Web, reading
from edged.store import Piece

BATCH_BYTES = 2**20
_BATCH_S = 0.5
_REHASH_BYTES = 64 * 2**20
# Whether this is a model shows in its header, which is a few megabytes at most where it has a vocabulary.
_LOOKS_BYTES = (2**20, 8 * 2**20, 32 * 2**20, 64 * 2**20)


class _Quiet(Exception):
    """Quiet hours have begun."""


@dataclass(frozen=True, slots=True)
class Means:
    """What every transfer works with. `told` hears of every change of what is here, `paused` why nothing comes."""

    web: Web
    thread: ThreadPoolExecutor
    throttle: Throttle
    patience: Patience
    told: Callable[[int, int | None], None]
    paused: Callable[[str], None]
    reserve_bytes: int | None = None
    safe_every_bytes: int = SAFE_EVERY_BYTES


class Transfer:
    """The fetching of `remote` into `path`. `is_whole` says that it is a model's only file."""

    def __init__(self, means: Means, remote: Remote, path: Path, *, is_whole: bool) -> None:
        self._means = means
        self._remote = remote
        self._path = path
        self._is_whole = is_whole
        self._partial: Partial
        self._size_bytes: int | None = remote.size_bytes
        self._pieced = False  # whether what is here came in more than one go
        self._restarts = 0

    @asynccontextmanager
    async def verified(self) -> AsyncIterator[tuple[int, Piece]]:
        """The whole file, as a descriptor and what it is, on the disk under `path` as long as nobody moves it.

        What there is stays for the next time, unless it is worth nothing. Raises `ChecksumMismatch`, `ModelInvalid`,
        `DiskFull`, `ProviderUnavailable`, `ModelNotFound`, `Forbidden`.
        """
        async with self._open():
            while not await self._thread(self._partial.rehash, _REHASH_BYTES):
                self._tell()
            self._pieced = self._partial.has_earlier
            piece = None
            while piece is None:
                await self._until_all_is_here()
                piece = await self._verified()
            await self._thread(self._partial.make_safe)
            yield self._partial.descriptor, piece

    async def _until_all_is_here(self) -> None:
        patience, failures, mark = self._means.patience, 0, self._partial.done_bytes
        while self._size_bytes is None or self._partial.done_bytes != self._size_bytes:
            await self._means.throttle.until_loud(self._means.paused)
            self._means.paused("")
            try:
                await self._attempt()
            except _Quiet:
                continue
            except OtherFile as error:
                await self._again(str(error))
                mark = 0
            except Retryable as error:
                if self._partial.done_bytes - mark >= patience.progress_bytes:
                    failures = 0
                failures, mark = failures + 1, self._partial.done_bytes
                if failures > patience.attempts:
                    raise ProviderUnavailable(
                        f"{self._remote.file} was tried {failures} times without getting on: {error} "
                        f"{mark / 2**20:,.0f} MiB are kept.",
                        retry_after_s=60.0,
                    ) from error
                wait_s = error.wait_s(patience, failures)
                self._means.paused(f"{error} Trying again in {wait_s:.0f} s.")
                await self._means.throttle.clock.sleep(wait_s)

    async def _attempt(self) -> None:
        """One connection, as far as it goes."""
        partial, remote = self._partial, self._remote
        if remote.size_bytes is not None and partial.done_bytes > remote.size_bytes:
            raise OtherFile("more is here than the file has")
        etag = partial.is_of(remote.url)
        if partial.done_bytes and not etag and not remote.sha256:
            raise OtherFile("nothing says whether what is here belongs to the file as it is now")
        headers = {}
        if partial.done_bytes:
            headers["Range"] = f"bytes={partial.done_bytes}-"
            headers |= {"If-Range": etag} if etag else {}
        async with self._means.web.get(remote.url, headers) as opened:
            self._check_linked(opened)
            found = place(
                opened.response.status,
                opened.response.headers,
                Expected(partial.done_bytes, remote.size_bytes, partial.state.size_bytes if etag else None, etag),
                opened.host,
            )
            if partial.done_bytes and found.begin == 0:
                await self._again("the file has changed, or its server knows no ranges")
            self._pieced |= partial.done_bytes > 0
            self._size_bytes = found.size_bytes
            await self._thread(partial.begin, remote.url, found.etag, found.size_bytes)
            await self._receive(opened.response.content, opened.host, found.size_bytes)

    def _check_linked(self, opened: Opened) -> None:
        """A hub's checksum of the file, where a redirect told it: a wrong one is known before gigabytes are here."""
        told, announced = (opened.linked_etag or "").strip('"').lower(), self._remote.sha256
        if announced and len(told) == len(announced) and told != announced:
            raise ChecksumMismatch(
                f"{self._remote.file} was announced with SHA-256 {announced} and is offered with {told} now. Try again."
            )

    async def _receive(self, content: StreamReader, host: str, size_bytes: int) -> None:
        means, partial, crawl, batch = self._means, self._partial, Crawl(), bytearray()
        clock = means.throttle.clock
        written_s = clock.now_s()
        while partial.done_bytes + len(batch) < size_bytes:
            began_s = clock.now_s()
            try:
                async with reading(means.patience.stall_s, host):
                    came = await content.readany()
            except Retryable:
                await self._write(batch)
                raise
            if not came:
                await self._write(batch)
                raise Retryable(f"{host} broke off after {partial.done_bytes} of {size_bytes} bytes.")
            crawl = crawl.after(clock.now_s() - began_s, len(came), means.patience)
            batch += came[: size_bytes - partial.done_bytes - len(batch)]  # never more than was announced
            if len(batch) >= BATCH_BYTES or clock.now_s() - written_s >= _BATCH_S:
                await self._write(batch)
                written_s = clock.now_s()
                if means.throttle.quiet_until():
                    raise _Quiet
            if crawl.is_too_slow(means.patience):
                await self._write(batch)
                raise Retryable(f"{host} sends fewer than {means.patience.least_bytes_per_s} bytes a second.")
            await means.throttle.spend(len(came))
        await self._write(batch)

    async def _write(self, batch: bytearray) -> None:
        if batch:
            before = self._partial.done_bytes
            await self._thread(self._partial.write, bytes(batch))
            batch.clear()
            await self._look(before)
            self._tell()

    async def _look(self, before_bytes: int) -> None:
        """Look at the header as soon as it may be here; what is no model is not fetched to its end."""
        size, done = self._size_bytes or 0, self._partial.done_bytes
        if any(before_bytes < min(look, size) <= done for look in _LOOKS_BYTES):
            try:
                await self._thread(self._inspect)
            except ModelInvalid as error:
                if self._pieced:
                    raise OtherFile("what was here of it is damaged") from error
                raise

    def _inspect(self) -> None:
        try:
            header = inspect(self._partial.descriptor, self._size_bytes)
        except Unfinished:
            return
        except GgufUnsupported as error:
            raise self._no_model(str(error), ModelUnsupported) from error
        except GgufInvalid as error:
            raise self._no_model(str(error)) from error
        if self._is_whole and header.problem:
            raise self._no_model(header.problem, ModelUnsupported if header.unsupported else ModelInvalid)

    def _no_model(self, why: str, kind: type[ModelInvalid] = ModelInvalid) -> ModelInvalid:
        return kind(f"{self._remote.file} from {plain(self._remote.url, 160)} is no model: {why}", param="model")

    async def _verified(self) -> Piece | None:
        """What is here, where it is what was announced; None where it began again from nothing."""
        digest, announced = await self._thread(self._partial.sha256), self._remote.sha256
        if announced in (None, digest):
            return Piece(digest, self._partial.done_bytes)
        if self._pieced:
            await self._again("it is not what was announced, and it came in pieces")
            return None
        raise ChecksumMismatch(
            f"{self._remote.file} has the SHA-256 {digest}, and {announced} was announced. What came was thrown away."
        )

    async def _again(self, why: str) -> None:
        self._restarts += 1
        if self._restarts > self._means.patience.restarts:
            raise ProviderUnavailable(
                f"{self._remote.file} was begun {self._restarts} times and could not be gone on with: {why}."
            )
        await self._thread(self._partial.restart)
        self._pieced, self._size_bytes = False, self._remote.size_bytes
        self._tell()

    def _tell(self) -> None:
        self._means.told(self._partial.done_bytes, self._size_bytes)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        means = self._means
        opening = asyncio.ensure_future(self._thread(Partial, self._path, means.reserve_bytes, means.safe_every_bytes))
        try:
            self._partial = await asyncio.shield(opening)
        except asyncio.CancelledError:
            while not opening.done():  # nobody else would ever close what it opens
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([opening])
            if not opening.exception():
                await asyncio.shield(self._thread(opening.result().close))
            raise
        try:
            yield
        except (ModelInvalid, ChecksumMismatch):
            await self._thread(self._partial.discard)
            raise
        finally:
            # Whoever waits may be cancelled; what is here is brought to the disk all the same.
            await asyncio.shield(self._thread(self._partial.close))

    async def _thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._means.thread, call, *arguments)
