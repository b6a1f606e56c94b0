"""Whenever the plug is pulled: no bad file under a good name, nothing lost that was acknowledged, and it goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from edged import durable
from edged.store import Piece, Record, Store
from edged.store.importing import import_models
from edged.store.uploads import Uploads
from tests.gguf_draft import ALIGNMENT, Draft, pieces
from tests.power_cut import Recorder, State, recording

SEED = 20


def filled(draft: Draft, seed: int) -> bytes:
    """The file with weights that differ everywhere, so that each block of it is another one."""
    written, begin = draft.written(), len(draft.header()) // ALIGNMENT * ALIGNMENT + ALIGNMENT
    return written[:begin] + Random(seed).randbytes(len(written) - begin)


CONTENT, OTHER, NEWER = (filled(Draft(), seed) for seed in range(3))


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> int:
    """States for each kind of operation."""
    asked: int = request.config.getoption("--states")
    return asked


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "new.gguf").write_bytes(CONTENT)
    for number, draft in enumerate(pieces(2), start=1):
        (folder / f"split-{number:05}-of-00002.gguf").write_bytes(filled(draft, number))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a model called old, which nothing here may touch."""
    store = Store(tmp_path / "models")
    (tmp_path / "old.gguf").write_bytes(OTHER)
    store.sweep()
    import_models(store, tmp_path / "old.gguf", reserve_bytes=0)
    return store


def sound(folder: Path) -> tuple[Store, set[str]]:
    """The store as it is found at the next start, and the models in it: all of them what they should be."""
    store = Store(folder)
    store.sweep()
    for record in store.records():
        file = store.find(record.name)
        assert file.problem == "", file
        for path, piece in zip(file.paths, record.pieces, strict=True):
            assert sha256(path.read_bytes()).hexdigest() == piece.sha256, path
    names = {file.name for file in store.models()} - {"guide"}
    assert names == {record.name for record in store.records()}
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    needed = {piece.sha256 for record in store.records() for piece in record.pieces}
    assert {path.name.removeprefix("sha256-") for path in (folder / "blobs").iterdir()} == needed
    return store, names


def hold(recorder: Recorder, count: int, check: Callable[[State, Store, set[str]], None]) -> int:
    """In every state: the store is sound at the next start, old is as it was, and `check` has nothing against it.

    How many there were.
    """
    seen = 0
    for state in recorder.states(count, seed=SEED):
        with state.materialised() as folder:
            try:
                store, names = sound(folder)
                assert store.find("old").path.read_bytes() == OTHER
                check(state, store, names)
            except Exception as error:
                error.add_note(f"The plug was pulled {state.what}; acknowledged: {state.acknowledged}")
                raise
        seen += 1
    return seen


def test_an_import(store: Store, stick: Path, count: int) -> None:
    with recording(store.folder) as recorder:
        import_models(store, stick, reserve_bytes=0)
        recorder.acknowledge("imported")

    def check(state: State, found: Store, names: set[str]) -> None:
        assert names >= ({"old", "new", "split"} if state.acknowledged else {"old"})
        import_models(found, stick, reserve_bytes=0)
        assert sound(found.folder)[1] == {"old", "new", "split"}

    assert hold(recorder, count, check) >= min(count, 150)


def test_an_upload(store: Store, count: int) -> None:
    checksum, half = sha256(CONTENT).hexdigest(), len(CONTENT) // 2
    with recording(store.folder) as recorder:
        uploads = Uploads(store, reserve_bytes=0)
        upload = uploads.begin("new", len(CONTENT), checksum)
        with uploads.writing(upload.id, 0) as writing:
            writing.write(CONTENT[:10_000])
            writing.write(CONTENT[10_000:half])
        recorder.acknowledge("half of it")
        with uploads.writing(upload.id, half) as writing:
            writing.write(CONTENT[half:])
        recorder.acknowledge("all of it")
        uploads.finish(upload.id)
        recorder.acknowledge("finished")

    def check(state: State, found: Store, names: set[str]) -> None:
        again = Uploads(found, reserve_bytes=0)
        if "finished" in state.acknowledged:
            assert names == {"old", "new"}
        elif names == {"old"}:
            goes_on = again.begin("new", len(CONTENT), checksum)
            if "half of it" in state.acknowledged and "all of it" not in state.acknowledged:
                assert goes_on.offset_bytes >= half
            with again.writing(goes_on.id, goes_on.offset_bytes) as writing:
                writing.write(CONTENT[goes_on.offset_bytes :])
            again.finish(goes_on.id)
            assert sound(found.folder)[1] == {"old", "new"}

    assert hold(recorder, count, check) >= min(count, 150)


def test_a_copy(store: Store, count: int) -> None:
    with recording(store.folder) as recorder:
        for name in ("a", "hf.co/b/c:d"):
            store.copy("old", name)
            recorder.acknowledge(name)

    def check(state: State, found: Store, names: set[str]) -> None:
        assert names >= {"old", *state.acknowledged}
        for name in {"a", "hf.co/b/c:d"} - names:
            found.copy("old", name)
        assert sound(found.folder)[1] == {"old", "a", "hf.co/b/c:d"}

    assert hold(recorder, count, check) >= 30


def test_deleting(store: Store, stick: Path, count: int) -> None:
    import_models(store, stick, reserve_bytes=0)
    store.copy("new", "same")
    gone = ["new", "split", "same"]
    with recording(store.folder) as recorder:
        for name in gone:
            store.remove(name)
            recorder.acknowledge(name)

    def check(state: State, found: Store, names: set[str]) -> None:
        assert not names & {*state.acknowledged}
        for name in names - {"old"}:
            found.remove(name)
        assert sound(found.folder)[1] == {"old"}

    assert hold(recorder, count, check) >= 20


def test_a_newer_model_takes_the_place_of_an_older_one(store: Store, count: int) -> None:
    older = Piece(sha256(CONTENT).hexdigest(), len(CONTENT))
    fetch(store, CONTENT, older)
    store.enter(Record("new", (older,), source="hf.co/ann/new"))
    piece = Piece(sha256(NEWER).hexdigest(), len(NEWER))
    record = replace(Record("new", (piece,)), source="hf.co/ann/new")
    with recording(store.folder) as recorder:
        fetch(store, NEWER, piece)
        store.enter(record)
        recorder.acknowledge("newer")

    def check(state: State, found: Store, names: set[str]) -> None:
        assert names == {"old", "new"}
        here = found.find("new")
        assert here.record
        assert here.record.pieces in ((piece,), (older,))
        assert here.record == record or not state.acknowledged
        fetch(found, NEWER, piece)
        found.enter(record)
        assert sound(found.folder)[0].find("new").record == record

    assert hold(recorder, count, check) >= min(count, 150)


def fetch(store: Store, content: bytes, piece: Piece) -> None:
    """As a download does it."""
    partial = store.partial_path(piece.sha256)
    with partial.open("w+b", buffering=0) as part:
        os.write(part.fileno(), content[:5000])
        os.write(part.fileno(), content[5000:])
        store.adopt(partial, part.fileno(), piece)


def carelessly(store: Store, content: bytes, piece: Piece) -> None:
    """As a download must not do it: the name comes first, and then the content."""
    partial = store.partial_path(piece.sha256)
    with partial.open("w+b", buffering=0) as part:
        part.write(content)
        partial.replace(store.blob_path(piece.sha256))
        durable.sync_folder(store.blob_path(piece.sha256).parent)
        store.enter(Record("new", (piece,)))
        os.fsync(part.fileno())


def of_folders_only(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize(
    "mistake", ["renamed before it was synced", "no file synced", "no folder synced", "not verified"]
)
def test_mistakes_are_found(mistake: str, store: Store, stick: Path, count: int) -> None:
    """Each is made, and is seen in some state: that is what the other tests here are worth."""
    piece = Piece(sha256(CONTENT).hexdigest(), len(CONTENT))
    with recording(store.folder) as recorder, pytest.MonkeyPatch.context() as wrong:
        sync = os.fsync
        if mistake == "renamed before it was synced":
            carelessly(store, CONTENT, piece)
        elif mistake == "not verified":
            fetch(store, CONTENT[:-1] + b"x", piece)
            store.enter(Record("new", (piece,)))
        else:
            synced = (
                of_folders_only if mistake == "no file synced" else lambda descriptor: not of_folders_only(descriptor)
            )
            wrong.setattr(os, "fsync", lambda descriptor: sync(descriptor) if synced(descriptor) else None)
            import_models(store, stick / "new.gguf", reserve_bytes=0)
        recorder.acknowledge("imported")

    def check(state: State, found: Store, names: set[str]) -> None:
        assert names == {"old", "new"} or not state.acknowledged

    with pytest.raises(AssertionError):
        hold(recorder, count, check)
