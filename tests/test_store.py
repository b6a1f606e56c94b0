"""What is installed: regular files with decent names, nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edged.errors import InvalidRequest, ModelInvalid, ModelNotFound
from edged.store import GUIDE, Store, key_of
from edged.store.listing import GUIDE_FILE
from tests.gguf_draft import straight


def names(folder: Path) -> list[str]:
    return [file.name for file in Store(folder).models()]


def test_the_guide_is_always_there(tmp_path: Path) -> None:
    assert names(tmp_path) == [GUIDE]
    assert names(tmp_path / "nowhere") == [GUIDE]


def test_a_file_is_a_model_at_once_and_no_longer_than_it_lies_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "b.gguf").write_bytes(b"12345")
    (tmp_path / "a-1.5b_Q4.0.gguf").touch()

    assert names(tmp_path) == ["a-1.5b_Q4.0", "b", GUIDE]
    assert store.find("b").size_bytes == 5

    (tmp_path / "b.gguf").unlink()
    assert names(tmp_path) == ["a-1.5b_Q4.0", GUIDE]


def test_a_file_called_guide_does_not_replace_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "guide.gguf").write_bytes(b"other")

    assert names(tmp_path) == [GUIDE]
    assert Store(tmp_path).find(GUIDE).path.parent != tmp_path


@pytest.mark.parametrize(
    "name",
    [".gguf", ".hidden.gguf", "-x.gguf", "a b.gguf", "ä.gguf", "a.GGUF", "a.txt", "a.gguf.part", "x" * 129 + ".gguf"],
)
def test_other_names_are_no_models(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()

    assert names(tmp_path) == [GUIDE]


def test_only_regular_files_count(tmp_path: Path) -> None:
    (tmp_path / "real.bin").touch()
    (tmp_path / "link.gguf").symlink_to(tmp_path / "real.bin")
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.gguf").mkdir()
    os.mkfifo(tmp_path / "fifo.gguf")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.gguf"))

        assert names(tmp_path) == [GUIDE]


def test_a_model_is_opened_for_reading_and_closed_again(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"weights")

    with Store(tmp_path).open("a") as (descriptor,):
        assert os.read(descriptor, 100) == b"weights"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("name", ["b", "../a", "a.gguf", "", "a\0"])
def test_an_unknown_name_is_told_what_there_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()

    with pytest.raises(ModelNotFound, match="Installed: a, guide"), Store(tmp_path).open(name):
        pass


def test_a_file_that_turned_into_a_link_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_bytes(b"weights")
    store = Store(tmp_path)
    found = store.find("a")
    (tmp_path / "a.gguf").unlink()
    (tmp_path / "a.gguf").symlink_to("/etc/passwd")
    monkeypatch.setattr(store, "find", lambda name: found)

    with pytest.raises(ModelInvalid, match=r"The file of model a cannot be opened"), store.open("a"):
        pass


def test_a_file_that_vanishes_while_the_folder_is_listed_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").touch()
    listed = list(os.scandir(tmp_path))
    (tmp_path / "a.gguf").unlink()
    monkeypatch.setattr(os, "scandir", lambda folder: listed)

    assert names(tmp_path) == [GUIDE]


def key(file: Path) -> str:
    with file.open("rb") as content:
        return key_of(content.fileno())


def test_a_key_belongs_to_the_content_and_not_to_the_name(tmp_path: Path) -> None:
    content = bytearray(os.urandom(8 * 2**20))
    file, copy = tmp_path / "a.gguf", tmp_path / "b.gguf"
    file.write_bytes(content)
    copy.write_bytes(content)
    for one in (file, copy):
        os.utime(one, (1, 1))
    assert key(file) == key(copy)
    assert {key(file), key(GUIDE_FILE)} == Store(tmp_path).keys()

    # Trained further: the same size and header, and somebody copied the time along.
    copy.write_bytes(content[: 2**20] + os.urandom(7 * 2**20))
    os.utime(copy, (1, 1))
    assert key(file) != key(copy)

    copy.write_bytes(content)
    os.utime(copy, (2, 2))
    assert key(file) != key(copy)


def test_a_copy_is_another_name_of_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(straight())
    store = Store(tmp_path)
    store.copy("a", "b")

    assert names(tmp_path) == ["a", "b", GUIDE]
    assert (tmp_path / "a.gguf").samefile(tmp_path / "b.gguf")

    store.remove("a")
    assert names(tmp_path) == ["b", GUIDE]
    assert (tmp_path / "b.gguf").read_bytes() == straight()


@pytest.mark.parametrize("name", ["", "../b", "a/b", "b:8b", ".b", "x" * 129, "b\0"])
def test_a_copy_gets_a_name_that_models_may_have(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(straight())

    with pytest.raises(InvalidRequest, match="cannot be a model's name here"):
        Store(tmp_path).copy("a", name)
    assert names(tmp_path) == ["a", GUIDE]


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    (tmp_path / "b.gguf").write_bytes(b"other")

    for name in ("b", GUIDE):
        with pytest.raises(InvalidRequest, match="There is a model named"):
            Store(tmp_path).copy("a", name)
    with pytest.raises(ModelNotFound):
        Store(tmp_path).copy("c", "d")
    with pytest.raises(InvalidRequest, match=r"The model guide cannot be called mine as well: No such file"):
        Store(tmp_path / "nowhere").copy(GUIDE, "mine")
    assert (tmp_path / "b.gguf").read_bytes() == b"other"


def test_the_built_in_model_stays(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="built in and cannot be deleted"):
        Store(tmp_path).remove(GUIDE)
    with pytest.raises(ModelNotFound):
        Store(tmp_path).remove("a")
    assert GUIDE_FILE.exists()


def test_a_file_that_cannot_be_deleted_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.gguf").touch()
    monkeypatch.setattr(Path, "unlink", refuse)

    with pytest.raises(ModelInvalid, match="cannot be deleted: Permission denied"):
        Store(tmp_path).remove("a")
