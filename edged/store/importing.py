"""Models from a stick or a folder: found, checked, copied, verified, entered. Nothing is left behind of what failed.

Taken are single GGUFs, sets of pieces, and folders of both; with a manifest beside them (`manifest.py`) what it says
must be true. Archives are not opened: a few bytes of them can be a disk full of files, or files anywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edged.errors import ChecksumMismatch, Conflict, EdgedError, InvalidRequest, ModelInvalid
from edged.gguf.pieces import inspect_pieces
from edged.gguf.reading import GgufInvalid
from edged.store import gathering, loose, manifest, names, room
from edged.store.door import Store
from edged.store.gathering import Gathered
from edged.store.opening import opened
from edged.store.records import Piece, Record

_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import: names that are models now, and for each that is none the reason why."""

    names: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be imported. `told` is what its manifest says; None where there is none."""

    name: str
    files: tuple[Path, ...]
    told: Record | None = None


def import_models(
    store: Store,
    source: Path,
    *,
    name: str | None = None,
    reserve_bytes: int | None = None,
    tell: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Imported:
    """Install the model in the file `source`, or every model in that folder. Takes minutes.

    `name` is what to call it, where there is one. `tell` hears a name, bytes done and bytes of all; it may raise to
    call it off. Of a folder, what is not right is left out and told of. Raises `InvalidRequest`, `ModelInvalid`,
    `ChecksumMismatch`, `Conflict`, `DiskFull`; `OSError` where the store cannot be written.
    """
    found = candidates(source)
    if name is not None:
        if len(found) != 1 or isinstance(found[0], str):
            raise InvalidRequest(f"{source} is not one model, so it cannot be called {name!r}.", param="name")
        found = [replace(found[0], name=name)]
    entered, refused = list[str](), list[str]()
    for each in found:
        if isinstance(each, str):
            refused.append(each)
            continue
        try:
            _bring(store, each, reserve_bytes, partial(tell, each.name))
            entered.append(each.name)
        except (InvalidRequest, ModelInvalid, ChecksumMismatch, Conflict) as error:
            if len(found) == 1:
                raise
            refused.append(f"{each.files[0].name}: {error}")
    if not entered:
        why = " ".join(refused) or "There is no file that ends in .gguf."
        raise InvalidRequest(f"Nothing in {source} could be imported. {why}")
    return Imported(tuple(entered), tuple(refused))


def candidates(source: Path) -> list[Candidate | str]:
    """What there is to import, and in place of what is damaged a sentence. Raises `InvalidRequest`."""
    source = source.resolve()
    if source.is_dir():
        return _in_folder(source)
    if not source.is_file():
        raise InvalidRequest(f"{source} is neither a file nor a folder.", param="source")
    if source.name.endswith(manifest.ENDING):
        return [_of_manifest(source)]
    place = loose.place_of(source.name)
    if not source.name.endswith(".gguf"):
        raise InvalidRequest(
            f"{source} is no .gguf file. Archives are not taken: unpack them and import the folder.", param="source"
        )
    if told := _told_of(source):
        return [told]
    if place and place.count > 1:
        return [_set_of(source, place.name, place.count)]
    return [Candidate(place.name if place else source.name.removesuffix(".gguf"), (source,))]


def _told_of(source: Path) -> Candidate | None:
    """The model that the file belongs to, where a manifest beside it says so."""
    for beside in sorted(source.parent.glob(f"*{manifest.ENDING}"))[:_MOST_ENTRIES]:
        try:
            told = _of_manifest(beside)
        except InvalidRequest:
            if source.name.startswith(beside.name.removesuffix(manifest.ENDING)):
                raise
        else:
            if source in told.files:
                return told
    return None


def _set_of(source: Path, name: str, count: int) -> Candidate:
    """The model that the file is a piece of, whatever else lies there."""
    status, beside = source.stat(), [source.parent / each for each in loose.file_names(name, count)]
    there = {number: (path, status) for number, path in enumerate(beside, start=1) if path.is_file()}
    if problem := loose.together(name, {count: there}).problem:
        raise InvalidRequest(f"{source}: {problem}", param="source")
    return Candidate(name, tuple(beside))


def _in_folder(folder: Path) -> list[Candidate | str]:
    if sum(1 for _ in zip(range(_MOST_ENTRIES + 1), folder.iterdir(), strict=False)) > _MOST_ENTRIES:
        raise InvalidRequest(f"{folder} has more than {_MOST_ENTRIES} entries; models of one device have not.")
    found, used = list[Candidate | str](), set[Path]()
    for beside in sorted(folder.glob(f"*{manifest.ENDING}")):
        try:
            told = _of_manifest(beside)
        except InvalidRequest as error:
            found.append(str(error))
        else:
            found.append(told)
            used |= {*told.files}
    return found + [one for one in _loose(folder) if isinstance(one, str) or not used & {*one.files}]


def _loose(folder: Path) -> Iterator[Candidate | str]:
    for one in sorted(loose.models_in(folder), key=lambda one: one.name):
        files = tuple(path for path, _ in one.files)
        yield f"{files[0].name}: {one.problem}" if one.problem else Candidate(one.name, files)


def _of_manifest(file: Path) -> Candidate:
    told = manifest.read(file)
    return Candidate(told.name, tuple(file.parent / part.file for part in told.files), told.record)


def _bring(store: Store, each: Candidate, reserve_bytes: int | None, tell: Callable[[int, int], None]) -> None:
    names.check(each.name, "name")
    store.check_name(each.name, "name")
    try:
        with opened([(path.parent, (path.name,)) for path in each.files]) as sources:
            sizes = _checked(each, sources)
            if not _is_there(store, each, sources, sizes):
                _copied(store, each, list(zip(sources, sizes, strict=True)), reserve_bytes, tell)
    except FileNotFoundError as error:
        raise InvalidRequest(f"A file of it is missing: {error.filename or each.files[0].name}.") from error


def _checked(each: Candidate, sources: Sequence[int]) -> list[int]:
    """The files' sizes. Raises what is wrong with them as far as nothing has to be read through."""
    sizes = [os.fstat(source).st_size for source in sources]
    for path, size, piece in zip(each.files, sizes, each.told.pieces if each.told else (), strict=False):
        if size != piece.size_bytes:
            raise ChecksumMismatch(f"{path} has {size} bytes, and its manifest says {piece.size_bytes}: copy it again.")
    try:
        problem = inspect_pieces(sources).problem
    except GgufInvalid as error:
        problem = str(error)
    if problem:
        raise ModelInvalid(f"{each.files[0]} cannot be loaded: {problem}")
    return sizes


def _is_there(store: Store, each: Candidate, sources: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether it is installed already. Raises `Conflict` where the name is another model's."""
    there = next((record for record in store.records() if record.name == each.name), None)
    if there is None or not all(store.has_blob(piece) for piece in there.pieces):
        return False
    is_same = [piece.size_bytes for piece in there.pieces] == list(sizes)
    pieces = tuple(gathering.checksum(source) for source in sources) if is_same else ()
    store.check_free(Record(each.name, pieces))
    return True


def _copied(
    store: Store,
    each: Candidate,
    sources: Sequence[tuple[int, int]],
    reserve_bytes: int | None,
    tell: Callable[[int, int], None],
) -> None:
    store.ready()
    room.check(store.partials, sum(size for _, size in sources), reserve_bytes)
    moved = gathering.counting(sum(size for _, size in sources), tell)
    with ExitStack() as undo, room.writing(store.folder):
        gathered = []
        for index, (source, size) in enumerate(sources):
            path, descriptor = undo.enter_context(gathering.temporary(store.partials))
            piece = gathering.copy(source, size, descriptor, moved)
            if each.told and piece != each.told.pieces[index]:
                raise _mismatch(each.files[index], each.told.pieces[index], piece)
            gathered.append(Gathered(path, descriptor, piece))
        pieces, now_s = tuple(one.piece for one in gathered), int(time.time())
        told = each.told or Record(each.name, pieces)
        store.install(gathered, replace(told, name=each.name, pieces=pieces, added_s=now_s, verified_s=now_s))


def _mismatch(file: Path, expected: Piece, found: Piece) -> EdgedError:
    return ChecksumMismatch(
        f"{file} is not what its manifest says: its SHA-256 is {found.sha256}, and {expected.sha256} was expected. "
        "Copy it again."
    )
