"""A model in several files answers as the same one in a single file does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from benchmarks import synthetic
from edged.store import Store
from edged.store.importing import import_models
from tests.asking import chat, client_of, text_of
from tests.daemon_process import DaemonProcess, running

ENGINE = '[models]\ndefault = "deep"\n[engine]\nkv_type = "q8_0"\nresident_models = 3\nlookup = false\n'


def split(file: Path, folder: Path, most_tensors: int) -> dict[str, Path]:
    """The model in `file` in pieces of so many tensors, as the authors of GGUF write them; by their names."""
    read = gguf.GGUFReader(file)
    architecture = read.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(folder / f"{file.stem}.gguf", architecture, split_max_tensors=most_tensors)
    for field in read.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, inner)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {path.stem: path for path in sorted(folder.glob(f"{file.stem}-*-of-*.gguf"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[DaemonProcess]:
    """`whole`, the same as `deep` in the owner's files, and a smaller one that guesses for both, in pieces too."""
    whole, small = (synthetic.build(shape, "Q8_0", folder) for shape in ("tiny-deep", "tiny-deep-draft"))
    deep = whole.rename(folder / "deep.gguf")
    small = small.rename(folder / "small.gguf")
    pieces = split(deep, folder, 7) | split(small, folder, 5)
    assert len(pieces) > 6
    with running({"whole": deep, **pieces}, ENGINE + 'draft_model = "small"\n') as found:
        yield found


def said(daemon: DaemonProcess, model: str) -> str:
    with client_of(daemon) as client:
        return text_of(chat(client, "Which way?", model=model, max_tokens=60, temperature=0.8, seed=5))


def test_the_owners_pieces_answer_as_the_whole(daemon: DaemonProcess) -> None:
    assert said(daemon, "deep") == said(daemon, "whole")

    deep = daemon.resident("deep")
    assert deep is not None
    assert (deep["draft_model"], deep["draft_problem"]) == ("small", None)


def test_imported_pieces_answer_as_the_whole(daemon: DaemonProcess, folder: Path) -> None:
    store = Store(daemon.state_dir / "models")
    pieces = sorted(folder.glob("deep-*-of-*.gguf"))
    import_models(store, pieces[1], name="ann/deep:q8", reserve_bytes=0)

    record = store.find("ann/deep:q8").record
    assert record is not None
    assert len(record.pieces) == len(pieces) > 1
    assert said(daemon, "ann/deep:q8") == said(daemon, "whole")
