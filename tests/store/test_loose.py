"""What the owner puts into the folder is a model at once, alone or in pieces."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edged.errors import InvalidRequest, ModelInvalid
from edged.store import GUIDE, ModelFile, Store
from tests.gguf_draft import named, pieces, straight
from tests.power_cut import quick_folder


def put_pieces(folder: Path, name: str, count: int = 3) -> list[Path]:
    paths = [folder / f"{name}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    for path, draft in zip(paths, pieces(count), strict=True):
        path.write_bytes(draft.written())
    return paths


def owned(store: Store) -> dict[str, ModelFile]:
    return {file.name: file for file in store.models() if file.name != GUIDE}


def test_pieces_are_one_model(tmp_path: Path) -> None:
    paths, store = put_pieces(tmp_path, "large"), Store(tmp_path)

    assert list(owned(store)) == ["large"]
    file = store.find("large")
    assert file == owned(store)["large"]
    assert (file.paths, file.problem, file.made_for) == (tuple(paths), "", "words")
    assert file.size_bytes == sum(path.stat().st_size for path in paths)
    with store.open("large") as descriptors:
        store.examine("large", descriptors)
        assert [os.fstat(one).st_ino for one in descriptors] == [path.stat().st_ino for path in paths]


def test_a_missing_piece_is_named(tmp_path: Path) -> None:
    put_pieces(tmp_path, "large")[1].unlink()

    file = Store(tmp_path).find("large")
    assert f"of its 3 pieces these are missing: 2. Copy them into {tmp_path}" in file.problem
    assert file.made_for is None


@pytest.mark.parametrize("name", ["a-00001-of-65535.gguf", "a-00001-of-99999.gguf"])
def test_what_is_said_to_be_in_countless_pieces_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(straight())

    assert "more than 64 are taken from nobody" in Store(tmp_path).find("a").problem


def test_a_piece_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    paths = put_pieces(tmp_path, "large")
    paths[2].write_bytes(paths[1].read_bytes())

    store = Store(tmp_path)
    assert "piece 3 of 3: it says that it is piece 2" in store.find("large").problem
    with pytest.raises(ModelInvalid, match="piece 3 of 3"), store.open("large") as descriptors:
        store.examine("large", descriptors)


def test_numbers_that_make_no_sense_are_part_of_a_name(tmp_path: Path) -> None:
    for name in ("a-00000-of-00002", "b-00003-of-00002", "c-1-of-2"):
        (tmp_path / f"{name}.gguf").write_bytes(straight())

    assert list(owned(Store(tmp_path))) == ["a-00000-of-00002", "b-00003-of-00002", "c-1-of-2"]


def test_one_file_of_one_is_the_model(tmp_path: Path) -> None:
    (tmp_path / "a-00001-of-00001.gguf").write_bytes(straight())

    assert Store(tmp_path).find("a").problem == ""


def test_a_whole_file_of_the_same_name_is_the_one_that_is_meant(tmp_path: Path) -> None:
    put_pieces(tmp_path, "a")
    (tmp_path / "a.gguf").write_bytes(straight())
    store = Store(tmp_path)

    assert store.find("a").path.name == owned(store)["a"].path.name == "a.gguf"


def test_pieces_are_copied_and_deleted_together(tmp_path: Path) -> None:
    put_pieces(tmp_path, "large")
    store = Store(tmp_path)
    store.copy("large", "mine")

    assert [path.name for path in store.find("mine").paths] == [
        f"mine-0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]
    assert store.find("mine").problem == ""
    store.remove("large")
    assert list(owned(store)) == ["mine"]
    with pytest.raises(InvalidRequest, match="no slashes and colons"):
        store.copy("mine", "mine:2")
    store.remove("mine")
    assert owned(store) == {}


def test_deleting_a_name_leaves_nothing_of_that_name(tmp_path: Path) -> None:
    put_pieces(tmp_path, "a", 2)
    put_pieces(tmp_path, "a", 3)
    (tmp_path / "a.gguf").write_bytes(straight())
    store = Store(tmp_path)
    store.remove("a")

    assert owned(store) == {}
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@contextmanager
def alone_in_memory() -> Iterator[None]:
    """The garbage collector leaves out what other tests have left in this process, as no daemon has it: going through
    the objects of some thousand tests takes longer than the listing.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def test_ten_thousand_files_are_listed_within_a_second() -> None:
    whole = named("many")
    with TemporaryDirectory(dir=quick_folder()) as name:
        folder = Path(name)
        for number in range(10_000):
            (folder / f"model-{number}.gguf").write_bytes(b"GGUF" if number % 50 else whole)
        (folder / "deep").mkdir()
        os.mkfifo(folder / "fifo.gguf")
        (folder / ("x" * 250 + ".gguf")).touch()
        store = Store(folder)

        took_s = []
        with alone_in_memory():
            for _ in range(3):
                began_s = time.thread_time()
                assert len(store.models()) == 10_001
                took_s.append(time.thread_time() - began_s)
        assert max(took_s) < 1, took_s
        assert store.find("model-50").made_for == "words"
        assert store.find("model-51").problem
