"""llama.cpp behind our verbs, on a tiny model with a real vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.chat import Sampling
from edged.wire import Output
from edged.worker.batcher import Batcher, Job, MemoryFull, Row
from edged.worker.llama import DEFAULT_SAMPLING, EngineError, Llama, resolve
from edged.worker.sequence import Sequence, StopFilter

CONTEXT = 256  # llama.cpp makes no smaller pool of cells than this
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def model(nano: Path) -> Llama:
    return Llama(str(nano), context_tokens=CONTEXT, sequences=4, threads=1)


@pytest.fixture
def llama(model: Llama) -> Iterator[Llama]:
    """The one model of this file, with an empty memory before and after."""
    yield model
    for slot in range(4):
        model.release(slot)


def rows(tokens: list[int], *, first: int = 0, slot: int = 0) -> list[Row]:
    """`tokens` in a row; the last asks for an output."""
    return [Row(token, first + n, slot, n == len(tokens) - 1) for n, token in enumerate(tokens)]


def test_what_the_first_says_is_what_holds() -> None:
    wanted = Sampling(temperature=0.0, seed=5)
    recommended = Sampling(temperature=0.6, top_k=20)

    assert resolve(wanted, recommended, DEFAULT_SAMPLING) == Sampling(
        temperature=0.0,
        top_k=20,
        top_p=0.95,
        min_p=0.05,
        repeat_penalty=1.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        seed=5,
    )


def test_nobody_says_anything() -> None:
    assert resolve(Sampling(), Sampling()) == Sampling()


samplings = st.builds(Sampling, temperature=st.none() | st.floats(0, 2), top_k=st.none() | st.integers(0, 9))


@given(st.lists(samplings, max_size=4))
def test_resolving_is_field_by_field(choices: list[Sampling]) -> None:
    for name in ("temperature", "top_k"):
        said = [value for choice in choices if (value := getattr(choice, name)) is not None]
        assert getattr(resolve(*choices), name) == (said[0] if said else None)


def test_it_says_what_it_is(llama: Llama) -> None:
    assert (llama.bos_text, llama.bos) == ("<s>", 1)
    assert llama.context_tokens == CONTEXT
    assert llama.description.startswith("llama")
    assert llama.model_bytes > llama.parameters > 1_000_000
    assert "messages" in llama.template
    assert llama.is_end(llama.controls["<|end|>"].id)
    assert not llama.is_end(llama.tokenize("word", parse_special=False)[0])


def test_the_context_is_cut_to_what_the_model_was_trained_for(nano: Path) -> None:
    assert Llama(str(nano), context_tokens=1_000_000, sequences=1, threads=1).context_tokens == 4096


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_tokens_give_the_text_back(model: Llama, text: str) -> None:
    ids = model.tokenize(text, parse_special=False)

    assert b"".join(map(model.piece, ids)).decode().removeprefix(" ") == text.removeprefix(" ")


def test_control_tokens_are_read_only_when_asked_to(llama: Llama) -> None:
    end = llama.controls["<|end|>"].id

    assert llama.tokenize("<|end|>", parse_special=True) == [end]
    assert end not in llama.tokenize("<|end|>", parse_special=False)
    assert llama.piece(end) == b""


def test_a_batch_that_finds_no_cells_leaves_the_memory_as_it_was(llama: Llama) -> None:
    tokens = llama.tokenize("one two three four", parse_special=False)
    prompt = (tokens * CONTEXT)[: CONTEXT - 2]
    llama.decode(rows(prompt))
    sampler = llama.sampler(GREEDY, [])

    with pytest.raises(MemoryFull):
        llama.decode(rows(tokens[:3], slot=1))

    llama.decode(rows(tokens[:1], first=len(prompt)))
    after = sampler.draw(0)
    llama.release(0)
    llama.decode(rows([*prompt, tokens[0]]))
    assert sampler.draw(len(prompt)) == after
    sampler.close()


def test_released_cells_can_be_used_again(llama: Llama) -> None:
    for slot in (0, 1, 2):
        llama.decode(rows([5] * (CONTEXT - 1), slot=slot))
        llama.release(slot)


def greedy(llama: Llama, prompts: list[str], *, seeds: list[int] | None = None) -> dict[int, str]:
    batcher, texts = Batcher(llama), dict.fromkeys(range(len(prompts)), "")
    for id, prompt in enumerate(prompts):
        tokens = llama.tokenize(prompt, parse_special=False)
        wanted = GREEDY if seeds is None else Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seeds[id])
        batcher.submit(Job(Sequence(id, tokens, len(tokens), 40, StopFilter(())), llama.sampler(wanted, tokens)))
    while not batcher.is_idle:
        outputs: list[Output] = batcher.step(16)[0]
        for output in outputs:
            texts[output.id] += output.text
    return texts


def test_a_context_too_small_for_all_changes_no_words_of_the_real_engine(llama: Llama) -> None:
    prompts = ["Which way to the harbour?", "Good morning", "Is it far from here, and may I walk?", "No"]
    alone = [greedy(llama, [prompt])[0] for prompt in prompts]

    assert len(set(alone)) == len(prompts)
    assert list(greedy(llama, prompts).values()) == alone


def test_a_seed_fixes_the_words_and_another_changes_them(llama: Llama) -> None:
    first, second = (greedy(llama, ["Well"], seeds=[seed])[0] for seed in (1, 2))

    assert greedy(llama, ["Well"], seeds=[1])[0] == first != second


@pytest.mark.parametrize(
    "penalty",
    [Sampling(repeat_penalty=5.0), Sampling(frequency_penalty=2.0), Sampling(presence_penalty=2.0)],
    ids=["repeat", "frequency", "presence"],
)
def test_penalties_count_what_was_said(penalty: Sampling, llama: Llama) -> None:
    prompt = llama.tokenize("one", parse_special=False)
    llama.decode(rows(prompt))
    plain = llama.sampler(GREEDY, [])
    favourite = plain.draw(len(prompt) - 1)
    wanted = resolve(Sampling(temperature=0.0), penalty)
    told = llama.sampler(wanted, [favourite] * 64)

    drawn = told.draw(len(prompt) - 1)

    assert drawn != favourite or not wanted.repeat_penalty
    plain.close()
    told.close()


def test_a_file_that_is_no_model_is_an_engine_error_with_llama_cpps_words(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no model")

    with pytest.raises(EngineError, match=r"\w+ \w+"):
        Llama(str(tmp_path / "bad.gguf"), context_tokens=64, sequences=1, threads=1)


def test_a_vocabulary_alone_has_no_template(engine_models: Path) -> None:
    file = engine_models / "ggml-vocab-phi-3.gguf"
    llama = Llama(str(file), context_tokens=64, sequences=1, threads=1, vocab_only=True)

    assert llama.model_sampling == Sampling()
    assert "<|end|>" in llama.controls
