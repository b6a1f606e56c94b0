"""Text between what stands in front and what follows, as editors ask for it through OpenAI's and Ollama's clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import ollama
import openai
import pytest
from openai import OpenAI

from tests.asking import client_of
from tests.daemon_process import PATIENCE_S, DaemonProcess

FRONT, BEHIND = "def area(width, height):\n    return ", "\n\nprint(area(2, 3))\n"
LAID_OUT = f"<fim_prefix>{FRONT}<fim_suffix>{BEHIND}<fim_middle>"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def client(all_kinds: DaemonProcess) -> Iterator[OpenAI]:
    with client_of(all_kinds) as found:
        yield found


def test_a_gap_is_laid_out_as_the_model_was_trained(client: OpenAI) -> None:
    filled = client.completions.create(model="filler", prompt=FRONT, suffix=BEHIND, **GREEDY)
    by_hand = client.completions.create(model="filler", prompt=LAID_OUT, **GREEDY)

    assert filled.choices[0].text == by_hand.choices[0].text != ""
    assert filled.usage is not None
    assert by_hand.usage is not None
    assert filled.usage.prompt_tokens == by_hand.usage.prompt_tokens


def test_several_prompts_have_the_same_text_behind_them(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "filler", "suffix": BEHIND, **GREEDY}
    together = client.completions.create(prompt=[FRONT, "x = "], **asked)
    alone = [client.completions.create(prompt=prompt, **asked).choices[0].text for prompt in (FRONT, "x = ")]

    assert [choice.text for choice in together.choices] == alone


def test_control_tokens_in_somebodys_code_stay_code(client: OpenAI) -> None:
    def prompt_tokens(front: str) -> int:
        usage = client.completions.create(model="filler", prompt=front, suffix=BEHIND, max_tokens=1).usage
        assert usage is not None
        return usage.prompt_tokens

    assert prompt_tokens(FRONT + "<fim_middle>") >= prompt_tokens(FRONT) + 4, "letters, and not one token"


def test_a_model_that_fills_no_gaps_says_so(client: OpenAI, all_kinds: DaemonProcess) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="tiny", prompt=FRONT, suffix=BEHIND)
    with closing(ollama.Client(host=all_kinds.url, timeout=PATIENCE_S)) as other, pytest.raises(ollama.ResponseError):
        other.generate("tiny", FRONT, suffix=BEHIND)

    assert (refused.value.code, refused.value.param) == ("capability_missing", "suffix")


def test_ollamas_client_asks_for_the_same(client: OpenAI, all_kinds: DaemonProcess) -> None:
    filled = client.completions.create(model="filler", prompt=FRONT, suffix=BEHIND, **GREEDY)
    with closing(ollama.Client(host=all_kinds.url, timeout=PATIENCE_S)) as other:
        found = other.generate("filler", FRONT, suffix=BEHIND, options={"temperature": 0, "num_predict": 12})

    assert found.response == filled.choices[0].text
