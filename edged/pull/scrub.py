"""Whether what is installed is still what it was: flash forgets, and nobody notices a wrong weight by reading.

    every record ─▶ read its files slowly ─▶ good: note when
                                          └▶ bad: take the file away ─▶ fetch it again from where it came

A file that is known to be bad is taken away before the new one is there: a model that is missing says so, a model that
is damaged answers, and nobody knows how. Whoever has it in memory keeps it until it is unloaded. Files without a
record have no checksum that could be wrong and are left alone. Reading goes past the page cache as far as Linux lets
it: what a worker has mapped stays there and is what is checked of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from edged.errors import EdgedError, QueueFull
from edged.pull.pace import QuietHours
from edged.pull.partial import file_thread
from edged.pull.progress import Progress
from edged.pull.queue import Pulls
from edged.pull.throttle import Clock, Throttle
from edged.store import Piece, Record, Store

# A card gives two to three times as much, and whoever starts a program meanwhile shall not wait for it.
_BYTES_PER_S = 24 * 2**20
_READ_BYTES = 4 * 2**20
_BUSY_S = 1.0
_LEAST_BETWEEN_S = 0.25


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a model is: `checking` and `mending` go on, the others are the last word on it."""

    name: str
    state: Literal["checking", "good", "mending", "mended", "bad"]
    done_bytes: int
    size_bytes: int
    message: str = ""


class Scrub:
    """Reads everything again, once at a time. `is_busy` says whether somebody is being answered."""

    def __init__(
        self,
        store: Store,
        pulls: Pulls,
        tell: Callable[..., None],
        is_busy: Callable[[], bool],
        *,
        bytes_per_s: int = _BYTES_PER_S,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._pulls = pulls
        self._tell = tell
        self._is_busy = is_busy
        self._clock = clock or Clock()
        self._throttle = Throttle(bytes_per_s, QuietHours(), self._clock)
        self._is_running = False

    async def run(self) -> AsyncIterator[Checked]:
        """Every model with a record, as it goes. Raises `QueueFull` where this is done already."""
        if self._is_running:
            raise QueueFull("The models are being checked already.", retry_after_s=60.0)
        self._is_running = True
        thread = file_thread()
        known: dict[Piece, str] = {}
        try:
            for record in await asyncio.to_thread(self._store.records):
                async for checked in self._model(record, known, thread):
                    yield checked
        finally:
            self._is_running = False
            thread.shutdown(wait=False)

    async def _model(
        self, record: Record, known: dict[Piece, str], thread: ThreadPoolExecutor
    ) -> AsyncIterator[Checked]:
        done_bytes, told_s, bad = 0, 0.0, list[Piece]()
        for piece in record.pieces:
            if piece not in known:
                problem = ""
                async for count, found in self._file(piece, thread):
                    problem = found
                    if self._clock.now_s() - told_s >= _LEAST_BETWEEN_S:
                        told_s = self._clock.now_s()
                        yield Checked(record.name, "checking", done_bytes + count, record.size_bytes)
                known[piece] = problem
            done_bytes += piece.size_bytes
            bad += [piece] if known[piece] else []
        if not bad:
            await asyncio.to_thread(self._store.touch_verified, record.name, int(time.time()))
            yield Checked(record.name, "good", record.size_bytes, record.size_bytes)
            return
        problem = known[bad[0]]
        for piece in bad:
            await asyncio.to_thread(self._store.drop, piece)
        self._tell("model_damaged", model=record.name, reason=problem)
        async for checked in self._mend(record, problem):
            if checked.state == "mended":
                for piece in bad:
                    known.pop(piece, None)  # another model may have it too
            yield checked

    async def _file(self, piece: Piece, thread: ThreadPoolExecutor) -> AsyncIterator[tuple[int, str]]:
        """How much of a file was read and, in the end, what is wrong with it."""
        loop, digest, done = asyncio.get_running_loop(), hashlib.sha256(), 0
        try:
            path = self._store.blob_path(piece.sha256)
            descriptor = await loop.run_in_executor(thread, os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            yield 0, f"a file of it cannot be opened: {error.strerror}"
            return
        try:
            while done < piece.size_bytes:
                while self._is_busy():
                    await self._clock.sleep(_BUSY_S)
                count = await loop.run_in_executor(thread, _read, descriptor, done, digest)
                if not count:
                    break
                done += count
                await self._throttle.spend(count)
                yield done, ""
        except OSError as error:
            yield done, f"a file of it cannot be read at byte {done}: {error.strerror}"
            return
        finally:
            await asyncio.shield(loop.run_in_executor(thread, os.close, descriptor))
        is_same = done == piece.size_bytes and digest.hexdigest() == piece.sha256
        yield done, "" if is_same else f"a file of it has other content than the SHA-256 {piece.sha256} says"

    async def _mend(self, record: Record, problem: str) -> AsyncIterator[Checked]:
        if not record.source:
            yield Checked(record.name, "bad", 0, record.size_bytes, f"{problem}; import it again.")
            return
        try:
            pull = self._submit(record)
            async for progress in self._pulls.follow(pull.id):
                pull, size_bytes = progress, progress.total_bytes or record.size_bytes
                if not pull.has_ended:
                    yield Checked(record.name, "mending", pull.done_bytes, size_bytes, problem)
        except EdgedError as error:
            yield Checked(record.name, "bad", 0, record.size_bytes, f"{problem}; it was not fetched again: {error}")
            return
        if pull.state == "done":
            self._tell("model_mended", model=record.name, source=record.source)
            yield Checked(record.name, "mended", pull.done_bytes, pull.total_bytes or record.size_bytes, problem)
        else:
            why = pull.message or pull.state
            yield Checked(record.name, "bad", 0, record.size_bytes, f"{problem}; it could not be fetched again: {why}")

    def _submit(self, record: Record) -> Progress:
        """The same files once more: the commit that they were of, or the checksum where a link is all there is."""
        is_link = "://" in record.source and len(record.pieces) == 1
        is_commit = len(record.revision) == 40 and record.source.startswith("hf.co/")
        return self._pulls.submit(
            record.source,
            name=record.name,
            sha256=record.pieces[0].sha256 if is_link else None,
            revision=record.revision if is_commit else "",
        )


def _read(descriptor: int, at: int, digest: hashlib._Hash) -> int:
    """The next piece of a file into its checksum, leaving nothing in the page cache; how long it was."""
    os.posix_fadvise(descriptor, at, _READ_BYTES, os.POSIX_FADV_DONTNEED)
    piece = os.pread(descriptor, _READ_BYTES, at)
    digest.update(piece)
    os.posix_fadvise(descriptor, at, _READ_BYTES, os.POSIX_FADV_DONTNEED)
    return len(piece)
