"""OpenAI's Responses API with the official client, against the daemon as a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem

from tests.asking import client_of
from tests.daemon_process import DaemonProcess, running
from tests.end_to_end.weather import FUNCTION, QUESTION, checked

CALLING: dict[str, Any] = {
    "model": "caller",
    "tools": [{"type": "function", "strict": True} | FUNCTION],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "max_output_tokens": 200,
}


@pytest.fixture(scope="module")
def client(all_kinds: DaemonProcess) -> Iterator[OpenAI]:
    with client_of(all_kinds) as found:
        yield found


@pytest.fixture(scope="module")
def noise(tiny: Path) -> Iterator[OpenAI]:
    """A client of a daemon whose default is the synthetic model."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon, client_of(daemon) as client:
        yield client


def test_an_answer_is_the_same_whole_streamed_and_in_a_chat(noise: OpenAI) -> None:
    whole = noise.responses.create(model="tiny", input="Which way?", max_output_tokens=9, temperature=0)
    with noise.responses.stream(model="tiny", input="Which way?", max_output_tokens=9, temperature=0) as stream:
        told = [event for event in stream]
    chat = noise.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Which way?"}], max_tokens=9, temperature=0
    )

    assert whole.output_text
    assert whole.output_text == chat.choices[0].message.content
    assert (whole.status, told[-1].type) == ("incomplete", "response.incomplete")
    deltas = [event.delta for event in told if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert whole.usage is not None
    assert whole.usage.output_tokens == 9


def test_an_answer_goes_back_as_it_came(noise: OpenAI) -> None:
    first = noise.responses.create(model="tiny", input="Which way?", max_output_tokens=9, store=False)
    said = [{"role": "user", "content": "Which way?"}, *first.output, {"role": "user", "content": "And then?"}]
    second = noise.responses.create(model="tiny", input=said, max_output_tokens=9)  # type: ignore[arg-type]

    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + 9
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_nothing_is_stored(noise: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is stored here"):
        noise.responses.create(model="tiny", input="x", previous_response_id="resp_1")


def test_an_answer_follows_a_schema(noise: OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [7]}}, "required": ["a"], "additionalProperties": False}
    answer = noise.responses.create(
        model="tiny",
        input="x",
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
        max_output_tokens=64,
    )

    assert answer.output_text.replace(" ", "") == '{"a":7}'


def test_a_call_is_made_and_what_it_came_to_goes_back(client: OpenAI) -> None:
    first = client.responses.create(input=QUESTION, **CALLING)
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, call.status, first.status) == ("weather", "completed", "completed")
    checked(call.arguments)

    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    told: Any = [{"role": "user", "content": QUESTION}, call, result]
    second = client.responses.create(input=told, **CALLING | {"tool_choice": "none", "max_output_tokens": 16})

    assert second.output_text
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.output_tokens == 16


def test_a_streamed_call_is_put_together_by_the_client(client: OpenAI) -> None:
    with client.responses.stream(input=QUESTION, **CALLING) as stream:
        told = [event for event in stream]
        answer = stream.get_final_response()

    pieces = [event.delta for event in told if event.type == "response.function_call_arguments.delta"]
    (call,) = answer.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert checked(call.arguments) == checked("".join(pieces))
    assert len(pieces) > 1


def test_thoughts_are_items_of_their_own(client: OpenAI) -> None:
    asked: Any = {"model": "thinker", "input": QUESTION, "max_output_tokens": 16}
    answer = client.responses.create(reasoning={"effort": "low", "summary": "auto"}, **asked)

    (item,) = answer.output
    assert isinstance(item, ResponseReasoningItem)
    assert answer.status == "incomplete"
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens == answer.usage.output_tokens == 16
    assert client.responses.create(reasoning={"effort": "none"}, **asked).output_text
