"""The models on this device: the built-in `guide`, what has a record, and every `NAME.gguf` in `models/`.

    models/NAME.gguf                    a file that the owner put there: a model at once
    models/blobs/sha256-<64 hex>        what was fetched or imported, by its content; never changed
    models/names/<quoted name>.json     a record for each name: which blobs it consists of, and where it came from
    models/partial/                     what is on its way: never a model

A file that appears there is a model at once; nothing is indexed, because a folder of a few dozen files is listed faster
than anything could be kept in step with it. A record is written when all that it needs is on the disk, and goes before
anything that it needs does: so a name means a whole model or none, whenever the plug is pulled and whoever looks.

Every change holds `models/.lock`, against this process and others; looking takes no lock. All of it may be called from
threads, and waits for the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edged import durable
from edged.errors import Conflict, InvalidRequest, ModelInvalid, ModelNotFound
from edged.store import loose, names, room, sweeping
from edged.store.blobs import Blobs
from edged.store.gathering import Gathered
from edged.store.headers import Headers, is_unsupported, problem_of
from edged.store.listing import GUIDE, Listing
from edged.store.model_file import ModelFile, key_of, unusable
from edged.store.opening import opened
from edged.store.records import Piece, Record, Records

# A model that is exchanged while it is opened is another one; more often than this in a row is no chance.
_MOST_TRIES = 16


class Store:
    """What is installed. Reads the disk each time it is asked; a new file takes up to a second the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partials = folder / "partial"
        self._records = Records(folder)
        self._blobs = Blobs(folder)
        self._headers = Headers()
        self._listing = Listing(folder, self._records, self._blobs, self._headers)
        self._held: Counter[str] = Counter()
        self._held_lock = threading.Lock()

    def models(self) -> list[ModelFile]:
        """Everything installed, by name, `guide` last: it is the fallback."""
        return self._listing.models()

    def find(self, name: str) -> ModelFile:
        """The model called `name`. Raises `ModelNotFound`, which lists what there is."""
        return self._listing.find(name)

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[int, ...]]:
        """Read-only descriptors of the model's files, in order, closed on leaving; what is deleted stays readable.

        Raises `ModelNotFound`, `ModelInvalid`.
        """
        with contextlib.ExitStack() as undo:
            for attempt in range(_MOST_TRIES):
                file = self.find(name)
                try:
                    descriptors = undo.enter_context(
                        opened(self._listing.places(file), is_ours=file.record is not None)
                    )
                    break
                except OSError as error:
                    if isinstance(error, FileNotFoundError) and attempt + 1 < _MOST_TRIES:
                        continue  # it was deleted, or is another one now
                    why = f"{error.strerror or error} ({file.path})"
                    raise ModelInvalid(f"The file of model {name} cannot be opened: {why}.") from error
            yield descriptors

    def examine(self, name: str, descriptors: Sequence[int]) -> None:
        """Whether llama.cpp may see the files behind `descriptors`, which were opened for the model called `name`.

        Raises `ModelInvalid` with what is wrong with them. Takes up to a second where they are new.
        """
        found = self._headers.inspect(descriptors)
        if problem := problem_of(found):
            raise unusable(name, problem, is_unsupported=is_unsupported(found))

    def keys(self) -> set[str]:
        """The keys of everything installed; what cannot be read has none."""
        found = set()
        for file in self.models():
            with contextlib.suppress(ModelNotFound, ModelInvalid, OSError), self.open(file.name) as descriptors:
                found.add(key_of(*descriptors))
        return found

    def records(self) -> list[Record]:
        """What was fetched or imported, by name; damaged records are left out: `models` tells of them."""
        found = []
        for name in sorted(self._records.names()):
            with contextlib.suppress(ValueError):
                found.append(self._records.get(name))
        return [record for record in found if record is not None]

    def blob_path(self, sha256: str) -> Path:
        """Where the file with that checksum lies, or would."""
        return self._blobs.path(sha256)

    def has_blob(self, piece: Piece) -> bool:
        """Whether the file is here already, whole."""
        return self._blobs.status(piece) is not None

    def partial_path(self, key: str) -> Path:
        """Where what is on its way is gathered: `key` is a checksum, or whatever else makes a name for a file."""
        return self.partials / f"{key}.part"

    def ready(self) -> None:
        """Have all folders on the disk. Raises `OSError`."""
        for folder in (self.folder, self.partials, self._blobs.folder, self._records.folder):
            durable.make_folder(folder)

    @contextmanager
    def holding(self, pieces: Sequence[Piece]) -> Iterator[None]:
        """While somebody gathers a model, what of it is here stays, even if the last name that needs it goes.

        That holds for this process; to others, which have no business here meanwhile, only what is entered counts. On
        leaving, what no record needs by then is deleted.
        """
        checksums = {piece.sha256 for piece in pieces}
        with self._held_lock:
            self._held.update(checksums)
        try:
            yield
        finally:
            with self._held_lock:
                self._held -= Counter(checksums)
            with contextlib.suppress(OSError), self._changing():  # what stays behind goes at the next start
                self._collect(checksums)

    def adopt(self, partial: Path, descriptor: int, piece: Piece) -> None:
        """Make a file that was gathered at `partial`, and verified as `descriptor` by its caller, one of the blobs.

        It is on the disk when this returns, and nothing at `partial`. Raises `OSError`.
        """
        os.fsync(descriptor)  # minutes for a large file, during which nobody has to wait for the lock
        with self._changing():
            self._blobs.adopt(partial, descriptor, piece)

    def enter(self, record: Record) -> None:
        """Give a name to blobs that are all here; a record of that name and source is replaced. On the disk then.

        Raises `InvalidRequest` where nothing can have that name or a loose file has it, `Conflict` where another model
        has it, `ModelInvalid` where a file is missing or llama.cpp must not see it, `OSError`. Whatever is raised, the
        name means what it meant.
        """
        self.check_name(record.name)
        try:
            with opened(self._blobs.places(record), is_ours=True) as descriptors:
                self.examine(record.name, descriptors)
        except FileNotFoundError as error:
            raise ModelInvalid(f"The model {record.name} cannot be entered: a file of it is not here.") from error
        with self._changing():
            self.check_name(record.name)
            self.check_origin(record.name, record.source, record.pieces)
            if not all(self.has_blob(piece) for piece in record.pieces):
                raise ModelInvalid(f"The model {record.name} cannot be entered: a file of it is not here.")
            older = None
            with contextlib.suppress(ValueError):  # a damaged record is replaced like any other
                older = self._records.get(record.name)
            self._records.put(record)
            self._collect({piece.sha256 for piece in older.pieces} if older else ())

    def install(self, gathered: Sequence[Gathered], record: Record) -> None:
        """Adopt files that were gathered and verified, and enter the model that they are, as one step.

        Raises as `enter` does, and `Conflict` where the name is another model's; nothing stays behind of it then.
        """
        self.check_name(record.name)
        self.examine(record.name, [one.descriptor for one in gathered])
        for one in gathered:
            os.fsync(one.descriptor)
        with self._changing():
            self.check_name(record.name)
            try:
                self.check_free(record)
                for one in gathered:
                    self._blobs.adopt(one.path, one.descriptor, one.piece)
                self._records.put(record)
            except BaseException:
                self._collect({piece.sha256 for piece in record.pieces})
                raise

    def check_free(self, record: Record) -> None:
        """Whether the name is nobody's, or the very same model's. Raises `Conflict`."""
        try:
            there = self._records.get(record.name)
        except ValueError:
            return
        if there and there.pieces != record.pieces:
            raise Conflict(f"There is another model named {record.name!r} already. Delete it first.", param="model")

    def check_origin(self, name: str, source: str, pieces: Sequence[Piece] | None) -> None:
        """Whether what comes from `source` may take that name. Raises as `Records.check_origin` does."""
        self._records.check_origin(name, source, pieces)

    def check_name(self, name: str, param: str = "model") -> None:
        """Whether something that comes may be called so. Raises `InvalidRequest`."""
        names.check(name, param)
        if name == GUIDE:
            raise InvalidRequest(f"{GUIDE} is built in; nothing else can be called so.", param=param)
        if loose.model_called(self.folder, name):
            raise InvalidRequest(
                f"There is a file {name}.gguf in {self.folder} already. Delete it first, or choose another name.",
                param=param,
            )

    def is_current(self, record: Record) -> bool:
        """Whether the name still means those files. Raises `OSError`."""
        with contextlib.suppress(ValueError):
            return (there := self._records.get(record.name)) is not None and there.pieces == record.pieces
        return False

    def touch_verified(self, record: Record, now_s: int) -> None:
        """Note that all files of it were just found to be as they should be. Nothing happens where it is not current.

        Raises `OSError`.
        """
        with self._changing():
            if self.is_current(record) and (there := self._records.get(record.name)):
                self._records.put(replace(there, verified_s=now_s))

    def copy(self, source: str, name: str) -> None:
        """Give the model called `source` another name, which takes no room of its own.

        Raises `ModelNotFound`, `ModelInvalid`, `DiskFull`, or `InvalidRequest` where `name` is taken, no name, or
        cannot be given.
        """
        names.check(name, "destination")
        try:
            with self._changing(), room.writing(self.folder):
                found = self.find(source)
                if name == GUIDE or self._is_taken(name):
                    raise InvalidRequest(
                        f"There is a model named {name!r} already. Delete it first.", param="destination"
                    )
                if found.problem and not self._is_whole(found):  # what is left of it would be copied
                    raise unusable(source, found.problem, is_unsupported=found.is_unsupported)
                if found.record:
                    self._records.put(replace(found.record, name=name))
                else:
                    self._link(found, name)
        except OSError as error:
            raise InvalidRequest(
                f"The model {source} cannot be called {name} as well: {error.strerror}. Copy its file into "
                f"{self.folder}.",
                param="destination",
            ) from error

    def remove(self, name: str) -> None:
        """Delete the model; whoever has it in memory or open keeps that. It is gone for good when this returns.

        Raises `ModelNotFound`, `InvalidRequest` for the built-in one, `ModelInvalid`.
        """
        if name == GUIDE:
            raise InvalidRequest(f"{GUIDE} is built in and cannot be deleted.", param="model")
        found = self.find(name)
        try:
            with self._changing():
                found = self.find(name)
                self._records.remove(name)
                self._collect({piece.sha256 for piece in found.record.pieces} if found.record else ())
                while owners := loose.model_called(self.folder, name):
                    for path, _ in owners.files:
                        path.unlink(missing_ok=True)
                    durable.sync_folder(self.folder)
        except OSError as error:
            raise ModelInvalid(
                f"The file of model {name} cannot be deleted: {error.strerror} ({found.path})."
            ) from error

    def drop(self, piece: Piece, record: Record) -> bool:
        """Delete a file of it that was found not to be what its name says; models that need it miss it from now on.

        Nothing happens, and False is returned, where the record is not current. Raises `OSError`.
        """
        with self._changing():
            if not self.is_current(record):
                return False
            self._blobs.remove(piece.sha256)
            durable.sync_folder(self._blobs.folder)
            return True

    def sweep(self) -> None:
        """At the start: what an earlier run has left half done goes; what is on its way, and every model, stays."""
        self.ready()
        with self._changing():
            durable.sync_folder(self.folder.parent)
            sweeping.temporaries(self._records.folder, self.partials)
            self._collect(self._blobs.checksums())
            sweeping.second_names(self.partials, self._blobs.folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile, in this process or another. Raises `OSError`."""
        lock = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _collect(self, checksums: Iterable[str]) -> None:
        """Delete those of these blobs that no record needs and nobody holds; the lock is held."""
        needed = self._records.needed()
        if needed is None:
            return
        with self._held_lock:
            needed |= set(self._held)
        for checksum in set(checksums) - needed:
            self._blobs.remove(checksum)

    def _is_taken(self, name: str) -> bool:
        try:
            return bool(self._records.get(name) or loose.model_called(self.folder, name))
        except ValueError:
            return True

    def _is_whole(self, found: ModelFile) -> bool:
        """Whether all of its files are known and here, whatever is in them."""
        if found.record:
            return all(self.has_blob(piece) for piece in found.record.pieces)
        owned = loose.model_called(self.folder, found.name)
        return owned is not None and not owned.problem

    def _link(self, found: ModelFile, name: str) -> None:
        if not names.is_plain(name):
            raise InvalidRequest(
                f"{name!r} cannot be a model's name here for a file in {self.folder}: no slashes and colons.",
                param="destination",
            )
        for path, file in zip(found.paths, loose.file_names(name, len(found.paths)), strict=True):
            os.link(path, self.folder / file, follow_symlinks=False)
        durable.sync_folder(self.folder)
