"""A file's header tells what it was made for; whatever it says, reading it ends soon and takes little."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import header
from edged.header import made_for
from edged.store import Store

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
_FORMS = {U8: "<B", U32: "<I", F32: "<f", BOOL: "<?", U64: "<Q"}


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: object) -> bytes:
    body = text(value) if isinstance(value, str) else struct.pack(_FORMS[kind], value)
    return text(key) + struct.pack("<I", kind) + body


def array(key: str, kind: int, count: int, data: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + data


def gguf(*entries: bytes, count: int | None = None, version: int = 3) -> bytes:
    count = len(entries) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", version, 0, count) + b"".join(entries)


def architecture(name: str) -> bytes:
    return entry("general.architecture", STRING, name)


TOKENS = array("tokenizer.ggml.tokens", STRING, 3, text("a") + text("") + text("ccc"))


@pytest.mark.parametrize(
    ("entries", "purpose"),
    [
        ([architecture("llama")], "words"),
        ([architecture("llama"), TOKENS], "words"),
        ([architecture("llama"), entry("llama.pooling_type", U32, 0)], "words"),
        ([architecture("bert"), entry("bert.pooling_type", U32, 2)], "vectors"),
        ([architecture("qwen3"), entry("qwen3.pooling_type", U32, 3)], "vectors"),
        ([architecture("bert"), entry("bert.attention.causal", BOOL, False)], "vectors"),
        (
            [architecture("bert"), entry("bert.attention.causal", BOOL, False), entry("bert.pooling_type", U32, 4)],
            "scores",
        ),
        # Another architecture's words about itself mean nothing.
        ([architecture("llama"), entry("bert.pooling_type", U32, 2)], "words"),
        # Behind the vocabulary too: a tool that adds an entry adds it at the end.
        ([architecture("qwen3"), TOKENS, array("x", F32, 2, b"\0" * 8), entry("qwen3.pooling_type", U32, 4)], "scores"),
        ([architecture("clip")], "part"),
        ([entry("general.type", STRING, "adapter"), architecture("llama")], "part"),
        ([architecture("llama"), entry("split.count", U32, 3)], "part"),
        ([architecture("llama"), entry("split.count", U32, 1), entry("general.type", STRING, "model")], "words"),
        ([architecture("llama"), entry("tokenizer.chat_template", STRING, "x" * 500_000)], "words"),
        ([architecture("llama"), entry("general.name", STRING, "名")], "words"),
    ],
)
def test_what_it_was_made_for(tmp_path: Path, entries: list[bytes], purpose: str) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(*entries) + b"\0" * 64)

    assert made_for(tmp_path / "m.gguf") == purpose


def test_the_built_in_model_and_a_synthetic_one_are_for_words(tiny: Path) -> None:
    assert made_for(Path(header.__file__).with_name("guide.gguf")) == "words"
    assert made_for(tiny) == "words"


@pytest.mark.parametrize(("shape", "purpose"), [("tiny-bert", "vectors"), ("tiny-judge", "scores")])
def test_models_for_search_say_so(shape: str, purpose: str, tmp_path: Path) -> None:
    from benchmarks import synthetic  # loads numpy, which the other tests can do without

    assert made_for(synthetic.build(shape, "F16", tmp_path)) == purpose


def test_what_a_file_says_of_itself_is_kept_but_for_lists_long_texts_and_long_names(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    said = [architecture("llama"), entry("general.file_type", U32, 15), entry("general.size_label", STRING, "1.7B")]
    file.write_bytes(gguf(*said, TOKENS, entry("general.description", STRING, "x" * 500), entry("k" * 129, U8, 1)))

    found = header.read(file)
    assert found is not None
    assert (found.made_for, found.architecture, found.template) == ("words", "llama", "")
    assert found.entries == {
        "general.architecture": "llama", "general.file_type": 15, "general.size_label": "1.7B"
    }  # fmt: skip


@pytest.mark.parametrize(("characters", "kept"), [(500, 500), (64 * 1024, 64 * 1024), (64 * 1024 + 1, 0)])
def test_a_chat_template_is_kept_unless_it_is_longer_than_any(tmp_path: Path, characters: int, kept: int) -> None:
    file = tmp_path / "m.gguf"
    template = entry("tokenizer.chat_template", STRING, "x" * characters)
    file.write_bytes(gguf(architecture("llama"), TOKENS, template, entry("general.file_type", U32, 15)))

    found = header.read(file)
    assert found is not None
    assert found.template == "x" * kept
    assert found.entries == {"general.architecture": "llama", "general.file_type": 15}


HOSTILE = {
    "nothing": b"",
    "no magic": b"GGML" + b"\0" * 100,
    "version 1": gguf(architecture("llama"), version=1),
    "version 2^32-1": gguf(architecture("llama"), version=2**32 - 1),
    "bytes the other way round": b"GGUF" + struct.pack(">IQQ", 3, 0, 1),
    "only a beginning": gguf(architecture("llama"))[:-3],
    "2^63 entries": gguf(architecture("llama"), count=2**63),
    "5,000 entries": gguf(*[entry(f"k{n}", U8, 1) for n in range(5000)]),
    "no entries": gguf(),
    "a key of 2^62 bytes": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62),
    "a key twice": gguf(architecture("llama"), architecture("bert")),
    "a key that is no text": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"\xff\xfe") + struct.pack("<IB", 0, 1),
    "a text of 2^63 bytes": gguf(text("general.architecture") + struct.pack("<IQ", STRING, 2**63)),
    "an unknown kind": gguf(text("k") + struct.pack("<I", 99) + b"\0" * 64),
    "2^61 numbers": gguf(array("k", U64, 2**61, b"")),
    "numbers that wrap": gguf(array("k", U64, 2**61 + 1, b"\0" * 8), architecture("llama")),
    "10^7 empty texts": gguf(array("k", STRING, 10**7, b"")),
    "2^64-1 texts": gguf(array("k", STRING, 2**64 - 1, b"\0" * 4096)),
    "arrays of arrays": gguf(array("k", ARRAY, 1, struct.pack("<IQ", ARRAY, 1) * 1000)),
    "an architecture that is a number": gguf(entry("general.architecture", U32, 5)),
    "an architecture without end": gguf(architecture("x" * 10_000)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_odd_header_is_unreadable_and_nothing_worse(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(data)
    os.truncate(file, max(len(data), 2**20) if len(data) > 100 else len(data))
    tracemalloc.start()

    assert made_for(file) is None

    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 4 * 2**20


def test_no_more_is_read_than_a_header_may_have(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(architecture("llama"), array("k", U8, 2**33, b"")))
    os.truncate(file, 2**34)  # as long as it says, and empty

    assert made_for(file) is None


@given(st.binary(max_size=400), st.integers(0, 30))
def test_any_bytes_at_all_have_an_answer(noise: bytes, at: int) -> None:
    whole = gguf(architecture("llama"), TOKENS, entry("llama.pooling_type", U32, 1))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "m.gguf"
        file.write_bytes(whole[:at] + noise + whole[at + len(noise) :])

        assert made_for(file) in ("words", "vectors", "scores", "part", None)


def test_a_link_is_not_followed_and_a_fifo_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real.gguf").write_bytes(gguf(architecture("llama")))
    (tmp_path / "link.gguf").symlink_to(tmp_path / "real.gguf")
    os.mkfifo(tmp_path / "fifo.gguf")

    assert made_for(tmp_path / "link.gguf") is None
    assert made_for(tmp_path / "fifo.gguf") is None
    assert made_for(tmp_path / "nothing.gguf") is None


def test_a_header_is_read_once_for_as_long_as_the_file_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counted(path: Path) -> header.Header | None:
        reads.append(path)
        return header.read(path)

    monkeypatch.setattr("edged.store.read", counted)
    file, store = tmp_path / "m.gguf", Store(tmp_path)
    file.write_bytes(gguf(architecture("llama")))

    assert [store.find("m").made_for for _ in range(3)] == ["words"] * 3
    assert reads.count(file) == 1

    file.write_bytes(gguf(architecture("bert"), entry("bert.pooling_type", U32, 1)))
    assert store.find("m").made_for == "vectors"
