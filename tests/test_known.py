"""What is said to be known is what the installed llama.cpp knows, and what it does not know is refused beforehand."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
from pathlib import Path

import pytest

from benchmarks import engine
from edged.errors import ModelInvalid, ModelUnsupported
from edged.gguf.header import inspect
from edged.gguf.known import ARCHITECTURES, CUTS, TOKENIZERS, VERSION
from edged.gguf.reading import GgufInvalid, GgufUnsupported
from edged.gguf.supported import unsupported
from edged.local.refusal import refused
from edged.store import Store
from edged.worker.bindings import EngineError, lib
from edged.worker.model import Model
from install.knows import known_by, module
from tests.gguf_draft import I32, STRING, TOKENS, Draft, many, one

# `llm_arch_name` in src/llama-arch.h, as the compilers of Linux write its name. A build may keep it to itself.
_NAME_OF_ARCHITECTURE = "_Z13llm_arch_name8llm_arch"
_MOST = 1000


def complaint(folder: Path, draft: Draft) -> str:
    """What llama.cpp says to the file, asked for its vocabulary; empty where it takes it."""
    (folder / "m.gguf").write_bytes(draft.written())
    try:
        Model(str(folder / "m.gguf"), vocab_only=True).close()
    except EngineError as error:
        return str(error)
    return ""


def nothing_but(**entries: str) -> Draft:
    draft = Draft(tensors=[])
    draft.entries = {key.replace("__", "."): one(STRING, value) for key, value in entries.items()}
    return draft


def cut_as(name: str, tokenizer: str = "gpt2") -> Draft:
    draft = Draft()
    draft.entries |= {
        "tokenizer.ggml.model": one(STRING, tokenizer),
        "tokenizer.ggml.pre": one(STRING, name),
        "tokenizer.ggml.merges": many(STRING, ["e t"]),
        "tokenizer.ggml.token_type": many(I32, [1] * len(TOKENS)),
    }
    return draft


def test_the_list_is_of_the_installed_version() -> None:
    assert importlib.metadata.version("llama-cpp-python") == VERSION, "run scripts/engine-knows"


def test_the_list_is_what_the_engines_source_says() -> None:
    try:
        sources = engine.source() / "vendor/llama.cpp/src"
    except OSError:
        pytest.skip("the engine's source package is not here")
    known = known_by(sources)

    assert [set(names) for names in (known.architectures, known.tokenizers, known.cuts)] == [
        ARCHITECTURES,
        TOKENIZERS,
        CUTS,
    ]
    assert module(VERSION, known) == (engine._ROOT / "edged/gguf/known.py").read_text()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_library_knows_every_architecture_of_the_list(tmp_path: Path, name: str) -> None:
    said = complaint(tmp_path, nothing_but(general__architecture=name))

    assert said
    assert not isinstance(refused("m", said), ModelUnsupported), said


def test_the_library_knows_no_other_architecture() -> None:
    name_of = getattr(lib._lib, _NAME_OF_ARCHITECTURE, None)
    if name_of is None:
        pytest.skip("the library keeps its list of names to itself")
    name_of.restype = ctypes.c_char_p
    names = {name_of(number).decode() for number in range(_MOST)}

    assert names >= ARCHITECTURES
    # Those that it has a name for, and no model: clip's files are projectors.
    assert len(names - ARCHITECTURES) <= 4, sorted(names - ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(CUTS))
def test_the_library_cuts_texts_in_every_way_of_the_list(tmp_path: Path, name: str) -> None:
    assert not isinstance(refused("m", complaint(tmp_path, cut_as(name))), ModelUnsupported)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_the_library_knows_every_tokenizer_of_the_list(tmp_path: Path, name: str) -> None:
    assert not isinstance(refused("m", complaint(tmp_path, cut_as("default", name))), ModelUnsupported)


def _of_an_unknown_tokenizer() -> Draft:
    draft = Draft()
    draft.entries["tokenizer.ggml.model"] = one(STRING, "tiles")
    return draft


@pytest.mark.parametrize(
    ("draft", "mentions"),
    [
        (nothing_but(general__architecture="qwen99"), "architecture 'qwen99'"),
        (_of_an_unknown_tokenizer(), "tokenizer .*'tiles'"),
        (cut_as("qwen99"), "'qwen99'"),
    ],
)
def test_what_the_library_says_of_what_it_does_not_know_is_recognised(
    tmp_path: Path, draft: Draft, mentions: str
) -> None:
    """Its own words, and ours, which come before it is asked."""
    found = refused("m", complaint(tmp_path, draft))
    ours = inspect(tmp_path / "m.gguf").unsupported

    assert isinstance(found, ModelUnsupported)
    assert "Update edged, or use a model that it knows." in str(found)
    assert re.search(mentions, ours)
    assert ours.endswith("Update edged, or use a model that it knows.")


def test_another_refusal_stays_what_it_is() -> None:
    found = refused("m", "key not found in model: llama.context_length")

    assert type(found) is ModelInvalid
    assert str(found) == "llama.cpp could not load the model m: key not found in model: llama.context_length"


def test_the_nearest_names_that_are_known_are_told() -> None:
    assert "the nearest that it knows: qwen3" in unsupported("qwen3x", {})
    assert "nearest" not in unsupported("zzzzzz", {})
    assert unsupported("llama", {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "tiles"}) == "", "it is not cut"


@pytest.mark.parametrize(("version", "kind"), [(3, 43), (4, 0), (3, 60)])
def test_a_file_of_a_later_format_is_unsupported(tmp_path: Path, version: int, kind: int) -> None:
    draft = Draft(version=version)
    draft.tensor("blk.0.ffn_up.weight").kind = kind
    (tmp_path / "m.gguf").write_bytes(draft.written())

    with pytest.raises(GgufUnsupported, match=r"does not know\. Update edged"):
        inspect(tmp_path / "m.gguf")


@pytest.mark.parametrize(("version", "kind"), [(1, 0), (3, 4), (3, 999), (2**31, 0)])
def test_a_file_of_no_format_is_invalid(tmp_path: Path, version: int, kind: int) -> None:
    draft = Draft(version=version)
    draft.tensor("blk.0.ffn_up.weight").kind = kind
    (tmp_path / "m.gguf").write_bytes(draft.written())

    with pytest.raises(GgufInvalid) as told:
        inspect(tmp_path / "m.gguf")
    assert not isinstance(told.value, GgufUnsupported)


def test_a_store_tells_the_one_from_the_other(tmp_path: Path) -> None:
    new, later, bent = Draft(), Draft(version=5), Draft(magic=b"NOPE")
    new.entries["general.architecture"] = one(STRING, "qwen99")
    for name, draft in (("new", new), ("later", later), ("bent", bent)):
        (tmp_path / f"{name}.gguf").write_bytes(draft.written())
    store = Store(tmp_path)

    found = {file.name: (bool(file.problem), file.is_unsupported) for file in store.models()}
    assert found == {"new": (True, True), "later": (True, True), "bent": (True, False), "guide": (False, False)}
    for name, kind in (("new", ModelUnsupported), ("later", ModelUnsupported), ("bent", ModelInvalid)):
        with store.open(name) as descriptor, pytest.raises(ModelInvalid) as told:
            store.examine(name, descriptor)
        assert type(told.value) is kind
