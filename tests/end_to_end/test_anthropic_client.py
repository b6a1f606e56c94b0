"""The official Anthropic client, sync and async, against the daemon as a process: what its programs rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock
from pydantic import BaseModel

from tests.asking import until_idle
from tests.daemon_process import PATIENCE_S, DaemonProcess
from tests.end_to_end.test_openai_client import known_questions
from tests.end_to_end.weather import QUESTION, SCHEMA, checked

ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
TOOL: Any = {"name": "weather", "description": "The weather to come", "input_schema": SCHEMA}
UNTHINKING: Any = {"type": "disabled"}
# The client has no word for it any more; who needs it says it so.
GREEDY = {"temperature": 0}
ONE: Any = {"type": "any", "disable_parallel_tool_use": True}


class Visit(BaseModel):
    """What is parsed; finite, so that random weights come to its end."""

    city: Literal["Oslo", "Roma"]
    by_train: bool


@pytest.fixture(scope="module")
def client(all_kinds: DaemonProcess) -> Iterator[Anthropic]:
    with Anthropic(base_url=all_kinds.url, api_key="any", timeout=PATIENCE_S, max_retries=0) as found:
        yield found


@pytest.fixture
async def waiting(all_kinds: DaemonProcess) -> AsyncIterator[AsyncAnthropic]:
    """The asynchronous client."""
    async with AsyncAnthropic(base_url=all_kinds.url, api_key="any", timeout=PATIENCE_S, max_retries=0) as found:
        yield found


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def input_of(message: Message) -> dict[str, Any]:
    """The arguments of its only call, checked."""
    (call,) = message.content
    assert isinstance(call, ToolUseBlock)
    assert (call.name, bool(call.id), message.stop_reason) == ("weather", True, "tool_use")
    assert isinstance(call.input, dict)
    return checked(call.input)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_guide_answers_word_for_word_whole_and_streamed(edged_daemon: DaemonProcess, language: str) -> None:
    question, answer = known_questions(language, 5)[0]
    asked: Any = {
        "model": "guide", "max_tokens": 400, "extra_body": GREEDY, "messages": [{"role": "user", "content": question}]
    }  # fmt: skip
    with Anthropic(base_url=edged_daemon.url, api_key="any", max_retries=0) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            pieces = list(stream.text_stream)
            streamed = stream.get_final_message()

    assert text_of(whole) == text_of(streamed) == "".join(pieces) == answer
    assert len(pieces) > 1
    assert (whole.type, whole.role, whole.model, whole.stop_reason) == ("message", "assistant", "guide", "end_turn")
    assert streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert (streamed.usage.cache_read_input_tokens or 0) > 0, "the same prompt again"
    assert sum((streamed.usage.input_tokens, streamed.usage.cache_read_input_tokens or 0)) == sum(
        (whole.usage.input_tokens, whole.usage.cache_read_input_tokens or 0)
    )


def test_an_answer_at_its_limit_and_at_a_stop_string_says_so(client: Anthropic) -> None:
    asked: Any = {"model": "tiny", "max_tokens": 20, "extra_body": GREEDY, "messages": ASKED}
    cut = client.messages.create(**asked)
    stop = text_of(cut)[8:12]
    stopped = client.messages.create(stop_sequences=[stop, "never said"], **asked)

    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 20)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop)
    assert text_of(stopped) == text_of(cut)[: text_of(cut).index(stop)]


@pytest.mark.parametrize("model", ["tiny", "caller", "thinker"])
def test_a_call_that_must_be_made_is_made(client: Anthropic, model: str) -> None:
    asked: Any = {"model": model, "max_tokens": 200, "messages": ASKED, "tools": [TOOL], "thinking": UNTHINKING}
    for choice in (ONE, ONE | {"type": "tool", "name": "weather"}):
        input_of(client.messages.create(**asked, tool_choice=choice))


def test_a_streamed_call_is_put_together_by_the_client(client: Anthropic) -> None:
    with client.messages.stream(
        model="caller", max_tokens=200, messages=ASKED, tools=[TOOL], tool_choice=ONE
    ) as stream:
        told = [event.type for event in stream]
        input_of(stream.get_final_message())

    assert told[:2] == ["message_start", "content_block_start"]
    assert told[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert told.count("input_json") > 1


def test_what_a_call_came_to_goes_back_as_the_client_holds_it(client: Anthropic) -> None:
    asked: Any = {"model": "caller", "max_tokens": 200, "tools": [TOOL]}
    first = client.messages.create(messages=ASKED, tool_choice=ONE, **asked)
    (call,) = first.content
    assert isinstance(call, ToolUseBlock)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain."}]}
    told: Any = [*ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(messages=told, **asked | {"max_tokens": 5})

    read = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    assert second.stop_reason == "max_tokens"
    assert (second.usage.cache_read_input_tokens or 0) > read, "the prompt and the call are still in memory"


def test_thoughts_are_blocks_of_their_own(client: Anthropic) -> None:
    asked: Any = {"model": "thinker", "max_tokens": 12, "messages": ASKED, "thinking": {"type": "adaptive"}}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_message()

    for message in (whole, streamed):
        (block,) = message.content
        assert isinstance(block, ThinkingBlock)
        assert block.thinking
        assert block.signature
        assert message.stop_reason == "max_tokens"
    assert kinds >= {"thinking", "signature"}
    details = whole.usage.output_tokens_details
    assert details is not None
    assert details.thinking_tokens == whole.usage.output_tokens == 12


def test_thoughts_with_a_budget_come_back_in_the_next_turn(client: Anthropic) -> None:
    asked: Any = {"model": "thinker", "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1030}
    first = client.messages.create(messages=ASKED, **asked)
    told: Any = [*ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And now?"}]
    counted = client.messages.count_tokens(model="thinker", messages=told)

    assert isinstance(first.content[0], ThinkingBlock)
    assert counted.input_tokens > 0


def test_thoughts_are_left_out_where_nobody_wants_them(client: Anthropic) -> None:
    asked: Any = {"model": "thinker", "max_tokens": 8, "messages": ASKED}
    without = client.messages.create(thinking=UNTHINKING, **asked)
    unseen = client.messages.create(thinking={"type": "adaptive", "display": "omitted"}, **asked)

    assert [block.type for block in without.content] == ["text"]
    (block,) = unseen.content
    assert isinstance(block, ThinkingBlock)
    assert block.thinking == ""


def test_tokens_are_counted_as_the_same_message_costs(client: Anthropic) -> None:
    asked: Any = {"model": "caller", "messages": ASKED, "tools": [TOOL], "system": "Be brief."}
    counted = client.messages.count_tokens(**asked)
    usage = client.messages.create(max_tokens=1, **asked).usage

    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert client.messages.count_tokens(model="caller", messages=ASKED).input_tokens < counted.input_tokens


def test_a_model_of_the_callers_own_is_filled_in(client: Anthropic) -> None:
    found = client.messages.parse(model="caller", max_tokens=200, messages=ASKED, output_format=Visit)

    assert isinstance(found.parsed_output, Visit)
    assert found.stop_reason == "end_turn"


def test_the_clients_own_loop_of_tools_ends_without_a_thread(client: Anthropic) -> None:
    """It asks the server to hold the conversation, is refused in words that it knows, and sends all of it instead."""
    made: list[str] = []

    @beta_tool
    def weather(city: Literal["Oslo", "Roma"]) -> str:
        """The weather to come.

        Args:
            city: where
        """
        made.append(city)
        return "Rain."

    runner = client.beta.messages.tool_runner(
        model="caller", max_tokens=100, messages=ASKED, tools=[weather], tool_choice=ONE, max_iterations=2
    )
    messages = list(runner)

    assert len(messages) == 2
    assert all(message.stop_reason == "tool_use" for message in messages)
    assert set(made) <= {"Oslo", "Roma"}
    assert made


def test_models_are_listed_in_anthropics_shape(client: Anthropic) -> None:
    listed = list(client.models.list())

    assert listed[0].id == "tiny"
    assert {model.id for model in listed} == {"tiny", "caller", "thinker", "filler", "bert", "guide"}
    found = client.models.retrieve("tiny")
    assert (found.type, found.display_name, found.max_input_tokens) == ("model", "tiny", 4096)
    assert found.created_at.year > 2000


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError, "model_not_found"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, anthropic.BadRequestError, "context_length"),
        ({"extra_body": {"temperature": 2}}, anthropic.BadRequestError, "invalid_request"),
        ({"model": "bert"}, anthropic.BadRequestError, "capability_missing"),
        ({"extra_body": {"colour": "red"}}, anthropic.BadRequestError, "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "x" * 1_100_000}]}, anthropic.RequestTooLargeError, "payload"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            anthropic.BadRequestError,
            "unsupported_parameter",
        ),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_refusal_has_the_clients_own_class(
    client: Anthropic, fields: dict[str, Any], kind: type[anthropic.APIStatusError], code: str, is_streamed: bool
) -> None:
    asked: Any = {"model": "tiny", "max_tokens": 5, "messages": ASKED, "stream": is_streamed, **fields}
    with pytest.raises(kind) as refused:
        client.messages.create(**asked)

    assert type(refused.value) is kind
    assert refused.value.request_id, "what the log calls it"
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["code"].startswith(code)


def test_a_client_that_loses_patience_is_cancelled(all_kinds: DaemonProcess) -> None:
    with (
        Anthropic(base_url=all_kinds.url, api_key="any", timeout=0.3, max_retries=0) as hasty,
        pytest.raises(anthropic.APITimeoutError),
    ):
        hasty.messages.create(model="tiny", max_tokens=4000, messages=ASKED)

    until_idle(all_kinds)


def test_a_stream_that_is_left_frees_its_place(all_kinds: DaemonProcess, client: Anthropic) -> None:
    with client.messages.stream(model="tiny", max_tokens=4000, messages=ASKED) as stream:
        assert next(iter(stream.text_stream))

    until_idle(all_kinds)


async def test_the_asynchronous_client_speaks_streams_and_calls_at_once(waiting: AsyncAnthropic) -> None:
    async def streamed() -> Message:
        async with waiting.messages.stream(model="tiny", max_tokens=20, messages=ASKED) as stream:
            pieces = [text async for text in stream.text_stream]
            message = await stream.get_final_message()
        assert "".join(pieces) == text_of(message)
        return message

    said, told, called, counted = await asyncio.gather(
        waiting.messages.create(model="tiny", max_tokens=20, messages=ASKED),
        streamed(),
        waiting.messages.create(model="caller", max_tokens=200, messages=ASKED, tools=[TOOL], tool_choice=ONE),
        waiting.messages.count_tokens(model="tiny", messages=ASKED),
    )

    assert said.usage.output_tokens == told.usage.output_tokens == 20
    assert counted.input_tokens == said.usage.input_tokens + (said.usage.cache_read_input_tokens or 0)
    input_of(called)


async def test_the_asynchronous_client_is_refused_in_its_own_classes(waiting: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await waiting.messages.create(model="nobody", max_tokens=5, messages=ASKED)


async def test_a_task_that_is_cancelled_frees_its_place(all_kinds: DaemonProcess, waiting: AsyncAnthropic) -> None:
    task = asyncio.create_task(waiting.messages.create(model="tiny", max_tokens=4000, messages=ASKED))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    until_idle(all_kinds)
