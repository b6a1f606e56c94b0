"""The smaller model guesses what it would say itself, whatever it was asked before, and changes nothing but the pace.

It is a real pair: the smaller one is the last block of the larger one, which weighs most in what is said.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import synthetic
from edged.sampling import Sampling
from edged.worker.batcher import Batcher
from edged.worker.context import Context
from edged.worker.draft import guesses_for
from edged.worker.drafter import Drafter, unfit, unguessable
from edged.worker.drafts import Drafts
from edged.worker.job import Job
from edged.worker.model import Model
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter

TOKENS = [200 + 37 * n % 5000 for n in range(120)]
CONTEXT_TOKENS = 512


@pytest.fixture(scope="module")
def deep(engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(str(synthetic.build("tiny-deep", "Q8_0", tmp_path_factory.mktemp("models"))))


@pytest.fixture(scope="module")
def small(engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(str(synthetic.build("tiny-deep-draft", "Q8_0", tmp_path_factory.mktemp("models"))))


def context_of(model: Model, sequences: int = 1) -> Context:
    return Context(model, context_tokens=CONTEXT_TOKENS, sequences=sequences, threads=1, kv_type="q8_0")


@pytest.fixture(scope="module")
def context(deep: Model) -> Context:
    return context_of(deep, sequences=2)


@pytest.fixture(scope="module")
def small_context(small: Model) -> Context:
    return context_of(small)


@pytest.fixture(scope="module")
def another_context(small: Model) -> Context:
    return context_of(small)


@pytest.fixture
def drafter(small_context: Context, deep: Model) -> Drafter:
    small_context.release(0)
    return Drafter(small_context, deep.vocabulary_tokens)


def always(likelihood: float) -> bool:
    assert 0 < likelihood <= 1
    return True


def test_two_of_one_family_fit(deep: Model, small: Model) -> None:
    assert unfit(deep, small) == ""


def test_who_cannot_guess_for_whom_is_told_why(
    deep: Model, engine_models: Path, vocabulary_of: Callable[[str], Model], tmp_path: Path
) -> None:
    window = Model(str(synthetic.build("tiny-window", "Q8_0", tmp_path)))
    vectors = Model(str(synthetic.build("tiny-bert", "Q8_0", tmp_path)))

    assert "for vectors" in unfit(deep, vectors)
    assert "cannot be cut" in unfit(deep, window)
    assert "cannot be cut back" in unguessable(window)
    assert unguessable(deep) == ""
    assert "50257 tokens and not 32064" in unfit(deep, vocabulary_of("gpt-2"))
    assert "its vocabulary is another one: token" in unfit(vocabulary_of("starcoder"), vocabulary_of("refact"))
    assert unfit(deep, vocabulary_of("llama-spm")) == "", "the same but for control tokens at its end"


texts = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(texts, st.integers(0, 40), st.sampled_from(["ann", "ben"]), st.integers(1, 6), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_what_it_was_asked_before_does_not_change_its_guesses(
    small_context: Context, another_context: Context, deep: Model, asked: list[tuple[list[int], int, str, int, bool]]
) -> None:
    small_context.release(0)
    used, text = Drafter(small_context, deep.vocabulary_tokens), list[int]()
    for news, kept, partition, most, reads_first in asked:
        text = text[:kept] + news
        if reads_first:
            used.read(text, partition, 3)
        another_context.release(0)
        fresh = Drafter(another_context, deep.vocabulary_tokens)
        assert used.guess(text, partition, most, always) == fresh.guess(text, partition, most, always)


def test_it_reads_only_what_is_new_and_nothing_is_taken_over_from_somebody_else(drafter: Drafter) -> None:
    assert drafter.unread(TOKENS, "ann") == 120
    drafter.read(TOKENS, "ann", 100)
    assert drafter.unread(TOKENS, "ann") == 20
    drafter.guess(TOKENS, "ann", 4, always)

    assert drafter.unread(TOKENS, "ann") == 1, "the last is read in any case"
    assert drafter.unread([*TOKENS[:50], 7, 8], "ann") == 2
    assert drafter.unread(TOKENS, "ben") == 120
    assert drafter.spent_s > 0


def test_it_stops_where_it_is_told_to(drafter: Drafter) -> None:
    assert drafter.guess(TOKENS, "", 5, lambda likelihood: False) == []
    assert len(drafter.guess(TOKENS, "", 5, always)) == 5


def test_tokens_that_only_the_larger_one_knows_do_not_break_it(small_context: Context) -> None:
    small_context.release(0)
    drafter = Drafter(small_context, 10_000)

    assert drafter.guess([5, 20_000, 7], "", 1, always) is not None
    assert drafter.room([1, 2, 3]) == CONTEXT_TOKENS - 3


def test_one_that_fails_is_not_asked_again(drafter: Drafter) -> None:
    drafter.read(TOKENS, "", 100)
    drafter.read([200] * 2 * CONTEXT_TOKENS, "", 2 * CONTEXT_TOKENS)  # which `room` forbids: there are no cells

    assert drafter.room(TOKENS) == 0
    assert drafter.unread(TOKENS, "") == 120, "its memory is empty"
    assert "MemoryFull" in drafter.failure


def test_one_whose_weights_are_damaged_is_not_asked_again(drafter: Drafter, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.full(drafter._context.model.vocabulary_tokens, np.nan, np.float32)
    monkeypatch.setattr(Context, "logits", lambda self, row: nothing)

    assert drafter.guess(TOKENS, "", 3, always) == []
    assert "damaged" in drafter.failure


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("looks_up", [False, True])
def test_an_answer_is_the_same_in_fewer_steps(
    context: Context, drafter: Drafter, temperature: float, looks_up: bool
) -> None:
    plain, steps = answered(context, None, temperature, looks_up)
    guessed, fewer = answered(context, drafter, temperature, looks_up)

    assert guessed == plain
    assert len(plain) == 150
    assert fewer < 0.9 * steps


def answered(context: Context, drafter: Drafter | None, temperature: float, looks_up: bool) -> tuple[list[int], int]:
    """The tokens of one answer, and in how many steps. Time is counted as if rows cost next to nothing."""
    for slot in range(context.slots):
        context.release(slot)
    drafts = Drafts(drafter)
    batcher = Batcher(context, context.model, drafts=drafts if drafter else None)
    sampler = ChainSampler(context, Sampling(temperature=temperature, seed=3, top_k=3), TOKENS)
    sequence = Sequence(1, list(TOKENS), len(TOKENS), 150, StopFilter(()))
    batcher.submit(Job(sequence, sampler, guesses_for(sequence.tokens, looks_up=looks_up)))
    steps = 0
    while not batcher.is_idle:
        decoding = batcher.decoding
        batcher.step(64)
        steps += 1
        if decoding:
            drafts.observe(decoding, 1000.0, batcher.draft)  # beside such a step every guess is for nothing
    return sequence.tokens[len(TOKENS) :], steps
