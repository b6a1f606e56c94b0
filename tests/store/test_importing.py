"""A model from a stick is the model that was put on it, or none."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from edged.errors import ChecksumMismatch, Conflict, DiskFull, InvalidRequest, ModelInvalid
from edged.store import GUIDE, Store
from edged.store.exporting import check_size, export_model, filesystem_of
from edged.store.importing import Imported, import_models
from tests.gguf_draft import named, pieces, straight

RESERVE = 0  # these tests are about other things than how full the disk is


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def in_pieces(name: str) -> dict[str, bytes]:
    files = pieces(3)
    return {f"{name}-{number:05}-of-00003.gguf": draft.written() for number, draft in enumerate(files, start=1)}


def names(store: Store) -> list[str]:
    return [file.name for file in store.models() if file.name != GUIDE and not file.problem]


def bring(store: Store, source: Path, name: str | None = None) -> Imported:
    return import_models(store, source, name=name, reserve_bytes=RESERVE)


def left_over(store: Store) -> list[str]:
    """Everything in the store that is no record, no lock and no blob that a record needs."""
    needed = {store.blob_path(piece.sha256) for record in store.records() for piece in record.pieces}
    files = {path for path in store.folder.rglob("*") if path.is_file()} - needed
    return sorted(path.name for path in files if path.parent.name != "names" and path.name != ".lock")


def contents(paths: Iterable[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_a_file_becomes_a_model_with_a_record(tmp_path: Path) -> None:
    stick, store, told = put(tmp_path / "stick", {"a.gguf": straight()}), Store(tmp_path / "models"), list[object]()

    done = import_models(store, stick / "a.gguf", reserve_bytes=RESERVE, tell=lambda *moved: told.append(moved))

    assert done == Imported(("a",))
    file = store.find("a")
    assert file.record
    assert file.path.name == f"sha256-{sha256(straight()).hexdigest()}"
    assert file.path.read_bytes() == straight()
    assert (file.size_bytes, file.problem, file.made_for) == (len(straight()), "", "words")
    assert told == [("a", len(straight()), len(straight()))]
    assert left_over(store) == []
    assert bring(store, stick / "a.gguf") == done, "the same once more is no other model"


def test_a_folder_may_hold_many_and_one_in_pieces(tmp_path: Path) -> None:
    files = {"a.gguf": straight(), "b.gguf": named("b"), "read me.txt": b"hello", **in_pieces("large")}
    stick, store = put(tmp_path / "stick", files), Store(tmp_path / "models")

    assert bring(store, stick) == Imported(("a", "b", "large"))
    assert names(store) == ["a", "b", "large"]
    assert contents(store.find("large").paths) == [*in_pieces("large").values()]
    with store.open("large") as descriptors:
        store.examine("large", descriptors)
        assert len(descriptors) == 3


def test_one_piece_stands_for_all_of_them(tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", in_pieces("large")), Store(tmp_path / "models")

    assert bring(store, stick / "large-00002-of-00003.gguf") == Imported(("large",))
    (stick / "large-00003-of-00003.gguf").unlink()
    with pytest.raises(InvalidRequest, match="missing: 3"):
        bring(store, stick / "large-00002-of-00003.gguf")


def test_what_is_wrong_in_a_folder_is_told_and_the_rest_taken(tmp_path: Path) -> None:
    files = {"a.gguf": straight(), "cut.gguf": straight()[:-1000], "empty.gguf": b"", "b.edged.json": b"[]"}
    stick, store = put(tmp_path / "stick", files), Store(tmp_path / "models")
    (stick / "link.gguf").symlink_to("/etc/passwd")
    os.mkfifo(stick / "fifo.gguf")

    done = bring(store, stick)

    assert done.names == ("a",)
    assert [reason.split(":")[0] for reason in done.refused] == [
        f"{stick}/b.edged.json is damaged or not written by edged",
        "cut.gguf",
        "empty.gguf",
    ]
    assert names(store) == ["a"]
    assert left_over(store) == []


@pytest.mark.parametrize("file", ["a.zip", "a.tar.gz", "a.gguf.zip"])
def test_archives_are_not_opened(file: str, tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", {}), Store(tmp_path / "models")
    with zipfile.ZipFile(stick / file, "w") as archive:
        archive.writestr("../../a.gguf", straight())

    with pytest.raises(InvalidRequest, match="Archives are not taken"):
        bring(store, stick / file)
    with pytest.raises(InvalidRequest, match="no file that ends in"):
        bring(store, stick)
    assert names(store) == []


def test_a_zip_that_is_called_gguf_is_no_model(tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", {"a.gguf": b"PK\3\4" + bytes(100)}), Store(tmp_path / "models")

    with pytest.raises(ModelInvalid, match="no GGUF"):
        bring(store, stick / "a.gguf")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        r"a\..\b",
        "a\0",
        "x" * 300,
        "a\u2024gguf",
        "\u202egguf",
        "%2e",
        ".",
        "..",
        "~",
        "-x",
        "a..b",
        "",
        "a/b/c/d/e",
        "a:b:c",
        "a:",
        "/a",
        "a//b",
        "guide",
    ],
)
def test_names_that_mean_something_else_are_refused(name: str, tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", {"a.gguf": straight()}), Store(tmp_path / "models")

    with pytest.raises(InvalidRequest, match=r"cannot be a model's name|is built in"):
        bring(store, stick / "a.gguf", name)
    assert names(store) == []
    assert left_over(store) == []


@pytest.mark.parametrize("name", ["CON", "a", "hf.co/ORG/REPO:Q4_K_M", "llama3.2:1b", "qwen3-0.6b", "x" * 128])
def test_a_model_may_have_any_other_name(name: str, tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", {"a.gguf": straight()}), Store(tmp_path / "models")
    bring(store, stick / "a.gguf", name)

    assert names(store) == [name]
    out = put(tmp_path / "out", {})
    paths = export_model(store, name, out)
    assert all(path.parent == out and not set(path.name) & set('<>:"/\\|?*') for path in paths)
    store.remove(name)
    assert bring(store, out) == Imported((name,))
    store.remove(name)
    assert left_over(store) == []


def test_what_was_exported_comes_back_as_it_was(tmp_path: Path) -> None:
    stick, store, other = put(tmp_path / "stick", in_pieces("large")), Store(tmp_path / "one"), Store(tmp_path / "two")
    bring(store, stick, "hf.co/ann/large:Q4_0")
    out = put(tmp_path / "out", {})

    first = export_model(store, "hf.co/ann/large:Q4_0", out)
    assert [path.name for path in first] == [
        *(f"hf.co-ann-large-Q4_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)),
        "hf.co-ann-large-Q4_0.edged.json",
    ]
    assert export_model(store, "hf.co/ann/large:Q4_0", out) == first, "again, nothing changes"
    assert sorted(out.iterdir()) == sorted(first)

    for source in (first[0], first[-1], out):
        assert bring(other, source) == Imported(("hf.co/ann/large:Q4_0",))
        assert contents(other.find("hf.co/ann/large:Q4_0").paths) == contents(first[:-1])
        other.remove("hf.co/ann/large:Q4_0")


def test_the_owners_own_files_and_the_guide_can_be_exported(tmp_path: Path) -> None:
    store, out = Store(put(tmp_path / "models", {"a.gguf": straight()})), put(tmp_path / "out", {})

    export_model(store, "a", out)
    export_model(store, GUIDE, out)

    assert (out / "a.gguf").read_bytes() == straight()
    assert (out / "guide.gguf").read_bytes() == store.find(GUIDE).path.read_bytes()
    told = json.loads((out / "a.edged.json").read_text())
    assert told["files"] == [
        {"file": "a.gguf", "size_bytes": len(straight()), "sha256": sha256(straight()).hexdigest()}
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "0" * 64),
        ("sha256", sha256(b"").hexdigest()),
        ("sha256", "x"),
        ("size_bytes", 3),
        ("file", "../a.gguf"),
        ("file", "/etc/passwd"),
        ("file", "gone.gguf"),
    ],
)
def test_a_manifest_must_be_true(field: str, value: object, tmp_path: Path) -> None:
    store, other, out = (
        Store(put(tmp_path / "one", {"a.gguf": straight()})),
        Store(tmp_path / "two"),
        put(tmp_path / "out", {}),
    )
    export_model(store, "a", out)
    told = json.loads((out / "a.edged.json").read_text())
    told["files"][0][field] = value
    (out / "a.edged.json").write_text(json.dumps(told))

    with pytest.raises((ChecksumMismatch, InvalidRequest)):
        bring(other, out / "a.edged.json")
    assert names(other) == []
    assert left_over(other) == []


def test_bytes_that_changed_on_the_way_are_noticed(tmp_path: Path) -> None:
    store, other, out = (
        Store(put(tmp_path / "one", {"a.gguf": straight()})),
        Store(tmp_path / "two"),
        put(tmp_path / "out", {}),
    )
    export_model(store, "a", out)
    content = bytearray((out / "a.gguf").read_bytes())
    content[-1] ^= 1
    (out / "a.gguf").write_bytes(content)

    with pytest.raises(ChecksumMismatch, match="Copy it again"):
        bring(other, out)
    assert names(other) == []
    assert left_over(other) == []


def test_a_name_is_not_taken_from_another_model(tmp_path: Path) -> None:
    stick = put(tmp_path / "stick", {"a.gguf": straight(), "b.gguf": named("bent!")})
    store = Store(put(tmp_path / "models", {"own.gguf": straight()}))
    bring(store, stick / "a.gguf", "x")

    for other in ("a.gguf", "b.gguf"):
        with pytest.raises(InvalidRequest, match=r"There is a file own\.gguf"):
            bring(store, stick / other, "own")
    with pytest.raises(Conflict, match="another model named 'x'"):
        bring(store, stick / "b.gguf", "x")
    assert store.find("x").path.read_bytes() == straight()
    assert left_over(store) == ["own.gguf"]


def test_whoever_calls_it_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    stick, store = put(tmp_path / "stick", {"a.gguf": straight()}), Store(tmp_path / "models")
    with pytest.raises(KeyboardInterrupt):
        import_models(store, stick, reserve_bytes=RESERVE, tell=stop)
    assert names(store) == []
    assert left_over(store) == []


def test_the_reserve_is_asked_before_anything_is_written(tmp_path: Path) -> None:
    stick, store = put(tmp_path / "stick", {"a.gguf": straight()}), Store(tmp_path / "models")

    with pytest.raises(DiskFull, match=r"there is room for 0\.0 MB"):
        import_models(store, stick, reserve_bytes=2**60)
    assert left_over(store) == []


def test_an_export_replaces_no_other_file(tmp_path: Path) -> None:
    store, out = Store(put(tmp_path / "models", {"a.gguf": straight()})), put(tmp_path / "out", {"a.gguf": b"mine"})

    with pytest.raises(InvalidRequest, match="is another file"):
        export_model(store, "a", out)
    with pytest.raises(InvalidRequest, match="is no folder"):
        export_model(store, "a", out / "nowhere")
    assert contents(out.iterdir()) == [b"mine"]


def test_a_stick_that_cannot_hold_a_file_so_large_says_so_before_anything_is_written() -> None:
    mounts = "36 35 98:0 / /mnt/a rw - ext4 /dev/root rw\n40 35 8:17 / /media/stick rw shared:3 - vfat /dev/sdb1 rw\n"
    assert filesystem_of(mounts, os.makedev(8, 17)) == "vfat"
    assert filesystem_of(mounts, os.makedev(98, 0)) == "ext4"
    assert filesystem_of(mounts, os.makedev(1, 1)) == ""

    check_size(2**32 - 1, "vfat", Path("/media/stick"))
    check_size(2**40, "exfat", Path("/media/stick"))
    with pytest.raises(InvalidRequest, match=r"4\.0 GiB.*formatted as FAT.*exFAT"):
        check_size(2**32, "vfat", Path("/media/stick"))


def test_a_manifest_of_something_else_is_in_nobodys_way(tmp_path: Path) -> None:
    stick = put(tmp_path / "stick", {"a.gguf": straight(), "b.edged.json": b"{"})
    store = Store(tmp_path / "models")

    assert bring(store, stick / "a.gguf") == Imported(("a",))
    (stick / "a.edged.json").write_bytes(b"{")
    with pytest.raises(InvalidRequest, match="is damaged"):
        bring(store, stick / "a.gguf")
