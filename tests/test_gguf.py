"""A file's header tells what it was made for and whether it can be loaded; reading it ends soon and takes little."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import engine, synthetic
from benchmarks.shapes import SHAPES
from edged.gguf.header import Gguf, inspect
from edged.gguf.pieces import inspect_pieces
from edged.gguf.reading import GgufInvalid, Unfinished
from edged.store import Store
from edged.store.listing import GUIDE_FILE
from tests.gguf_draft import BOOL, F32, STRING, TOKENS, U8, U16, U32, Draft, many, one, straight
from tests.malformed import BENT, HARMLESS, Case

# What the promise allows is a second; a machine that is busy with other things needs more.
PROMPTLY_S = 5.0
# What the promise allows is 32 MB. The rest is for what this measures beside: the generator and the test itself.
MOST_BYTES = 32 * 2**20

_STRAIGHT = straight()


def of(architecture: str = "llama", /, **entries: bytes) -> Draft:
    """The model under another architecture's name, with entries of that one's."""
    draft = Draft()
    draft.entries = {str(key).replace("llama.", f"{architecture}.", 1): value for key, value in draft.entries.items()}
    draft.entries |= {f"{architecture}.{key.replace('__', '.')}": value for key, value in entries.items()}
    draft.entries["general.architecture"] = one(STRING, architecture)
    return draft


def also(draft: Draft, **entries: bytes) -> Draft:
    """The draft with more entries, of which `general__type` means `general.type`."""
    draft.entries |= {key.replace("__", "."): value for key, value in entries.items()}
    return draft


def inspected(tmp_path: Path, draft: Draft) -> Gguf:
    (tmp_path / "m.gguf").write_bytes(draft.written())
    return inspect(tmp_path / "m.gguf")


def _vocabulary_alone() -> Draft:
    draft = Draft()
    draft.tensors = []
    return draft


def _last_piece() -> Draft:
    """As `gguf-split` writes them: only the first has the entries of the model."""
    draft = Draft()
    draft.entries = {"split.no": one(U16, 2), "split.count": one(U16, 3)}
    return draft


@pytest.mark.parametrize(
    ("draft", "purpose"),
    [
        (of("llama"), "words"),
        (of("llama", pooling_type=one(U32, 0)), "words"),
        (of("bert", pooling_type=one(U32, 2)), "vectors"),
        (of("qwen3", pooling_type=one(U32, 3)), "vectors"),
        (of("bert", attention__causal=one(BOOL, False)), "vectors"),
        (of("bert", attention__causal=one(BOOL, False), pooling_type=one(U32, 4)), "scores"),
        # Another architecture's words about itself mean nothing.
        (also(of("llama"), bert__pooling_type=one(U32, 2)), "words"),
        (of("clip"), "part"),
        (also(of("llama"), general__type=one(STRING, "adapter")), "part"),
        (also(of("llama"), split__count=one(U16, 3)), "part"),
        (also(of("llama"), split__count=one(U16, 1), general__type=one(STRING, "model")), "words"),
        (_last_piece(), "part"),
        (_vocabulary_alone(), "part"),
        (also(of("llama"), general__name=one(STRING, "名")), "words"),
    ],
)
def test_what_it_was_made_for(tmp_path: Path, draft: Draft, purpose: str) -> None:
    found = inspected(tmp_path, draft)

    assert found.made_for == purpose
    assert bool(found.problem) == (purpose == "part")


def test_a_projector_need_not_be_a_model(tmp_path: Path) -> None:
    draft = Draft()
    draft.entries = {"general.architecture": one(STRING, "clip"), "clip.has_vision_encoder": one(BOOL, True)}

    assert inspected(tmp_path, draft).made_for == "part"


def test_the_built_in_model_and_a_synthetic_one_are_for_words(tiny: Path) -> None:
    for file in (GUIDE_FILE, tiny):
        found = inspect(file)
        assert (found.made_for, found.problem) == ("words", "")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.startswith("tiny") or shape == "nano"])
def test_synthetic_models_of_all_small_shapes_can_be_loaded(shape: str, tmp_path: Path) -> None:
    assert inspect(synthetic.build(shape, "Q8_0", tmp_path)).problem == ""


@pytest.mark.parametrize(("shape", "purpose"), [("tiny-bert", "vectors"), ("tiny-judge", "scores")])
def test_models_for_search_say_so(shape: str, purpose: str, tmp_path: Path) -> None:
    assert inspect(synthetic.build(shape, "F16", tmp_path)).made_for == purpose


def _vocabularies() -> Iterator[Path]:
    try:
        yield from sorted((engine.source() / "vendor/llama.cpp/models").glob("ggml-vocab-*.gguf"))
    except OSError:
        return


def test_every_vocabulary_of_llama_cpp_is_read_in_time_and_little_memory() -> None:
    files = list(_vocabularies())
    if not files:
        pytest.skip("the engine's source package is not here")
    for file in files:
        began_s = time.monotonic()
        found = inspect(file)
        assert time.monotonic() - began_s < PROMPTLY_S, file
        assert found.vocabulary_tokens > 30_000, file
        assert "vocabulary" in found.problem
    largest = max(files, key=lambda file: file.stat().st_size)
    assert _most_bytes(largest) < MOST_BYTES


def _most_bytes(file: Path) -> int:
    tracemalloc.start()
    try:
        inspect(file)
    except GgufInvalid:
        pass
    finally:
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most_bytes


def test_what_a_file_says_of_itself_is_kept_but_for_lists_long_texts_and_long_names(tmp_path: Path) -> None:
    draft = Draft()
    draft.entries |= {
        "general.file_type": one(U32, 15),
        "general.size_label": one(STRING, "1.7B"),
        "general.description": one(STRING, "x" * 500),
        "k" * 129: one(U8, 1),
    }
    found = inspected(tmp_path, draft)

    assert (found.made_for, found.architecture, found.template) == ("words", "llama", "")
    assert found.entries.keys() == {
        str(key) for key in draft.entries if key not in ("general.description", "k" * 129)
    } - {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"}
    assert (found.entries["general.file_type"], found.entries["general.size_label"]) == (15, "1.7B")


def test_what_its_tensors_are_is_told(tmp_path: Path) -> None:
    draft = Draft()
    found = inspected(tmp_path, draft).tensors

    assert found.count == len(draft.tensors)
    assert found.elements == sum(tensor.size_bytes for tensor in draft.tensors) // 4
    assert found.types == {"f32": len(draft.tensors)}
    assert found.data_offset + found.size_bytes == len(_STRAIGHT)


@pytest.mark.parametrize(("characters", "kept"), [(500, 500), (64 * 1024, 64 * 1024), (64 * 1024 + 1, 0)])
def test_a_chat_template_is_kept_unless_it_is_longer_than_any(tmp_path: Path, characters: int, kept: int) -> None:
    draft = also(Draft(), tokenizer__chat_template=one(STRING, "x" * characters))
    found = inspected(tmp_path, draft)

    assert found.template == "x" * kept
    assert "tokenizer.chat_template" not in found.entries


@pytest.mark.parametrize("case", BENT.values(), ids=BENT.keys())
def test_a_bent_file_is_refused_with_what_is_wrong(tmp_path: Path, case: Case) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(case.written())
    began_s = time.monotonic()

    with pytest.raises(GgufInvalid, match=case.mentions) as told:
        inspect(file)

    assert time.monotonic() - began_s < PROMPTLY_S
    assert _most_bytes(file) < 4 * 2**20
    assert str(told.value).endswith(".")
    assert len(str(told.value)) < 300


def test_there_are_as_many_bends_as_were_promised() -> None:
    assert len(BENT) >= 170
    assert all(case.mentions for case in BENT.values())


@pytest.mark.parametrize("case", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_real_files_have_is_not_refused(tmp_path: Path, case: Case) -> None:
    (tmp_path / "m.gguf").write_bytes(case.written())

    assert inspect(tmp_path / "m.gguf").problem == ""


def test_no_more_is_read_than_a_header_may_have(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(also(Draft(), k=many(U8, [], 2**33)).written())
    os.truncate(file, 2**34)  # as long as it says, and empty

    with pytest.raises(GgufInvalid, match="beyond 64 MiB"):
        inspect(file)


def test_the_most_that_a_file_may_make_us_do_is_bounded(tmp_path: Path) -> None:
    """As many tokens as are taken, all of them different, and as many empty texts."""
    file, draft = tmp_path / "m.gguf", Draft()
    draft.entries["tokenizer.ggml.tokens"] = many(STRING, [f"{number:x}" for number in range(2**19)])
    draft.entries["tokenizer.ggml.merges"] = struct.pack("<IIQ", 9, 8, 1_400_000) + bytes(8 * 1_400_000)
    file.write_bytes(draft.written())
    began_s = time.monotonic()

    with pytest.raises(GgufInvalid, match=r"scores has 267 numbers for 524288 tokens"):
        inspect(file)

    assert time.monotonic() - began_s < 2 * PROMPTLY_S
    assert _most_bytes(file) < MOST_BYTES


def test_texts_that_cross_the_pieces_in_which_a_file_is_read_are_whole(tmp_path: Path) -> None:
    """Tokens of every length up to more than a piece of 256 KiB holds of them."""
    draft = Draft()
    tokens = [*TOKENS, *(str(length).ljust(length, "~") for length in range(4, 1500))]
    draft.entries |= {
        "tokenizer.ggml.tokens": many(STRING, tokens),
        "tokenizer.ggml.merges": many(STRING, ["x" * length for length in (10, 300_000, 600_000, 1)]),
        "tokenizer.ggml.scores": many(F32, [0.0] * len(tokens)),
        "tokenizer.ggml.token_type": many(5, [1] * len(tokens)),
    }
    assert inspected(tmp_path, draft).vocabulary_tokens == len(tokens)

    draft.entries["tokenizer.ggml.tokens"] = many(STRING, [*tokens[:-1], tokens[1000]])
    with pytest.raises(GgufInvalid, match=f"tokens 1000 and {len(tokens) - 1} are the same"):
        inspected(tmp_path, draft)


def _outcome(data: bytes) -> str:
    """What `inspect` says of a file with this content: nothing but its own error may come of it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "m.gguf"
        file.write_bytes(data)
        began_s = time.monotonic()
        try:
            outcome = inspect(file).problem
        except GgufInvalid as error:
            outcome = str(error)
        assert time.monotonic() - began_s < PROMPTLY_S
    return outcome


_HEADER_BYTES = len(Draft().header())


@given(st.integers(0, _HEADER_BYTES), st.binary(min_size=1, max_size=16))
def test_bytes_overwritten_anywhere_have_an_answer(at: int, noise: bytes) -> None:
    _outcome(_STRAIGHT[:at] + noise + _STRAIGHT[at + len(noise) :])


@given(st.integers(0, _HEADER_BYTES), st.binary(max_size=16), st.integers(0, 16))
def test_bytes_put_in_or_left_out_anywhere_have_an_answer(at: int, noise: bytes, gone: int) -> None:
    _outcome(_STRAIGHT[:at] + noise + _STRAIGHT[at + gone :])


@given(st.integers(0, len(_STRAIGHT) - 1))
def test_a_file_cut_off_anywhere_is_refused(at: int) -> None:
    assert _outcome(_STRAIGHT[:at])


@given(st.binary(max_size=400), st.integers(0, 30))
def test_any_bytes_at_all_have_an_answer(noise: bytes, at: int) -> None:
    _outcome(_STRAIGHT[:at] + noise)


def test_a_link_is_not_followed_and_a_fifo_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real.gguf").write_bytes(_STRAIGHT)
    (tmp_path / "link.gguf").symlink_to(tmp_path / "real.gguf")
    os.mkfifo(tmp_path / "fifo.gguf")

    for name, why in (("link", "cannot be read"), ("fifo", "no regular file"), ("nothing", "cannot be read: No such")):
        with pytest.raises(GgufInvalid, match=why):
            inspect(tmp_path / f"{name}.gguf")


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(_STRAIGHT)
    pread = os.pread

    def cut(descriptor: int, count: int, offset: int) -> bytes:
        os.truncate(file, 2000)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", cut)
    with pytest.raises(GgufInvalid, match=r"became shorter|are to follow"):
        inspect(file)


def test_a_descriptor_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(_STRAIGHT)
    with (tmp_path / "m.gguf").open("rb") as file:
        file.seek(7)
        assert inspect(file.fileno()).made_for == "words"
        assert file.tell() == 7


def test_a_header_is_read_once_for_as_long_as_the_file_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    def counted(descriptors: Sequence[int]) -> Gguf:
        nonlocal reads
        reads += 1
        return inspect_pieces(descriptors)

    monkeypatch.setattr("edged.store.headers.inspect_pieces", counted)
    file, store = tmp_path / "m.gguf", Store(tmp_path)
    file.write_bytes(_STRAIGHT)

    assert [store.find("m").made_for for _ in range(3)] == ["words"] * 3
    with store.open("m") as descriptors:
        store.examine("m", descriptors)
    assert reads == 1

    file.write_bytes(of("bert", pooling_type=one(U32, 1)).written())
    assert store.find("m").made_for == "vectors"


def test_a_file_that_is_on_its_way_is_never_called_wrong(tmp_path: Path) -> None:
    """Cut off anywhere, with the length that it will have, it is unfinished or, when the header is there, sound."""
    whole = straight()
    header_bytes = len(Draft().header())
    file = tmp_path / "a.part"
    for cut in range(0, len(whole), 97):
        file.write_bytes(whole[:cut])
        if cut >= header_bytes:
            assert inspect(file, len(whole)).problem == ""
        else:
            with pytest.raises(Unfinished):
                inspect(file, len(whole))


def test_a_file_that_is_on_its_way_is_called_wrong_as_soon_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.part"
    for begin in (b"<!doctype html>", b"GGUF\x09\0\0\0", b"GGUF\x03\0\0\0" + b"\xff" * 16):
        file.write_bytes(begin)
        with pytest.raises(GgufInvalid) as refused:
            inspect(file, 10**9)
        assert not isinstance(refused.value, Unfinished)
