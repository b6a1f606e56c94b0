"""Names, records and blobs: a name means one whole model or none, whoever does what at the same time."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from edged.errors import Conflict, EdgedError, InvalidRequest, ModelInvalid, ModelNotFound
from edged.store import GUIDE, Piece, Record, Store
from edged.store.importing import import_models
from tests.gguf_draft import named, pieces, straight


def piece_of(content: bytes) -> Piece:
    return Piece(sha256(content).hexdigest(), len(content))


def fetched(store: Store, content: bytes, key: str = "") -> Piece:
    """As a download brings it."""
    piece = piece_of(content)
    partial = store.partial_path(key or piece.sha256)
    with partial.open("w+b") as part:
        part.write(content)
        part.flush()
        store.adopt(partial, part.fileno(), piece)
    return piece


def installed(store: Store, name: str, *contents: bytes) -> Record:
    record = Record(name, tuple(fetched(store, content) for content in contents))
    store.enter(record)
    return record


def names(store: Store) -> list[str]:
    return [file.name for file in store.models() if file.name != GUIDE]


def blobs(store: Store) -> set[str]:
    return {path.name.removeprefix("sha256-") for path in (store.folder / "blobs").iterdir()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    store.sweep()
    return store


def test_a_record_makes_a_model(store: Store) -> None:
    record = installed(store, "hf.co/ann/x:Q4_0", straight())

    file = store.find("hf.co/ann/x:Q4_0")
    assert (file.record, file.problem, file.size_bytes, file.made_for) == (record, "", len(straight()), "words")
    assert file.path == store.blob_path(record.pieces[0].sha256)
    assert file.path.stat().st_mode & 0o777 == 0o400
    assert store.records() == [record]
    assert names(store) == [file.name]
    assert not list(store.partials.iterdir())


def test_a_name_without_its_files_or_with_bad_ones_is_not_entered(store: Store) -> None:
    bad, part = fetched(store, straight()[:-10]), fetched(store, pieces(2)[0].written())
    for pieces_of_it, mentions in (
        ((Piece("0" * 64, 5),), "is not here"),
        ((bad,), "cut off"),
        ((part,), "one of several pieces"),
    ):
        with pytest.raises(ModelInvalid, match=mentions):
            store.enter(Record("a", pieces_of_it))
    for name in ("../a", GUIDE):
        with pytest.raises(InvalidRequest):
            store.enter(Record(name, (fetched(store, straight()),)))
    assert names(store) == []
    store.sweep()
    assert blobs(store) == set()


def test_blobs_go_with_the_last_name_that_needs_them(store: Store) -> None:
    first, second = (draft.written() for draft in pieces(2))
    installed(store, "large", first, second)
    store.copy("large", "same")
    store.remove("large")
    assert names(store) == ["same"]
    assert len(blobs(store)) == 2

    store.remove("same")
    assert (names(store), blobs(store)) == ([], set())
    with pytest.raises(ModelNotFound):
        store.remove("same")


def test_who_has_a_model_open_keeps_it(store: Store) -> None:
    installed(store, "a", straight())
    with store.open("a") as (descriptor,):
        store.remove("a")
        assert os.pread(descriptor, 10**6, 0) == straight()


def test_a_newer_record_replaces_an_older_one_and_its_files(store: Store) -> None:
    installed(store, "a", straight())
    newer = installed(store, "a", named("bend"))

    assert store.records() == [newer]
    assert blobs(store) == {newer.pieces[0].sha256}
    store.touch_verified(newer, 77)
    assert store.find("a").record == Record("a", newer.pieces, verified_s=77)
    store.touch_verified(Record("gone", newer.pieces), 77)
    assert names(store) == ["a"]


def test_what_was_exchanged_meanwhile_is_neither_verified_nor_dropped(store: Store) -> None:
    older = installed(store, "a", straight())
    newer = installed(store, "a", named("bend"))

    store.touch_verified(older, 77)
    assert store.records() == [newer]
    assert not store.drop(newer.pieces[0], older)
    assert not store.drop(newer.pieces[0], Record("gone", newer.pieces))
    assert blobs(store) == {newer.pieces[0].sha256}
    assert store.drop(newer.pieces[0], newer)
    assert blobs(store) == set()


def test_what_is_held_stays_until_it_is_let_go(store: Store) -> None:
    record = installed(store, "a", straight())
    with store.holding(record.pieces):
        store.remove("a")
        assert store.has_blob(record.pieces[0])
        store.sweep()
        assert store.has_blob(record.pieces[0])
    assert blobs(store) == set()

    with store.holding(record.pieces):
        fetched(store, straight())
        store.enter(record)
    assert names(store) == ["a"]


def test_two_things_do_not_have_one_name(store: Store) -> None:
    record = installed(store, "a", straight())
    (store.folder / "own.gguf").write_bytes(straight())
    with pytest.raises(InvalidRequest, match=r"There is a file own\.gguf"):
        store.enter(Record("own", record.pieces))
    for source, taken in (("own", "a"), ("a", "own"), ("a", GUIDE)):
        with pytest.raises(InvalidRequest, match="There is a model named"):
            store.copy(source, taken)

    (store.folder / "a.gguf").write_bytes(named("bend"))
    assert store.find("a").record == record
    store.remove("a")
    assert names(store) == ["own"], "none of the two is left"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"name": "a"}', b'{"name": "b", "pieces": []}', b"\xff" * 100_000]
)
def test_a_damaged_record_is_told_of_and_can_be_deleted(content: bytes, store: Store) -> None:
    installed(store, "other", straight())
    (store.folder / "names" / "a.json").write_bytes(content)

    assert names(store) == ["a", "other"]
    assert "is damaged: delete the model" in store.find("a").problem
    with pytest.raises(ModelInvalid), store.open("a"):
        pass
    store.sweep()
    assert [record.name for record in store.records()] == ["other"]
    assert store.has_blob(piece_of(straight()))
    store.remove("a")
    assert names(store) == ["other"]


def test_a_missing_file_is_told_of(store: Store) -> None:
    record = installed(store, "a", straight())
    store.blob_path(record.pieces[0].sha256).unlink()

    assert "a file of it is missing" in store.find("a").problem
    with pytest.raises(ModelInvalid, match="cannot be opened"), store.open("a"):
        pass
    installed(store, "a", straight())
    assert store.find("a").problem == ""


def test_what_is_not_whole_gets_no_further_name(store: Store) -> None:
    missing = installed(store, "missing", straight())
    store.blob_path(missing.pieces[0].sha256).unlink()
    (store.folder / "names" / "damaged.json").write_bytes(b"{")
    (store.folder / "half-00002-of-00002.gguf").write_bytes(straight())

    for name in ("missing", "damaged", "half"):
        with pytest.raises(ModelInvalid):
            store.copy(name, "mine")
    with pytest.raises(ModelNotFound):
        store.find("mine")


@pytest.mark.parametrize("what", ["link", "hard link elsewhere", "fifo", "folder"])
def test_a_blob_is_a_regular_file_and_nothing_else(what: str, store: Store, tmp_path: Path) -> None:
    record = installed(store, "a", straight())
    path, other = store.blob_path(record.pieces[0].sha256), tmp_path / "other"
    path.rename(other)
    if what == "link":
        path.symlink_to(other)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        other.write_bytes(b"short")
        path.hardlink_to(other)

    assert store.find("a").problem
    assert not store.has_blob(record.pieces[0])


@pytest.mark.parametrize("folder", ["blobs", "names"])
def test_folders_inside_are_not_followed_elsewhere(folder: str, store: Store, tmp_path: Path) -> None:
    installed(store, "a", straight())
    (store.folder / folder).rename(tmp_path / "elsewhere")
    (store.folder / folder).symlink_to(tmp_path / "elsewhere")

    again = Store(store.folder)
    assert all(file.problem for file in again.models() if file.name == "a")
    with pytest.raises((ModelInvalid, ModelNotFound)), again.open("a"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_used(store: Store) -> None:
    record = installed(store, "a", straight())
    os.chown(store.blob_path(record.pieces[0].sha256), 1000, 1000)
    with pytest.raises(ModelInvalid, match="belongs to another user"), store.open("a"):
        pass
    os.chown(store.folder / "names" / "a.json", 1000, 1000)
    assert "cannot be read: it belongs to another user (1000)" in Store(store.folder).find("a").problem

    os.chown(store.folder, 1000, 1000)
    with Store(store.folder).open("a") as descriptors:
        assert len(descriptors) == 1


def test_a_partial_that_was_exchanged_is_not_adopted(store: Store) -> None:
    partial, piece = store.partial_path("x"), piece_of(straight())
    with partial.open("w+b") as part:
        part.write(straight())
        part.flush()
        (store.partials / "other").write_bytes(bytes(len(straight())))
        (store.partials / "other").replace(partial)
        with pytest.raises(OSError, match="exchanged while it was checked"):
            store.adopt(partial, part.fileno(), piece)
    assert not store.has_blob(piece)


def test_an_install_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    installed(store, "a", straight())
    (tmp_path / "b.gguf").write_bytes(named("bend"))

    with pytest.raises(Conflict):
        import_models(store, tmp_path / "b.gguf", name="a", reserve_bytes=0)
    assert blobs(store) == {piece_of(straight()).sha256}
    assert not list(store.partials.iterdir())


def test_the_sweep_takes_what_is_nobodys(store: Store) -> None:
    installed(store, "a", straight())
    fetched(store, named("bend"))
    for left in ("names/a.jsonx1y2", "partial/import-1.tmp", "partial/x.json1a2b"):
        (store.folder / left).write_text("half")
    for kept in ("partial/x.part", "partial/x.json"):
        (store.folder / kept).write_text("whole")
    store.sweep()

    assert blobs(store) == {piece_of(straight()).sha256}
    assert sorted(path.name for path in store.partials.iterdir()) == ["x.json", "x.part"]
    assert [path.name for path in (store.folder / "names").iterdir()] == ["a.json"]


def test_a_partial_that_is_a_blob_as_well_is_nobodys_to_write_to(store: Store) -> None:
    """A file system that moves in two steps leaves both names when the plug is pulled between them."""
    record = installed(store, "a", straight())
    for name in ("x.part", "x.again.part"):
        (store.partials / name).hardlink_to(store.blob_path(record.pieces[0].sha256))
    orphan = fetched(store, named("bend"))
    (store.partials / "y.part").hardlink_to(store.blob_path(orphan.sha256))
    store.sweep()

    assert [path.name for path in store.partials.iterdir()] == ["y.part"]
    assert (store.partials / "y.part").read_bytes() == named("bend")
    assert not store.has_blob(orphan)
    assert store.find("a").path.read_bytes() == straight()


@pytest.mark.parametrize("processes", [1, 2])
def test_whoever_does_what_at_once_a_name_means_a_whole_model_or_none(
    processes: int, store: Store, tmp_path: Path
) -> None:
    """A hundred at once, through a door or through two, as two processes have them; most of them change something."""
    contents = [straight(), named("bend"), named("sent")]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.gguf").write_bytes(content)
    doors = [store, Store(store.folder)][:processes]
    begin = threading.Barrier(100)

    def fetch(door: Store, chance: random.Random) -> None:
        content = chance.choice(contents)
        with door.holding([piece_of(content)]):
            piece = fetched(door, content, f"{chance.random()}")
            try:
                door.enter(Record("a", (piece,)))
            except ModelInvalid:
                if processes == 1:  # what this process holds only another one takes away
                    raise

    def bring(door: Store, chance: random.Random) -> None:
        import_models(door, tmp_path / f"{chance.randrange(3)}.gguf", name="a", reserve_bytes=0)

    def copy(door: Store, chance: random.Random) -> None:
        door.copy(*chance.sample(["a", "b", "c"], 2))

    def remove(door: Store, chance: random.Random) -> None:
        door.remove(chance.choice(["a", "b", "c"]))

    def look(door: Store, _chance: random.Random) -> None:
        for file in door.models():
            assert file.problem == "", file
        assert {record.name for record in door.records()} <= {"a", "b", "c"}

    def load(door: Store, chance: random.Random) -> None:
        with door.open(chance.choice(["a", "b", "c"])) as (descriptor,):
            assert os.pread(descriptor, 10**6, 0) in contents

    jobs: list[Callable[[Store, random.Random], None]] = [fetch, bring, copy, remove, look, load]

    def run(number: int) -> None:
        chance, job = random.Random(number), jobs[number % len(jobs)]
        begin.wait()
        for _ in range(3):
            with suppress(ModelNotFound, InvalidRequest, Conflict):  # taken, or gone: a clear answer
                job(doors[number % processes], chance)

    with ThreadPoolExecutor(100) as threads:
        assert [done.exception() for done in [threads.submit(run, number) for number in range(100)]] == [None] * 100

    assert all(file.problem == "" for file in store.models())
    store.sweep()
    assert blobs(store) == {piece.sha256 for record in store.records() for piece in record.pieces}
    assert not list(store.partials.iterdir())


def test_every_refusal_is_one_that_a_person_can_read(store: Store) -> None:
    for ask in (store.find, store.remove):
        with pytest.raises(EdgedError, match="There is no model named"):
            ask("../../etc/passwd")
