"""Tools, schemas and thoughts with the official OpenAI client, sync and async, against the daemon as a process.

The models have random weights: that their calls are calls at all is the doing of grammars.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall as Call
from pydantic import BaseModel

from tests.asking import chat, chunks, client_of, until_idle
from tests.daemon_process import PATIENCE_S, DaemonProcess
from tests.end_to_end.weather import FUNCTION, QUESTION, TOOL, checked

ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
NAMED = {"type": "function", "function": {"name": "weather"}}
ONE: dict[str, Any] = {"tools": [TOOL], "parallel_tool_calls": False, "max_tokens": 200}


class Visit(BaseModel):
    """What is parsed; finite, as `weather.SCHEMA`."""

    city: Literal["Oslo", "Roma"]
    by_train: bool
    days: Literal[1, 2]


@pytest.fixture(scope="module")
def client(all_kinds: DaemonProcess) -> Iterator[OpenAI]:
    with client_of(all_kinds) as found:
        yield found


@pytest.fixture
async def waiting(all_kinds: DaemonProcess) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client."""
    async with AsyncOpenAI(base_url=f"{all_kinds.url}/v1", api_key="any", timeout=PATIENCE_S, max_retries=0) as found:
        yield found


def calls_of(calls: Any) -> list[Call]:
    assert calls
    assert all(isinstance(call, Call) for call in calls)
    return list(calls)


@pytest.mark.parametrize("model", ["tiny", "caller", "thinker"])
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_call_that_must_be_made_is_made(client: OpenAI, model: str, choice: Any) -> None:
    """Also by a model whose template knows nothing of tools, and by one that writes them otherwise."""
    answer = chat(client, QUESTION, model=model, tool_choice=choice, reasoning_effort="none", **ONE)

    (call,) = calls_of(answer.choices[0].message.tool_calls)
    assert (call.type, call.function.name) == ("function", "weather")
    assert call.id
    checked(call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_several_calls_have_ids_of_their_own_and_stand_in_a_row(client: OpenAI) -> None:
    """Random weights go on calling until they may not; what was cut off is no call."""
    answer = chat(client, QUESTION, model="caller", tools=[TOOL], tool_choice="required", max_tokens=200, seed=4)

    calls = calls_of(answer.choices[0].message.tool_calls)
    assert len(calls) > 1
    assert len({call.id for call in calls}) == len(calls)
    for call in calls[:-1]:
        checked(call.function.arguments)


def test_a_streamed_call_is_put_together_by_the_client(client: OpenAI) -> None:
    with client.chat.completions.stream(model="caller", messages=ASKED, tool_choice="required", **ONE) as stream:
        told = [event.type for event in stream]
        answer = stream.get_final_completion()

    (call,) = calls_of(answer.choices[0].message.tool_calls)
    checked(call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert told.count("tool_calls.function.arguments.done") == 1
    assert told.count("tool_calls.function.arguments.delta") > 1


def test_only_the_first_piece_of_a_streamed_call_names_it(client: OpenAI) -> None:
    with chunks(client, QUESTION, model="caller", tool_choice="required", **ONE) as stream:
        pieces = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []]

    assert pieces[0].id
    assert pieces[0].type == "function"
    assert [piece.index for piece in pieces] == [0] * len(pieces)
    assert [piece.id for piece in pieces[1:]] == [None] * (len(pieces) - 1)
    functions = [piece.function for piece in pieces if piece.function]
    assert functions[0].name == "weather"
    checked("".join(function.arguments or "" for function in functions))


def test_what_a_call_came_to_goes_back_as_the_client_echoes_it(client: OpenAI) -> None:
    answer = chat(client, QUESTION, model="caller", tool_choice="required", **ONE)
    message = answer.choices[0].message
    (call,) = calls_of(message.tool_calls)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    told: list[Any] = [*ASKED, message, result]
    again = client.chat.completions.create(model="caller", messages=told, tools=ONE["tools"], max_tokens=5)

    assert again.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert again.usage is not None
    assert again.usage.prompt_tokens > answer.usage.prompt_tokens + 10
    assert again.usage.prompt_tokens_details is not None
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) > answer.usage.prompt_tokens


def test_tools_that_must_not_be_called_cost_no_tokens(client: OpenAI) -> None:
    plain = chat(client, QUESTION, model="caller", max_tokens=5)
    none = chat(client, QUESTION, model="caller", tool_choice="none", **ONE | {"max_tokens": 5})

    assert none.choices[0].message.tool_calls is None
    assert plain.usage is not None
    assert none.usage is not None
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "train"}}}, "tool_choice"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"functions": [FUNCTION]}, "functions"),
    ],
)
def test_tools_that_cannot_be_had_are_named(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, QUESTION, model="caller", **fields)
    assert refused.value.param == param


def test_a_model_of_the_callers_own_is_filled_in(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="caller", messages=ASKED, response_format=Visit, max_tokens=200)
    with client.chat.completions.stream(
        model="caller", messages=ASKED, response_format=Visit, max_tokens=200
    ) as stream:
        streamed = stream.get_final_completion()

    for found in (answer, streamed):
        assert isinstance(found.choices[0].message.parsed, Visit)
        assert found.choices[0].finish_reason == "stop"


def test_a_tool_of_the_callers_own_model_is_parsed(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="caller",
        messages=ASKED,
        tools=[openai.pydantic_function_tool(Visit)],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
    )

    (call,) = calls_of(answer.choices[0].message.tool_calls)
    assert isinstance(call.function.parsed_arguments, Visit)  # type: ignore[attr-defined]


def test_an_object_that_was_cut_off_is_told_by_the_client(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="caller", messages=ASKED, response_format=Visit, max_tokens=3)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_thoughts_stand_beside_the_words(client: OpenAI, is_streamed: bool) -> None:
    """`reasoning_content` is no field of OpenAI's; the client hands it on as it comes."""
    asked: dict[str, Any] = {"model": "thinker", "reasoning_effort": "low", "max_tokens": 12}
    if is_streamed:
        received = list(chunks(client, QUESTION, stream_options={"include_usage": True}, **asked))
        extras = [choice.delta.model_extra or {} for chunk in received for choice in chunk.choices]
        thought = "".join(extra.get("reasoning_content") or "" for extra in extras)
        words = "".join(choice.delta.content or "" for chunk in received for choice in chunk.choices)
        usage = received[-1].usage
    else:
        answer = chat(client, QUESTION, **asked)
        thought = (answer.choices[0].message.model_extra or {})["reasoning_content"]
        words, usage = answer.choices[0].message.content or "", answer.usage

    assert thought
    assert words == ""
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == usage.completion_tokens == 12


def test_without_effort_there_are_words_and_no_thoughts(client: OpenAI) -> None:
    message = chat(client, QUESTION, model="thinker", reasoning_effort="none", max_tokens=6).choices[0].message

    assert message.content
    assert "reasoning_content" not in (message.model_extra or {})


BUDGET = {"reasoning_budget_tokens": 6}


def test_a_thought_with_a_budget_ends_and_words_follow(client: OpenAI) -> None:
    """This model never ends a thought by itself."""
    asked: dict[str, Any] = {"model": "thinker", "reasoning_effort": "low", "max_tokens": 24, "extra_body": BUDGET}
    whole = chat(client, QUESTION, **asked)
    streamed = list(chunks(client, QUESTION, **asked, seed=1))

    message, usage = whole.choices[0].message, whole.usage
    assert (message.model_extra or {})["reasoning_content"]
    assert message.content
    assert "</think>" not in message.content
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens == 24
    assert 6 <= (usage.completion_tokens_details.reasoning_tokens or 0) < 16, "the mark at its end counts as well"
    assert "".join(choice.delta.content or "" for chunk in streamed for choice in chunk.choices)


def test_what_follows_a_thought_with_a_budget_has_its_shape(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "thinker", "reasoning_effort": "low", "max_tokens": 200, "extra_body": BUDGET}
    parsed = client.chat.completions.parse(messages=ASKED, response_format=Visit, **asked)
    called = chat(client, QUESTION, tool_choice="required", **ONE | asked)

    assert isinstance(parsed.choices[0].message.parsed, Visit)
    (call,) = calls_of(called.choices[0].message.tool_calls)
    checked(call.function.arguments)


async def test_the_asynchronous_client_calls_in_a_stream(waiting: AsyncOpenAI) -> None:
    async with waiting.chat.completions.stream(model="caller", messages=ASKED, tool_choice="required", **ONE) as stream:
        answer = await stream.get_final_completion()

    (call,) = calls_of(answer.choices[0].message.tool_calls)
    checked(call.function.arguments)


async def test_the_asynchronous_client_asks_for_many_things_at_once(waiting: AsyncOpenAI) -> None:
    talk = waiting.chat.completions.create(model="tiny", messages=ASKED, max_tokens=20)
    call = waiting.chat.completions.create(model="caller", messages=ASKED, tool_choice="required", **ONE)
    parsed = waiting.chat.completions.parse(model="caller", messages=ASKED, response_format=Visit, max_tokens=200)
    said, called, filled, vectors, models = await asyncio.gather(
        talk, call, parsed, waiting.embeddings.create(model="bert", input=["a", "b"]), waiting.models.list()
    )

    assert said.usage is not None
    assert said.usage.completion_tokens == 20
    checked(calls_of(called.choices[0].message.tool_calls)[0].function.arguments)
    assert isinstance(filled.choices[0].message.parsed, Visit)
    assert [item.index for item in vectors.data] == [0, 1]
    assert models.data[0].id == "tiny"


async def test_the_asynchronous_client_is_refused_in_its_own_classes(waiting: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await waiting.chat.completions.create(model="nobody", messages=ASKED)
    with pytest.raises(openai.BadRequestError) as refused:
        await waiting.chat.completions.create(model="tiny", messages=ASKED, extra_body={"colour": "red"})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "colour")


async def test_a_task_that_is_cancelled_frees_its_place(all_kinds: DaemonProcess, waiting: AsyncOpenAI) -> None:
    task = asyncio.create_task(waiting.chat.completions.create(model="tiny", messages=ASKED, max_tokens=4000))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    until_idle(all_kinds)


async def test_an_asynchronous_stream_that_is_left_frees_its_place(
    all_kinds: DaemonProcess, waiting: AsyncOpenAI
) -> None:
    async with await waiting.chat.completions.create(
        model="tiny", messages=ASKED, max_tokens=4000, stream=True
    ) as stream:
        await anext(aiter(stream))

    until_idle(all_kinds)
