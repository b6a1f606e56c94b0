"""Who decides how a token is drawn, and that the chain does what was decided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Sampling
from edged.worker.context import Context
from edged.worker.engine import Row
from edged.worker.sampler import DEFAULT_SAMPLING, ChainSampler, resolve

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
