"""A conversation that outgrows its context, for as long as a person cares to go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.asking import client_of
from tests.daemon_process import DaemonProcess, running

CONTEXT_TOKENS = 2048
TURNS = 200
SYSTEM: ChatCompletionMessageParam = {
    "role": "system",
    "content": "You are the harbour's information desk. Be kind and brief.",
}
DROP = {"X-Edged-Overflow": "drop"}


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon whose model has a small context."""
    environment = {"EDGED_ENGINE__CONTEXT_TOKENS": str(CONTEXT_TOKENS)}
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n', environment) as found:
        yield found


@pytest.fixture(scope="module")
def client(daemon: DaemonProcess) -> Iterator[OpenAI]:
    """The official client of it."""
    with client_of(daemon) as found:
        yield found


def question(turn: int) -> ChatCompletionMessageParam:
    return {
        "role": "user",
        "content": f"Question {turn}: when does the ferry number {turn} leave, and from which quay?",
    }


def answered(turn: int) -> ChatCompletionMessageParam:
    return {"role": "assistant", "content": f"Ferry {turn} leaves at half past {turn % 12} from quay {turn % 7}."}


@pytest.mark.timeout(300)  # two hundred answers; a loaded machine takes its time
def test_two_hundred_turns_in_a_context_of_two_thousand_tokens(client: OpenAI) -> None:
    """The client sends everything every time, as chat programs do. The system message and the last question stay."""
    history, dropped, prompts = [SYSTEM], [0], []
    for turn in range(TURNS):
        history.append(question(turn))
        raw = client.chat.completions.with_raw_response.create(
            model="tiny", messages=history, max_tokens=2, temperature=0, extra_headers=DROP
        )
        answer = raw.parse()
        dropped.append(int(raw.headers.get("X-Edged-Dropped-Messages", 0)))
        assert answer.model_extra is not None
        assert answer.model_extra["edged"]["dropped_messages"] == dropped[-1]
        assert answer.usage is not None
        prompts.append(answer.usage.prompt_tokens)
        history.append(answered(turn))

    assert max(prompts) <= CONTEXT_TOKENS * 7 / 8
    assert dropped == sorted(dropped), "what was left out once came back"
    assert all(number % 2 == 0 for number in dropped), "half a turn was left out"
    cuts = [prompts[turn] for turn in range(1, TURNS) if dropped[turn + 1] > dropped[turn]]
    assert 3 <= len(cuts) <= TURNS // 5, "it is cut seldom, and then by much"
    assert max(cuts) <= CONTEXT_TOKENS * 0.62


def test_what_remains_begins_the_same_until_the_next_cut(client: OpenAI, daemon: DaemonProcess) -> None:
    history: list[ChatCompletionMessageParam] = [SYSTEM]
    for turn in range(100):
        history += [question(turn), answered(turn)]
    left_out = set()
    for turn in range(100, 103):
        history.append(question(turn))
        raw = client.chat.completions.with_raw_response.create(
            model="tiny", messages=history, max_tokens=1, extra_body={"truncation": "auto"}
        )
        left_out.add(raw.headers["X-Edged-Dropped-Messages"])
        history.append(answered(turn))

    assert len(left_out) <= 2
    assert daemon.requests()[0]["dropped_messages"] == int(max(left_out, key=int))


def test_unless_asked_a_conversation_is_refused_with_both_numbers(client: OpenAI) -> None:
    history: list[ChatCompletionMessageParam] = [SYSTEM]
    for turn in range(100):
        history += [question(turn), answered(turn)]

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=[*history, question(100)])

    assert isinstance(refused.value.body, dict)
    assert refused.value.body["code"] == "context_length_exceeded"
    assert refused.value.body["n_prompt_tokens"] > refused.value.body["n_ctx"] == CONTEXT_TOKENS


def test_a_last_turn_that_is_too_long_by_itself_is_refused_all_the_same(client: OpenAI) -> None:
    endless: ChatCompletionMessageParam = {"role": "user", "content": "Again and again. " * 2000}

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="tiny", messages=[SYSTEM, question(1), answered(1), endless], extra_headers=DROP
        )

    assert isinstance(refused.value.body, dict)
    assert refused.value.body["code"] == "context_length_exceeded"


def test_how_far_a_long_prompt_is_read_is_told_to_whom_asks(client: OpenAI) -> None:
    words = " ".join(f"word{number}" for number in range(250))
    asked = {"model": "tiny", "messages": [SYSTEM, {"role": "user", "content": words}], "max_tokens": 4}
    chunks = client.chat.completions.create(**asked, stream=True, extra_body={"return_progress": True})  # type: ignore[call-overload]
    told: list[dict[str, int]] = []
    timings: dict[str, int] = {}
    for chunk in chunks:
        extra = chunk.model_extra
        told += [extra["prompt_progress"]] if "prompt_progress" in extra else []
        timings = extra.get("timings", timings)

    assert [step["processed"] for step in told] == sorted({step["processed"] for step in told})
    assert told[-1]["processed"] == told[-1]["total"] == timings["prompt_n"] + timings["cache_n"]
    assert {step["cache"] for step in told} == {timings["cache_n"]}
