"""A file behind our verbs: what it says of itself, and its vocabulary both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.sampling import Sampling
from edged.worker.bindings import EngineError, lib
from edged.worker.context import Context
from edged.worker.model import Model


@pytest.fixture(scope="module")
def model(nano_context: Context) -> Model:
    return nano_context.model


def test_it_says_what_it_is(model: Model) -> None:
    assert (model.bos_text, model.bos) == ("<s>", 1)
    assert model.trained_tokens == 4096
    assert model.description.startswith("llama")
    assert model.model_bytes > model.parameters > 1_000_000
    assert "messages" in model.template
    assert model.is_end(model.controls["<|end|>"].id)
    assert not model.is_end(model.tokenize("word", parse_special=False)[0])


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_tokens_give_the_text_back(model: Model, text: str) -> None:
    ids = model.tokenize(text, parse_special=False)

    # This vocabulary puts a space in front of a text, like all of SentencePiece's.
    assert b"".join(map(model.piece, ids)).decode() in (text, " " + text)


def test_control_tokens_are_read_only_when_asked_to(model: Model) -> None:
    end = model.controls["<|end|>"].id

    assert model.tokenize("<|end|>", parse_special=True) == [end]
    assert end not in model.tokenize("<|end|>", parse_special=False)
    assert model.piece(end) == b""


def test_a_file_that_is_no_model_is_an_engine_error_with_llama_cpps_words(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no model")

    with pytest.raises(EngineError, match=r"\w+ \w+"):
        Model(str(tmp_path / "bad.gguf"))


def test_its_words_are_heard_also_where_another_listened_meanwhile(tmp_path: Path) -> None:
    """As the package does that llama.cpp comes in, once somebody imports it."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
    silent = lib.llama_log_callback(lambda level, text, user_data: None)
    lib.llama_log_set(silent, None)

    with pytest.raises(EngineError) as told:
        Model(str(tmp_path / "broken.gguf"))
    assert "did not say why" not in str(told.value)


def test_a_vocabulary_alone_knows_its_control_tokens(engine_models: Path) -> None:
    model = Model(str(engine_models / "ggml-vocab-phi-3.gguf"), vocab_only=True)

    assert model.sampling == Sampling()
    assert "<|end|>" in model.controls
