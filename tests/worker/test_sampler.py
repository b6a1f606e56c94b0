"""Who decides how a token is drawn, and that the chain does what was decided."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.sampling import Bias, Dry, Mirostat, Sampling, Xtc
from edged.worker.context import Context
from edged.worker.dry import DryLinks
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
        typical_p=1.0,
        top_n_sigma=-1.0,
        temperature_range=0.0,
        temperature_exponent=1.0,
        repeat_window_tokens=64,
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


# Each against the same noise without it: it must be able to change what is drawn, and only then.
NOISE = Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0)
CHANGES = {
    "typical": Sampling(typical_p=0.05),
    "top_n_sigma": Sampling(top_n_sigma=0.2),
    "dynamic temperature": Sampling(temperature_range=2.0, temperature_exponent=0.5),
    "xtc": Sampling(xtc=Xtc(1.0, 0.001)),
    "mirostat": Sampling(mirostat=Mirostat(1, 0.5, 0.9)),
    "mirostat 2": Sampling(mirostat=Mirostat(2, 0.5, 0.9)),
    "top_k": Sampling(top_k=1),
}


def drawn(context: Context, sampling: Sampling, said: list[int], count: int = 40) -> list[int]:
    """One token after the same prompt, by `count` seeds."""
    prompt = context.model.tokenize("one two", parse_special=False)
    context.decode(rows(prompt))
    tokens = []
    for seed in range(count):
        dry_link = DryLinks(context.model, context.context_tokens).link(sampling.dry) if sampling.dry else None
        sampler = ChainSampler(context, resolve(Sampling(seed=seed), sampling), said, dry_link=dry_link)
        tokens.append(sampler.draw(len(prompt) - 1))
        sampler.close()
    context.release(0)
    return tokens


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_link_of_the_chain_changes_what_is_drawn(change: Sampling, context: Context) -> None:
    assert drawn(context, resolve(change, NOISE), []) != drawn(context, NOISE, [])


def test_a_repetition_is_not_prolonged_unless_something_breaks_it(context: Context) -> None:
    (favourite,) = drawn(context, GREEDY, [], 1)
    before = context.model.tokenize("x", parse_special=False)[-1]
    said, piece = [*[before, favourite] * 8, before], context.model.piece(before).decode().strip()
    dry = Dry(multiplier=50.0, base=1.75, allowed_length=1, window_tokens=-1, breakers=())

    assert drawn(context, GREEDY, said, 1) == [favourite]
    assert drawn(context, resolve(GREEDY, Sampling(dry=dry)), said, 1) != [favourite]
    for harmless in (replace(dry, breakers=(piece,)), replace(dry, window_tokens=0)):
        assert drawn(context, resolve(GREEDY, Sampling(dry=harmless)), said, 1) == [favourite]


def test_penalties_look_as_far_back_as_they_are_told(context: Context) -> None:
    (favourite,) = drawn(context, GREEDY, [], 1)
    other = next(token for token in range(context.model.vocabulary_tokens) if token != favourite)
    said, penalty = [favourite, *[other] * 9], Sampling(temperature=0.0, presence_penalty=2.0, frequency_penalty=2.0)
    penalty = replace(penalty, repeat_penalty=10.0)

    for window_tokens, is_seen in ((0, False), (9, False), (10, True), (-1, True)):
        found = drawn(context, replace(penalty, repeat_window_tokens=window_tokens), said, 1)
        assert (found != [favourite]) == is_seen, window_tokens


def test_an_answer_that_may_not_end_does_not(context: Context) -> None:
    ends = set(context.model.ends)
    always = tuple(Bias(token, 100.0) for token in ends)

    assert ends
    assert set(drawn(context, replace(NOISE, logit_bias=always), [])) <= ends
    assert not set(drawn(context, replace(NOISE, ignores_end=True), [])) & ends
    assert not set(drawn(context, replace(NOISE, logit_bias=always, ignores_end=True), [])) & ends
