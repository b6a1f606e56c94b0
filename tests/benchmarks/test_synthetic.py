"""Models with random weights: they load, decode, carry the real vocabulary, and are built once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import engine, synthetic, vocabulary
from benchmarks.shapes import SHAPES
from edged.sampling import Sampling
from edged.worker.context import Context
from edged.worker.engine import Row
from edged.worker.model import Model
from edged.worker.sampler import ChainSampler

SMALL_SHAPES = ["nano", "tiny", "tiny-window", "tiny-hybrid"]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    engine.source()  # asked before the cache moves, or it would be unpacked once more
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def continuation(model: Path, prompt: str, tokens: int) -> list[int]:
    """What the model says next, greedily, up to an end token."""
    context = Context(Model(str(model)), context_tokens=256, sequences=1, threads=1)
    pending, position, said = context.model.tokenize(prompt, parse_special=False), 0, list[int]()
    sampler = ChainSampler(context, Sampling(temperature=0.0), pending)
    while len(said) < tokens:
        context.decode([Row(token, position + i, 0, i == len(pending) - 1) for i, token in enumerate(pending)])
        position += len(pending)
        pending = [sampler.draw(len(pending) - 1)]
        if context.model.is_end(pending[0]):
            break
        said += pending
    sampler.close()
    return said


@pytest.mark.parametrize("shape", SMALL_SHAPES)
def test_every_architecture_says_as_many_and_as_different_words_as_asked(shape: str, tmp_path: Path) -> None:
    model = synthetic.build(shape, "Q8_0", tmp_path)

    said = continuation(model, "Which way to the harbour?", 40)

    assert len(said) == 40, "an end token came early"
    assert len(set(said)) > 10, f"the text is nearly constant: {said}"
    assert said != continuation(model, "Is it far from here?", 40)


@pytest.mark.parametrize("quant", engine.QUANTS)
def test_every_quantisation_decodes(quant: str, tmp_path: Path) -> None:
    assert len(continuation(synthetic.build("nano", quant, tmp_path), "Good morning", 8)) == 8


def test_vocabulary_ids_equal_the_source_vocabularys(tmp_path: Path) -> None:
    fields = vocabulary.read(synthetic.build("tiny", "Q8_0", tmp_path))
    source = vocabulary.read(engine.source() / "vendor/llama.cpp/models/ggml-vocab-phi-3.gguf")

    for key in ("tokens", "scores", "bos_token_id"):
        assert fields[f"tokenizer.ggml.{key}"] == source[f"tokenizer.ggml.{key}"]
    end = vocabulary.texts(source["tokenizer.ggml.tokens"]).index(SHAPES["tiny"].end_token)
    assert fields["tokenizer.ggml.eos_token_id"].value == end


def test_a_second_build_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthetic.build("tiny", "Q8_0", tmp_path / "first").read_bytes()
    monkeypatch.setattr(synthetic, "write", lambda *_: pytest.fail("built again"))

    second = synthetic.build("tiny", "Q8_0", tmp_path / "second")

    assert second.read_bytes() == first


def test_a_spoilt_copy_does_not_reach_the_cache(tmp_path: Path) -> None:
    copy = synthetic.build("tiny", "Q8_0", tmp_path / "first")
    copy.write_bytes(b"")

    assert synthetic.build("tiny", "Q8_0", tmp_path / "second").stat().st_size > 2_000_000


@pytest.mark.parametrize(("shape", "quant", "named"), [("tinny", "Q4_0", "tinny"), ("tiny", "Q4", "'Q4'")])
def test_an_unknown_name_is_refused_with_the_known_ones(shape: str, quant: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"unknown .*{named}.*known are"):
        synthetic.build(shape, quant, tmp_path)
