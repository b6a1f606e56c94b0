"""Who decides how a token is drawn, and that the chain does what was decided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Sampling
from edged.worker.context import Context
from edged.worker.engine import Row
from edged.worker.sampler import DEFAULT_SAMPLING, ChainSampler, likeliest, resolve

GREEDY = Sampling(temperature=0.0)


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


@pytest.mark.parametrize(
    "penalty",
    [Sampling(repeat_penalty=5.0), Sampling(frequency_penalty=2.0), Sampling(presence_penalty=2.0)],
    ids=["repeat", "frequency", "presence"],
)
def test_penalties_count_what_was_said(penalty: Sampling, context: Context) -> None:
    prompt = context.model.tokenize("one", parse_special=False)
    context.decode(rows(prompt))
    plain = ChainSampler(context, GREEDY, [])
    favourite = plain.draw(len(prompt) - 1)
    wanted = resolve(Sampling(temperature=0.0), penalty)
    told = ChainSampler(context, wanted, [favourite] * 64)

    drawn = told.draw(len(prompt) - 1)

    assert drawn != favourite or not wanted.repeat_penalty
    plain.close()
    told.close()


def test_a_kept_output_is_drawn_from_as_the_fresh_one_would_have_been(context: Context) -> None:
    prompt = context.model.tokenize("one two", parse_special=False)
    noise = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.3, seed=9)
    fresh, kept = (ChainSampler(context, noise, prompt, logprobs=2) for _ in range(2))
    drawn = []
    for _ in range(2):  # the second draw shows that both chains took note of the first
        context.decode(rows(prompt))
        kept.keep(len(prompt) - 1)
        drawn += [(fresh.draw(len(prompt) - 1), fresh.score)]
        context.release(0)
        context.decode(rows(prompt[:1]))
        assert (kept.draw(None), kept.score) == drawn[-1]
        context.release(0)
    fresh.close()
    kept.close()


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=40), st.data())
def test_log_probabilities_are_the_softmax_of_the_logits_likeliest_first(
    logits: list[float], data: st.DataObject
) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    count = data.draw(st.integers(0, 20))
    total = math.log(math.fsum(math.exp(logit - max(logits)) for logit in logits)) + max(logits)

    tokens, logprobs = likeliest(np.array(logits, np.float32), token, count)

    assert tokens[0] == token
    assert len(tokens) == len(logprobs) == 1 + min(count, len(logits))
    assert sorted(logits, reverse=True)[: len(tokens) - 1] == [logits[id] for id in tokens[1:]]
    for id, logprob in zip(tokens, logprobs, strict=True):
        assert logprob == pytest.approx(logits[id] - total, abs=1e-4)


def test_what_is_impossible_has_a_number_all_the_same() -> None:
    assert likeliest(np.array([0.0, -np.inf], np.float32), 1, 0) == ([1], [-9999.0])
