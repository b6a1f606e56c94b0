"""A file on its way: what is on the disk of it, how far that is safe, and the checksum of all of it so far.

    models/partial/KEY.part     the bytes
    models/partial/KEY.json     how many of them were fsynced, of which file of whom
    models/partial/KEY.again.part     the whole file once more, while it is becoming a model

Every 63 MiB the bytes are brought to the disk, and only then is it noted that they are there; so after a power cut what
is noted is there, and no more than that is lost. hashlib's state cannot be kept, so the safe part is read again before
it is gone on with. What was written and read leaves the page cache at once: the weights of a running model stay in it.

Everything here waits for the disk and is called in one thread, `file_thread`'s. That thread is as nice as can be: the
kernel gives it a core where inference leaves one, and its reads and writes come after all others' on the schedulers
that know priorities (ioprio_set(2): without one of its own a thread's is taken from its niceness).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edged import durable
from edged.errors import DiskFull
from edged.store import room

log = logging.getLogger(__name__)

# With what comes in one go beyond it, no more than 64 MiB.
SAFE_EVERY_BYTES = 63 * 2**20
_READ_BYTES = 2**20
_AGAIN = ".again.part"
_UPLOAD = "upload-"
_KEPT_S = 14 * 86400
_LOWEST = 19
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
_NO_SECOND_NAME = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def file_thread() -> ThreadPoolExecutor:
    """One thread, below everything else."""
    return ThreadPoolExecutor(1, "pull", initializer=_step_back)


def _step_back() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


@dataclass(frozen=True, slots=True)
class State:
    """What is noted of a partial. `etag` is that of the file at `url`."""

    url: str = ""
    etag: str | None = None
    size_bytes: int | None = None
    safe_bytes: int = 0


class Partial:
    """An open partial. Raises `DiskFull` where the disk takes no more, after which all that is noted still holds."""

    def __init__(self, path: Path, reserve_bytes: int | None = None, safe_every_bytes: int = SAFE_EVERY_BYTES) -> None:
        """Find or make it; what is not known to be safe is cut off."""
        self.path = path
        self.done_bytes = 0
        self._note = path.with_suffix(".json")
        self._reserve_bytes = reserve_bytes
        self._every_bytes = safe_every_bytes
        self._hash = hashlib.sha256()
        with _taking(path):
            durable.make_folder(path.parent)
            recover(path)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self.descriptor = os.open(path, flags, 0o600)
            self.state = _read(self._note)
            if self.state.safe_bytes > os.fstat(self.descriptor).st_size:
                self.state = State()
            os.ftruncate(self.descriptor, self.state.safe_bytes)
        self.has_earlier = self.state.safe_bytes > 0

    def rehash(self, end_bytes: int) -> bool:
        """Read the safe part again, up to `end_bytes` more; whether that was all of it.

        What the disk has lost of it meanwhile is fetched again, from the beginning.
        """
        end = min(self.state.safe_bytes, self.done_bytes + end_bytes)
        with _taking(self.path):
            while self.done_bytes < end:
                try:
                    piece = os.pread(self.descriptor, min(_READ_BYTES, end - self.done_bytes), self.done_bytes)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    piece = b""
                if not piece:
                    log.warning("%s cannot be read at byte %d and begins again", self.path, self.done_bytes)
                    self.restart()
                    return True
                self._hash.update(piece)
                self.done_bytes += len(piece)
            os.posix_fadvise(self.descriptor, 0, self.done_bytes, os.POSIX_FADV_DONTNEED)
        return self.done_bytes == self.state.safe_bytes

    def is_of(self, url: str) -> str | None:
        """The validator of what is here, where it came from `url`."""
        return self.state.etag if self.state.url == url else None

    def begin(self, url: str, etag: str | None, size_bytes: int) -> None:
        """What is written from here on is of this file. Raises `DiskFull` where it will not fit."""
        self.state = State(url, etag, size_bytes, self.state.safe_bytes)
        room.check(self.path.parent, size_bytes - self.done_bytes, self._reserve_bytes)

    def write(self, piece: bytes) -> None:
        """Go on with it."""
        with _taking(self.path):
            room.check(self.path.parent, len(piece), self._reserve_bytes)
            view = memoryview(piece)
            while view:
                count = os.pwrite(self.descriptor, view, self.done_bytes)
                self._hash.update(view[:count])
                self.done_bytes += count
                view = view[count:]
        if self.done_bytes - self.state.safe_bytes >= self._every_bytes:
            self.make_safe()

    def make_safe(self) -> None:
        """Bring it to the disk, then note so."""
        begin, state = self.state.safe_bytes, self.state
        if self.done_bytes == begin:
            return
        with _taking(self.path):
            os.fdatasync(self.descriptor)
            os.posix_fadvise(self.descriptor, begin, self.done_bytes - begin, os.POSIX_FADV_DONTNEED)
            self._write_note(State(state.url, state.etag, state.size_bytes, self.done_bytes))

    def restart(self) -> None:
        """Nothing of it is worth anything. The note goes first: it must never speak of bytes that are gone."""
        with _taking(self.path):
            durable.remove(self._note)  # needs no room, unlike writing it anew
            self.state = State()
            os.ftruncate(self.descriptor, 0)
        self._hash = hashlib.sha256()
        self.done_bytes = 0
        self.has_earlier = False

    def discard(self) -> None:
        """It will never be anything."""
        delete(self.path)
        self.state = State(safe_bytes=self.done_bytes)  # nothing is left that closing could keep

    def sha256(self) -> str:
        """Of all that is here."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Keep what there is; where the disk does not take it, what was noted before stays true."""
        try:
            with contextlib.suppress(DiskFull):
                if self.done_bytes > self.state.safe_bytes:
                    self.make_safe()
        finally:
            os.close(self.descriptor)

    def _write_note(self, state: State) -> None:
        text = {name: getattr(state, name) for name in ("url", "etag", "size_bytes", "safe_bytes")}
        durable.write(self._note, json.dumps(text))
        self.state = state


def keep(path: Path) -> None:
    """Give a whole partial a second name: a file that becomes a blob, and then has no record, is swept away.

    A disk that knows no second names does without: what is lost there by a power cut at that moment is fetched again.
    """
    try:
        os.link(path, path.with_suffix(_AGAIN), follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_SECOND_NAME:
            raise


def recover(path: Path) -> None:
    """Have a partial back that was becoming a model when that was cut short. Raises `OSError`."""
    again = path.with_suffix(_AGAIN)
    if again.exists():
        again.chmod(0o600)
        again.replace(path)
        again.unlink(missing_ok=True)  # two names of one file stay two


def delete(path: Path) -> None:
    """Have a partial gone, with its note first."""
    for file in (path.with_suffix(".json"), path, path.with_suffix(_AGAIN)):
        file.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # no folder, no partial in it
        durable.sync_folder(path.parent)


def sweep(folder: Path, ordered: Collection[str], now_s: float) -> None:
    """Delete what nobody orders (`ordered` are the keys that somebody does) and nothing was added to for two weeks.

    An upload is ordered as long as its note is there: whoever sends it may go on.
    """
    for path in folder.glob("*.part"):
        key = path.name.removesuffix(".part").removesuffix(".again")
        whole = path.with_name(f"{key}.part")
        note = whole.with_suffix(".json")
        if key in ordered or (key.startswith(_UPLOAD) and note.exists()):
            continue
        try:
            touched_s = max(file.lstat().st_mtime for file in (path, note) if file.exists())
            if now_s - touched_s > _KEPT_S:
                delete(whole)
                log.info("%s was deleted: nobody has gone on with it for %d days", whole, _KEPT_S // 86400)
        except (OSError, ValueError) as error:  # ValueError: it went meanwhile
            log.warning("%s is left behind by a download and could not be deleted: %s", path, error)


def _read(note: Path) -> State:
    """What is noted; nothing where the note is missing or no longer makes sense."""
    try:
        found = json.loads(note.read_bytes())
        state = State(found["url"], found["etag"], found["size_bytes"], found["safe_bytes"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return State()
    is_sound = isinstance(state.url, str) and isinstance(state.safe_bytes, int) and state.safe_bytes >= 0
    return state if is_sound and isinstance(state.etag, str | None) else State()


@contextlib.contextmanager
def _taking(path: Path) -> Iterator[None]:
    """What a disk says when it takes nothing any more, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DiskFull(
            f"The disk of {path.parent} does not take more: {error.strerror}. What was fetched is kept.",
            retry_after_s=60.0,
        ) from error
