"""A seed fixes every choice of an answer: asked for again it says the same, whoever else is being answered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.asking import chat, chunks, client_of, first_words
from tests.daemon_process import DaemonProcess, running

CHOICES = 4
WARM = {"temperature": 1.3, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the built-in model, which says something, and a synthetic one, which says anything."""
    settings = '[models]\ndefault = "guide"\n[engine]\nresident_models = 2\nkv_type = "q8_0"\n'
    with running({"tiny": tiny}, settings) as found:
        yield found


@pytest.fixture(scope="module")
def client(daemon: DaemonProcess) -> Iterator[OpenAI]:
    with client_of(daemon) as found:
        yield found


def said(client: OpenAI, model: str, *, seed: int | None = 7, n: int = CHOICES, **options: Any) -> list[str]:
    """Every choice of one answer, in order."""
    own = {"temperature": options.pop("temperature", WARM["temperature"]), "top_p": 1.0}
    extra = {"top_k": 0, "min_p": 0.0} if own["temperature"] else {}
    answer = chat(
        client, "How do I add a model?", model=model, seed=seed, n=n, max_tokens=24, extra_body=extra, **own, **options
    )
    assert [choice.index for choice in answer.choices] == list(range(n))
    return [choice.message.content or "" for choice in answer.choices]


@contextmanager
def company(client: OpenAI, model: str) -> Iterator[None]:
    """Three others are answered meanwhile."""
    with ExitStack() as leaving:
        for number in range(3):
            stream = chunks(
                client, f"Tell me about {number}." * (number + 1), model=model, max_tokens=4000, temperature=0
            )
            leaving.enter_context(stream)
            if model == "tiny":
                first_words(stream)
        yield


@pytest.mark.parametrize("model", ["guide", "tiny"])
def test_equal_requests_have_equal_choices_and_each_choice_is_another(client: OpenAI, model: str) -> None:
    once, again = said(client, model), said(client, model)

    assert once == again
    assert len(set(once)) == CHOICES


@pytest.mark.parametrize("model", ["guide", "tiny"])
def test_neighbours_change_nothing(client: OpenAI, model: str) -> None:
    alone = said(client, model)
    with company(client, model):
        beside = [said(client, model) for _ in range(3)]

    assert beside == [alone] * 3


def test_two_that_ask_at_the_same_time_hear_the_same(client: OpenAI) -> None:
    alone = said(client, "tiny", n=2)
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(said, client, "tiny", n=2) for _ in range(3)]

        assert [one.result() for one in both] == [alone] * 3


@pytest.mark.parametrize("seed", [0, -1, 2**32 - 2, 2**32 - 1, 2**63 - 1])
def test_every_seed_is_one(client: OpenAI, seed: int) -> None:
    once, again = (said(client, "tiny", seed=seed) for _ in range(2))

    assert once == again
    assert len(set(once)) == CHOICES


def test_another_seed_says_something_else_and_none_says_anything(client: OpenAI) -> None:
    fixed = said(client, "tiny", n=1)

    assert said(client, "tiny", seed=1_000_000, n=1) != fixed
    assert len({said(client, "tiny", seed=None, n=1)[0] for _ in range(3)}) == 3


def test_streamed_or_not_it_is_the_same_answer(client: OpenAI) -> None:
    whole = said(client, "tiny")
    stream = chunks(
        client,
        "How do I add a model?",
        model="tiny",
        seed=7,
        n=CHOICES,
        max_tokens=24,
        temperature=1.3,
        top_p=1.0,
        extra_body={"top_k": 0, "min_p": 0.0},
    )
    parts = [""] * CHOICES
    for chunk in stream:
        for choice in chunk.choices:
            parts[choice.index] += choice.delta.content or ""

    assert parts == whole


def test_without_heat_the_seed_means_nothing(client: OpenAI) -> None:
    assert len({*said(client, "tiny", temperature=0), *said(client, "tiny", seed=8, temperature=0)}) == 1
