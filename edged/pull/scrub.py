"""Whether what is installed is still what it was: flash forgets, and nobody notices a wrong weight by reading.

    every record ─▶ read its files slowly ─▶ good: note when
                                          ├▶ bad twice: take the file away ─▶ fetch it again from where it came
                                          └▶ cannot be read now: say so, and leave it alone

A file that is known to be bad is taken away before the new one is there: a model that is missing says so, a model that
is damaged answers, and nobody knows how. Whoever has it in memory keeps it until it is unloaded. Files without a
record have no checksum that could be wrong and are left alone. Reading goes past the page cache as far as Linux lets
it: what a worker has mapped stays there and is what is checked of it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from edged.errors import ChecksumMismatch, EdgedError, QueueFull
from edged.pull.pace import QuietHours
from edged.pull.partial import file_thread
from edged.pull.progress import Progress
from edged.pull.queue import Pulls
from edged.pull.throttle import Clock, Throttle
from edged.store import Piece, Record, Store

log = logging.getLogger(__name__)

# A card gives two to three times as much, and whoever starts a program meanwhile shall not wait for it.
_BYTES_PER_S = 24 * 2**20
_READ_BYTES = 4 * 2**20
_BUSY_S = 1.0
_LEAST_BETWEEN_S = 0.25
# It is not there, or the card cannot give it back. Other errors (no descriptor left, no permission) say nothing of it.
_DAMAGE = (errno.ENOENT, errno.EIO)


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a model is: `checking` and `mending` go on, the others are the last word on it.

    `replaced`: it was bad, and its source has only another version now. `unchecked`: nobody knows. `gone`: it was
    deleted or exchanged meanwhile, and there is nothing to say about it.
    """

    name: str
    state: Literal["checking", "good", "mending", "mended", "replaced", "unchecked", "bad", "gone"]
    done_bytes: int
    size_bytes: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with a file; where it is no damage, nothing is known of its content."""

    what: str
    is_damage: bool


class Scrub:
    """Reads everything again, once at a time. `is_busy` says whether somebody is being answered.

    `is_good_again` hears the name of every model whose bad file was exchanged for a good one: what was held against
    that file says nothing of this one.
    """

    def __init__(
        self,
        store: Store,
        pulls: Pulls,
        tell: Callable[..., None],
        is_busy: Callable[[], bool],
        is_good_again: Callable[[str], None] = lambda _: None,
        *,
        bytes_per_s: int = _BYTES_PER_S,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._pulls = pulls
        self._tell = tell
        self._is_busy = is_busy
        self._is_good_again = is_good_again
        self._clock = clock or Clock()
        self._throttle = Throttle(bytes_per_s, QuietHours(), self._clock)
        self._is_running = False

    async def run(self) -> AsyncIterator[Checked]:
        """Every model with a record, as it goes. Raises `QueueFull` where this is done already."""
        if self._is_running:
            raise QueueFull("The models are being checked already.", retry_after_s=60.0)
        self._is_running = True
        thread = file_thread()
        good: set[Piece] = set()
        try:
            for record in await asyncio.to_thread(self._store.records):
                async for checked in self._model(record, good, thread):
                    yield checked
        finally:
            self._is_running = False
            thread.shutdown(wait=False)

    async def _model(self, record: Record, good: set[Piece], thread: ThreadPoolExecutor) -> AsyncIterator[Checked]:
        done_bytes, told_s, found = 0, 0.0, dict[Piece, _Problem]()
        for piece in record.pieces:
            problem: _Problem | None = None
            if piece not in good:
                # What seems damaged is read twice: it is about to be deleted.
                for _ in range(2):
                    async for count, wrong in self._file(piece, thread):
                        problem = wrong
                        if self._clock.now_s() - told_s >= _LEAST_BETWEEN_S:
                            told_s = self._clock.now_s()
                            yield Checked(record.name, "checking", done_bytes + count, record.size_bytes)
                    if problem is None or not problem.is_damage:
                        break
                if problem is None:
                    good.add(piece)
                else:
                    found[piece] = problem
            done_bytes += piece.size_bytes
        async for checked in self._verdict(record, found):
            yield checked

    async def _verdict(self, record: Record, found: Mapping[Piece, _Problem]) -> AsyncIterator[Checked]:
        """The last word; before it, what is bad is mended. Reading takes long: nothing may be as it was by now."""
        name, size_bytes = record.name, record.size_bytes
        bad = {piece: problem.what for piece, problem in found.items() if problem.is_damage}
        if not await self._is_current(record):
            yield Checked(name, "gone", 0, size_bytes, "it was deleted or exchanged meanwhile")
        elif not found:
            try:
                await asyncio.to_thread(self._store.touch_verified, record, int(time.time()))
            except OSError as error:
                log.warning("that %s is as it was cannot be noted: %s", name, error)
            yield Checked(name, "good", size_bytes, size_bytes)
        elif not bad:
            what = next(iter(found.values())).what
            yield Checked(name, "unchecked", 0, size_bytes, f"It could not be checked: {what}.")
        else:
            what = next(iter(bad.values()))
            try:
                dropped = [await asyncio.to_thread(self._store.drop, piece, record) for piece in bad]
            except OSError as error:
                why = f"{what}; it cannot be taken away: {error.strerror or error}"
                self._tell("model_damaged", model=name, reason=why)
                yield Checked(name, "bad", 0, size_bytes, f"{why}.")
                return
            if not all(dropped):
                yield Checked(name, "gone", 0, size_bytes, "it was deleted or exchanged meanwhile")
                return
            self._tell("model_damaged", model=name, reason=what)
            async for checked in self._mend(record, what):
                if checked.state == "mended":
                    await self._tell_good_again(set(bad))
                yield checked

    async def _tell_good_again(self, mended: set[Piece]) -> None:
        """A file may have several names; all of them mean the good one now."""
        for record in await asyncio.to_thread(self._store.records):
            if mended & {*record.pieces}:
                self._is_good_again(record.name)

    async def _is_current(self, record: Record) -> bool:
        return await asyncio.to_thread(self._store.is_current, record)

    async def _file(self, piece: Piece, thread: ThreadPoolExecutor) -> AsyncIterator[tuple[int, _Problem | None]]:
        """How much of a file was read and, in the end, what is wrong with it."""
        loop, digest, done = asyncio.get_running_loop(), hashlib.sha256(), 0
        try:
            path = self._store.blob_path(piece.sha256)
            descriptor = await loop.run_in_executor(thread, os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            yield 0, _Problem(f"a file of it cannot be opened: {error.strerror or error}", error.errno in _DAMAGE)
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
                yield done, None
        except OSError as error:
            what = f"a file of it cannot be read at byte {done}: {error.strerror or error}"
            yield done, _Problem(what, error.errno in _DAMAGE)
            return
        finally:
            await asyncio.shield(loop.run_in_executor(thread, os.close, descriptor))
        is_same = done == piece.size_bytes and digest.hexdigest() == piece.sha256
        what = f"a file of it has other content than the SHA-256 {piece.sha256} says"
        yield done, None if is_same else _Problem(what, is_damage=True)

    async def _mend(self, record: Record, problem: str) -> AsyncIterator[Checked]:
        if not record.source:
            yield Checked(record.name, "bad", 0, record.size_bytes, f"{problem}; import it again.")
            return
        name, size_bytes = record.name, record.size_bytes
        try:
            if not await self._is_current(record):
                yield Checked(name, "gone", 0, size_bytes, "it was deleted or exchanged meanwhile")
                return
            pull = self._submit(record)
            async for progress in self._pulls.follow(pull.id):
                pull = progress
                if not pull.has_ended:
                    yield Checked(name, "mending", pull.done_bytes, pull.total_bytes or size_bytes, problem)
                    # What somebody deletes meanwhile does not come back. What is being verified may be there already.
                    if pull.state != "verifying" and not await self._is_current(record):
                        self._pulls.cancel(pull.id)
        except EdgedError as error:
            yield Checked(name, "bad", 0, size_bytes, f"{problem}; it was not fetched again: {error}")
            return
        is_current = await self._is_current(record)
        if pull.state == "done" and is_current:
            self._tell("model_mended", model=name, source=record.source)
            yield Checked(name, "mended", size_bytes, size_bytes, problem)
        elif pull.state == "done":
            what = f"{problem}; {record.source} has another version by now, which was fetched instead."
            yield Checked(name, "replaced", size_bytes, size_bytes, what)
        elif not is_current:
            yield Checked(name, "gone", 0, size_bytes, "it was deleted or exchanged meanwhile")
        elif _is_replaced_upstream(pull):
            how = f"edged pull {record.source}" + (f" --name {name}" if name != record.source else "")
            what = f"{problem}; replaced upstream: `{how}` takes the new version."
            yield Checked(name, "bad", 0, size_bytes, what)
        else:
            why = pull.message or pull.state
            yield Checked(name, "bad", 0, size_bytes, f"{problem}; it could not be fetched again: {why}")

    def _submit(self, record: Record) -> Progress:
        """The same files once more: of the commit that they were of, and with the checksum where one says it all."""
        is_commit = len(record.revision) == 40 and record.source.startswith("hf.co/")
        return self._pulls.submit(
            record.source,
            name=record.name,
            sha256=record.pieces[0].sha256 if len(record.pieces) == 1 else None,
            revision=record.revision if is_commit else "",
        )


def _is_replaced_upstream(pull: Progress) -> bool:
    """Whether another file is announced there by now: the checksum was found wrong before anything was to come."""
    return pull.code == ChecksumMismatch.code and pull.total_bytes is None


def _read(descriptor: int, at: int, digest: hashlib._Hash) -> int:
    """The next piece of a file into its checksum, leaving nothing in the page cache; how long it was."""
    os.posix_fadvise(descriptor, at, _READ_BYTES, os.POSIX_FADV_DONTNEED)
    piece = os.pread(descriptor, _READ_BYTES, at)
    digest.update(piece)
    os.posix_fadvise(descriptor, at, _READ_BYTES, os.POSIX_FADV_DONTNEED)
    return len(piece)
