"""A manifest comes from anywhere: it is what it should be, or a sentence says what it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import InvalidRequest
from edged.store import Piece, Record, manifest

TOLD = manifest.of(Record("hf.co/a/b:c", (Piece("0" * 64, 5), Piece("1" * 64, 6))), ["x.gguf", "y.gguf"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(raw: bytes) -> manifest.Manifest:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x.edged.json"
        file.write_bytes(raw)
        return manifest.read(file)


def test_what_was_written_is_read_and_tells_a_person_what_it_is() -> None:
    written = manifest.written(TOLD)

    assert read(written.encode()) == TOLD
    assert "`edged import`" in written
    assert "sha256sum" in written


@settings(deadline=None)
@given(st.sampled_from(["about", "format", "name", "files", "source", "revision", "license"]), JSON)
def test_any_field_may_be_anything(field: str, value: object) -> None:
    told = json.loads(manifest.written(TOLD))
    told[field] = value
    try:
        found = read(json.dumps(told).encode())
    except InvalidRequest:
        return
    assert found.record.pieces == TOLD.record.pieces


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_it_may_be_no_manifest_at_all(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(raw)


@pytest.mark.parametrize("raw", [b"[" * 50_000, b'{"format": 1e999}', b"1" * 30_000, b" " * 70_000])
def test_hostile_ones_end_soon(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(raw)


def test_a_manifest_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.edged.json")
    (tmp_path / "link.edged.json").symlink_to("/etc/passwd")
    for name in ("fifo", "link", "gone"):
        with pytest.raises(InvalidRequest, match="cannot be read"):
            manifest.read(tmp_path / f"{name}.edged.json")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a", "a"),
        ("hf.co/a/b:c", "hf.co-a-b-c"),
        ("con", "model-con"),
        ("AUX.x", "model-AUX.x"),
        ("console", "console"),
        ("Lpt1", "model-Lpt1"),
    ],
)
def test_files_have_names_that_every_file_system_takes(name: str, stem: str) -> None:
    assert manifest.stem(name) == stem
