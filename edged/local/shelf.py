"""Prefixes on disk: the folder `kv/` of the state directory, its budget, and how a file comes and goes there.

    kv/MODEL-BUILD/NAME.kv          a prefix of that model, with that build of the engine and its settings
    kv/MODEL-BUILD/NAME.owner.kv    one that the owner of the device has set
    kv/MODEL-BUILD/NAME.tmp         half written; nobody's after a restart

Names are chance: they tell nothing of what is inside, nor of whose it is. Everything here waits for the disk, so it is
called from threads, several at a time.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from edged import durable
from edged.local.wear import Wear

log = logging.getLogger(__name__)

_FILE, _OWNERS, _TEMPORARY = ".kv", ".owner.kv", ".tmp"
# Of the disk, for everything else that runs on the device: a log or an update that finds no room does more harm than a
# prompt that is read again.
_LEFT_FREE_BYTES = 512 * 2**20
# The time of use is kept in the file's own timestamp; so often at most, since that is a write as well.
_TOUCHED_EVERY_S = 3600.0


@dataclass(slots=True)
class Entry:
    """A file on the shelf. `used_s` is Unix time."""

    path: Path
    size_bytes: int
    used_s: float

    @property
    def is_owners(self) -> bool:
        """Whether everybody may be offered it."""
        return self.path.name.endswith(_OWNERS)


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that is being written; its name is not yet anybody's. `descriptor` is its holder's to close."""

    path: Path
    temporary: Path
    descriptor: int
    size_bytes: int


def to_go(entries: Iterable[Entry], wanted_bytes: int, budget_bytes: int) -> list[Entry] | None:
    """Which entries go so that `wanted_bytes` more fit: the least recently used, the owner's last. None: never."""
    if wanted_bytes > budget_bytes:
        return None
    ordered = sorted(entries, key=lambda entry: (entry.is_owners, entry.used_s))
    held, going = sum(entry.size_bytes for entry in ordered), list[Entry]()
    while held + wanted_bytes > budget_bytes:
        going.append(ordered[len(going)])
        held -= going[-1].size_bytes
    return going


class Shelf:
    """All prefixes on disk. `written_bytes` and `restored_bytes` count since the start."""

    def __init__(self, folder: Path, budget_bytes: int, daily_bytes: int) -> None:
        """`open` must come before anything else."""
        self.folder = folder
        self.budget_bytes = budget_bytes
        self.written_bytes = self.restored_bytes = 0
        self._daily_bytes = daily_bytes
        self._entries: dict[Path, Entry] = {}
        self._touched: dict[Path, float] = {}
        self._complained: set[str] = set()
        self._lock = threading.Lock()
        self._wear: Wear

    @property
    def held_bytes(self) -> int:
        """All files together."""
        return sum(entry.size_bytes for entry in list(self._entries.values()))

    def open(self) -> None:
        """Find what earlier runs have left, and clear away what they have not finished or what is too much now."""
        self._wear = Wear(self.folder / "wear.json", self._daily_bytes)
        with self._lock:
            if not self.budget_bytes:
                shutil.rmtree(self.folder, ignore_errors=True)  # switched off: no prompt stays here
                return
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._scan()
            except OSError as error:
                self._complain("read", f"{self.folder} cannot be used, so prompts are not kept on disk: {error}")
            for entry in to_go(self._entries.values(), 0, self.budget_bytes) or ():
                self._remove(entry)

    def _scan(self) -> None:
        for path in self.folder.glob("*/*"):
            if path.name.endswith(_FILE) and path.is_file() and not path.is_symlink():
                status = path.stat()
                self._entries[path] = Entry(path, status.st_size, status.st_mtime)
            elif path.name.endswith(_TEMPORARY):
                path.unlink(missing_ok=True)

    def entries(self, room: str) -> list[Entry]:
        """The files of a room, the last used first."""
        found = [entry for entry in list(self._entries.values()) if entry.path.parent.name == room]
        return sorted(found, key=lambda entry: entry.used_s, reverse=True)

    def begin(self, room: str, size_bytes: int, *, is_owners: bool) -> tuple[Draft | None, list[Entry]]:
        """A file to write `size_bytes` to, or None where they are too many; and which files went for that."""
        with self._lock:
            going = to_go(self._entries.values(), size_bytes, self.budget_bytes)
            if going is None:
                return None, []
            try:
                if not self._has_room(size_bytes, going) or not self._wear.take(size_bytes):
                    return None, []
                for entry in going:
                    self._remove(entry)
                return self._create(room, size_bytes, _OWNERS if is_owners else _FILE), going
            except OSError as error:
                self._complain("write", f"prompts are not kept on disk in {self.folder}: {error}")
                return None, []

    def publish(self, draft: Draft) -> bool:
        """What was written to `draft` is whole: keep it. False where the disk does not take it."""
        size = os.fstat(draft.descriptor).st_size
        if size > draft.size_bytes:
            self.give_up(draft, f"{size} bytes were written where {draft.size_bytes} had been asked for")
            return False
        try:
            durable.publish(draft.descriptor, draft.temporary, draft.path)
        except OSError as error:
            self.give_up(draft, str(error))
            return False
        with self._lock:
            self._entries[draft.path] = Entry(draft.path, size, time.time())
            self.written_bytes += size
        return True

    def give_up(self, draft: Draft, reason: str = "") -> None:
        """It will never be whole."""
        if reason:
            self._complain("write", f"a prompt is not kept on disk in {self.folder}: {reason}")
        draft.temporary.unlink(missing_ok=True)

    def drop(self, path: Path, reason: str = "") -> None:
        """Delete a file."""
        if reason:
            log.warning("%s is deleted, and what it held is read again when somebody needs it: %s", path, reason)
        with self._lock:
            if entry := self._entries.get(path):
                self._remove(entry)

    def touch(self, path: Path, *, is_restored: bool) -> None:
        """Somebody's prompt began like this file."""
        with self._lock:
            entry = self._entries.get(path)
            if entry is None:
                return
            entry.used_s = time.time()
            self.restored_bytes += entry.size_bytes if is_restored else 0
            if abs(entry.used_s - self._touched.get(path, 0.0)) >= _TOUCHED_EVERY_S:
                self._touched[path] = entry.used_s
                try:
                    os.utime(path)
                except OSError as error:
                    self._complain("write", f"the use of {path} is not noted: {error}")

    def keep_only(self, model_keys: Collection[str], rooms: Collection[str]) -> None:
        """Delete the rooms of models that are not installed any more, and old ones of those in `rooms`."""
        current = {room.partition("-")[0] for room in rooms}
        with self._lock:
            for room in [found for found in self.folder.glob("*") if found.is_dir()]:
                key = room.name.partition("-")[0]
                if room.name not in rooms and (key in current or key not in model_keys):
                    shutil.rmtree(room, ignore_errors=True)
                    self._entries = {path: entry for path, entry in self._entries.items() if path.parent != room}

    def rooms(self) -> set[str]:
        """All that there are."""
        return {found.name for found in self.folder.glob("*") if found.is_dir()}

    def _has_room(self, size_bytes: int, going: Iterable[Entry]) -> bool:
        free_bytes = shutil.disk_usage(self.folder).free + sum(entry.size_bytes for entry in going)
        if free_bytes - size_bytes >= _LEFT_FREE_BYTES:
            return True
        self._complain("full", f"the disk of {self.folder} is nearly full, so prompts are not kept on it")
        return False

    def _create(self, room: str, size_bytes: int, ending: str) -> Draft:
        folder, name = self.folder / room, secrets.token_hex(12)
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            durable.sync_folder(self.folder)
        temporary = folder / (name + _TEMPORARY)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return Draft(folder / (name + ending), temporary, descriptor, size_bytes)

    def _remove(self, entry: Entry) -> None:
        entry.path.unlink(missing_ok=True)
        self._entries.pop(entry.path, None)
        self._touched.pop(entry.path, None)

    def _complain(self, kind: str, sentence: str) -> None:
        """Once: the next prompt meets the same disk."""
        log.log(logging.DEBUG if kind in self._complained else logging.WARNING, "%s", sentence)
        self._complained.add(kind)
