"""What a disk may look like after the plug was pulled in the middle of something.

    with recording(folder) as recorder:
        import_models(store, stick)
        recorder.acknowledge("imported")         # from here on its owner believes that it is done
    for state in recorder.states(600, seed=1):
        with state.materialised() as after:      # a new folder, as the disk might have it
            ...                                  # what must hold; `state.acknowledged`, and `state.what` for the reader

What an operation did is seen by looking at the folder before and after every call in `os` that can change a disk; what
changes between two calls (Python's own files do not go through `os`) is seen at the next. So nothing has to be said of
how the operation works, it may use threads, and what it reads is of no interest. What was there when the recording
began is on the disk for sure, and so is what was fsynced since:

- a file's content at its last fsync (and not its name: that is a matter of the folder),
- a folder's names at its last fsync (and not the content of the files).

All else may have happened or not, in any order: of a file that was written since its fsync any mixture of old and new
blocks, zeros where there were none before, and any length between; of names in one folder each change since its fsync,
alone or with others; of a file that was moved to another folder, either end. That is worse than ext4 does it, and not
worse than FAT.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

_CALLS = (
    *("open", "write", "writev", "pwrite", "pwritev", "ftruncate", "truncate", "posix_fallocate"),
    *("copy_file_range", "sendfile", "rename", "replace", "link", "symlink", "unlink", "remove"),
    *("mkdir", "rmdir", "chmod", "fchmod", "fsync", "fdatasync"),
)
_SYNCS = ("fsync", "fdatasync")
_WRITING = os.O_CREAT | os.O_TRUNC
_BLOCK_BYTES = 4096
_ROOT = 0

Name: TypeAlias = tuple[int, str]  # a folder's number, and a name in it
Change: TypeAlias = Mapping[Name, int | None]  # what the names of one folder mean from then on; None: nothing


@dataclass(frozen=True, slots=True)
class Moment:
    """When the plug may be pulled: what is on the disk for sure, and what may be."""

    after: str
    acknowledged: tuple[str, ...]
    names: Mapping[Name, int]
    changes: tuple[Change, ...]
    folders: frozenset[int]
    safe: Mapping[int, bytes]
    newest: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class State:
    """A disk after a power cut. `what` tells when it was, and what of the unsafe is there."""

    what: str
    acknowledged: tuple[str, ...]
    _names: Mapping[Name, int] = field(repr=False)
    _folders: frozenset[int] = field(repr=False)
    _contents: Mapping[int, bytes] = field(repr=False)

    @contextmanager
    def materialised(self) -> Iterator[Path]:
        """The folder as it would be found; gone on leaving."""
        with tempfile.TemporaryDirectory(prefix="edged-power-cut-", dir=_quick_folder()) as above:
            folder = Path(above) / "models"
            self._write(_ROOT, folder, {})
            yield folder

    def identity(self) -> bytes:
        """Equal for two that cannot be told apart."""
        digest = blake2b(repr(self.acknowledged).encode(), digest_size=16)
        for path, uid in sorted(self._paths(_ROOT, "")):
            content = self._contents.get(uid, b"")
            digest.update(repr((path, uid in self._folders, len(content))).encode() + content)
        return digest.digest()

    def _paths(self, folder: int, above: str) -> Iterator[tuple[str, int]]:
        for (where, name), uid in self._names.items():
            if where == folder:
                yield f"{above}/{name}", uid
                yield from self._paths(uid, f"{above}/{name}")

    def _write(self, uid: int, path: Path, written: dict[int, Path]) -> None:
        if uid in self._folders:
            path.mkdir(mode=0o700)
            for (folder, name), inner in self._names.items():
                if folder == uid:
                    self._write(inner, path / name, written)
        elif uid in written:
            path.hardlink_to(written[uid])
        else:
            path.write_bytes(self._contents[uid])
            written[uid] = path


class Recorder:
    """What happens in one folder. `moments` grows with each call."""

    def __init__(self, folder: Path) -> None:
        self.moments: list[Moment] = []
        self._folder = folder
        self._lock = threading.RLock()
        self._acknowledged: tuple[str, ...] = ()
        self._uids: dict[tuple[int, int], int] = {}
        self._next = _ROOT
        self._folders: set[int] = set()
        self._names: dict[Name, int] = {}
        self._newest: dict[int, bytes] = {}
        self._look()
        self._durable = dict(self._names)
        self._changes: list[Change] = []
        self._safe = dict(self._newest)
        self._note("nothing")

    def acknowledge(self, what: str) -> None:
        """Somebody was told that this is done: it must hold in every state from here on."""
        with self._lock:
            self._acknowledged = (*self._acknowledged, what)
            self._catch_up("before the owner was told", one_by_one=True)
            self._note(f"the owner was told: {what}")

    def states(self, count: int, *, seed: int) -> Iterator[State]:
        """At most so many that differ: for each moment the plain ones, then mixtures by chance."""
        chance, seen = random.Random(seed), set[bytes]()
        plain = [state for moment in self.moments for state in _plain(moment)]
        chance.shuffle(plain)
        for state in _first(count // 2, plain, seen):
            yield state
        torn = [moment for moment in self.moments if _unsafe(moment)]
        open_to_chance = [moment for moment in self.moments if moment.changes] + torn * 4
        mixed = (_mixed(chance.choice(open_to_chance), chance) for _ in range(count * 8 if open_to_chance else 0))
        for state in _first(count - len(seen), mixed, seen):
            yield state

    def call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One of `os`'s functions, and what it changed."""
        if name == "open" and not (arguments[1] if len(arguments) > 1 else options.get("flags", 0)) & _WRITING:
            return real(*arguments, **options)
        with self._lock:
            self._catch_up(f"before {name}", one_by_one=True)
            done = real(*arguments, **options)
            what = f"{name}({', '.join(_shown(argument) for argument in arguments)})"
            if name in _SYNCS:
                self._sync(os.fstat(arguments[0] if isinstance(arguments[0], int) else arguments[0].fileno()))
                self._note(what)
            else:
                self._catch_up(what, one_by_one=False)
            return done

    def _sync(self, status: os.stat_result) -> None:
        uid = self._uids.get((status.st_dev, status.st_ino))
        if uid is None:
            return
        if uid not in self._folders:
            self._safe[uid] = self._newest[uid]
            return
        for change in self._changes:
            for name, meant in change.items():
                if name[0] == uid:
                    _apply(self._durable, name, meant)
        self._changes = [change for change in self._changes if next(iter(change))[0] != uid]

    def _catch_up(self, what: str, *, one_by_one: bool) -> None:
        """See what is new, and note a moment if anything is."""
        names, newest = dict(self._names), dict(self._newest)
        self._look()
        changed = {name: self._names.get(name) for name in sorted(names.keys() | self._names.keys())}
        changed = {name: meant for name, meant in changed.items() if meant != names.get(name)}
        if one_by_one:
            self._changes += [{name: meant} for name, meant in changed.items()]
        else:
            by_folder: dict[int, dict[Name, int | None]] = {}
            for name, meant in changed.items():
                by_folder.setdefault(name[0], {})[name] = meant
            self._changes += by_folder.values()
        for uid in self._newest.keys() - self._safe.keys():
            self._safe[uid] = b""
        if changed or newest != self._newest:
            self._note(what)

    def _note(self, what: str) -> None:
        self.moments.append(
            Moment(
                what,
                self._acknowledged,
                dict(self._durable),
                tuple(self._changes),
                frozenset(self._folders),
                dict(self._safe),
                dict(self._newest),
            )
        )

    def _look(self) -> None:
        """The folder as every program sees it now."""
        uids: dict[tuple[int, int], int] = {}
        names: dict[Name, int] = {}

        def number(status: os.stat_result) -> int:
            identity = (status.st_dev, status.st_ino)
            if identity not in uids:
                known = self._uids.get(identity)  # of the last look: a number is given again when its file is gone
                if known is None:
                    known, self._next = self._next, self._next + 1
                uids[identity] = known
            return uids[identity]

        def walk(path: str, uid: int) -> None:
            self._folders.add(uid)
            for entry in os.scandir(path):
                status = entry.stat(follow_symlinks=False)
                inner = names[uid, entry.name] = number(status)
                if entry.is_dir(follow_symlinks=False):
                    walk(entry.path, inner)
                else:
                    content = Path(entry.path).read_bytes()
                    if self._newest.get(inner) != content:
                        self._newest[inner] = content

        walk(str(self._folder), number(self._folder.stat()))
        self._uids, self._names = uids, names


@contextmanager
def recording(folder: Path) -> Iterator[Recorder]:
    """Record what is done in `folder`, which is there, by this process; what is in it already is on the disk."""
    recorder = Recorder(folder)
    with ExitStack() as undo:
        for name in _CALLS:
            real = getattr(os, name)
            undo.enter_context(mock.patch.object(os, name, _watched(recorder, name, real)))
        yield recorder


def _watched(recorder: Recorder, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: recorder.call(name, real, *arguments, **options)


def _first(count: int, states: Any, seen: set[bytes]) -> Iterator[State]:
    for state in states:
        if count > 0 and (identity := state.identity()) not in seen:
            seen.add(identity)
            count -= 1
            yield state


def _plain(moment: Moment) -> Iterator[State]:
    """Nothing of what is unsafe, all of it, and each change of names alone or left out, with old and new contents."""
    every = range(len(moment.changes))
    chosen = [(), tuple(every), *((one,) for one in every), *(tuple(x for x in every if x != one) for one in every)]
    for kept in dict.fromkeys(chosen):
        for title, contents in (("old", moment.safe), ("new", moment.newest)):
            yield _state(moment, kept, contents, f"all contents {title}")


def _mixed(moment: Moment, chance: random.Random) -> State:
    kept = tuple(index for index in range(len(moment.changes)) if chance.random() < 0.5)
    torn = {uid: _torn(moment.safe[uid], moment.newest[uid], chance) for uid in _unsafe(moment)}
    return _state(moment, kept, {**moment.newest, **torn}, f"{len(torn)} files torn")


def _unsafe(moment: Moment) -> list[int]:
    """The files that may have a name then, and other contents than the last."""
    named = {*moment.names.values(), *(uid for change in moment.changes for uid in change.values())}
    return sorted(uid for uid in moment.newest if uid in named and moment.safe[uid] != moment.newest[uid])


def _torn(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """Some blocks of the one, some of the other, zeros where that has none, and any length between."""
    length = chance.choice((len(old), len(new), chance.randint(*sorted((len(old), len(new))))))
    rather = chance.choice((0.1, 0.5, 0.9))
    blocks = []
    for begin in range(0, length, _BLOCK_BYTES):
        source = new if chance.random() < rather else old
        blocks.append(source[begin : begin + _BLOCK_BYTES].ljust(_BLOCK_BYTES, b"\0"))
    return b"".join(blocks)[:length]


def _state(moment: Moment, kept: tuple[int, ...], contents: Mapping[int, bytes], what: str) -> State:
    names = dict(moment.names)
    for index in kept:
        for name, meant in moment.changes[index].items():
            _apply(names, name, meant)
    told = f"after {moment.after}: changes of names {list(kept)} of {len(moment.changes)}, {what}"
    return State(told, moment.acknowledged, names, moment.folders, contents)


def _apply(names: dict[Name, int], name: Name, meant: int | None) -> None:
    if meant is None:
        names.pop(name, None)
    else:
        names[name] = meant


def _shown(argument: object) -> str:
    return f"{len(argument)} bytes" if isinstance(argument, bytes | memoryview) else str(argument)


def _quick_folder() -> str | None:
    """Where syncing costs nothing: these folders are of no use after the test."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
