"""Calls as clients echo them, and what they came to: alike in every dialect whose results name their call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edged.api import body
from edged.api.anthropic import CountBody, MessagesBody
from edged.api.ollama import ChatBody as OllamaChatBody
from edged.api.openai import ChatBody
from edged.api.responses import ResponsesBody
from edged.api.tools import checked_arguments
from edged.chat import ChatRequest
from edged.errors import InvalidRequest

Ask = Callable[[str, str], ChatRequest]


def parsed(model: Any, fields: dict[str, Any]) -> ChatRequest:
    asked: ChatRequest = body.parse(json.dumps(fields).encode(), model).to_request("id", "", 10_000)
    return asked


def openai(made: str, answered: str) -> ChatRequest:
    call = {"id": made, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": answered, "content": "4"}]
    return parsed(ChatBody, {"messages": turns})


def anthropic(made: str, answered: str, model: Any = MessagesBody) -> ChatRequest:
    turns = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": made, "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": answered, "content": "4"}]},
    ]
    return parsed(model, {"model": "m", "messages": turns} | ({"max_tokens": 9} if model is MessagesBody else {}))


def counted(made: str, answered: str) -> ChatRequest:
    return anthropic(made, answered, CountBody)


def responses(made: str, answered: str) -> ChatRequest:
    call = {"type": "function_call", "call_id": made, "name": "f", "arguments": "{}"}
    return parsed(
        ResponsesBody, {"input": [call, {"type": "function_call_output", "call_id": answered, "output": "4"}]}
    )


@pytest.mark.parametrize("ask", [openai, anthropic, counted, responses])
def test_a_result_that_answers_no_call_is_refused_with_its_id(ask: Ask) -> None:
    assert ask("call_1", "call_1").messages[-1].call_id == "call_1"

    with pytest.raises(InvalidRequest, match="answers the call 'call_2', and nothing before it") as refused:
        ask("call_1", "call_2")
    assert refused.value.param in ("messages", "input")


def test_a_result_comes_after_its_call() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "4"}

    with pytest.raises(InvalidRequest, match="nothing before it"):
        parsed(ResponsesBody, {"input": [result, call]})


def test_in_ollamas_dialect_a_result_needs_no_call() -> None:
    result = {"role": "tool", "content": "4", "tool_call_id": "nowhere"}

    assert parsed(OllamaChatBody, {"messages": [result]}).messages[0].call_id == "nowhere"


@pytest.mark.parametrize(
    "arguments",
    [
        r'{"a": "\ud83d"}',
        r'{"\udfff": 1}',
        r'{"a": ["\ude00\ud83d"]}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        "[]",
        "5",
        "{",
    ],
    ids=lambda text: text[:20],
)
def test_arguments_that_are_no_object_in_json_are_refused_with_their_place(arguments: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_arguments(arguments, "messages.0.tool_calls.0")
    assert refused.value.param == "messages.0.tool_calls.0"
    assert str(refused.value).encode()


@pytest.mark.parametrize("where", ["messages", "input"])
def test_half_a_surrogate_pair_is_refused_where_a_call_is_echoed(where: str) -> None:
    arguments = r'{"a": "\ud83d"}'
    called = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    bodies: dict[str, tuple[Any, list[dict[str, Any]]]] = {
        "messages": (ChatBody, [{"role": "assistant", "tool_calls": [called]}]),
        "input": (ResponsesBody, [{"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}]),
    }
    model, turns = bodies[where]

    with pytest.raises(InvalidRequest, match="surrogates not allowed") as refused:
        parsed(model, {where: turns})
    assert (refused.value.param or "").startswith(f"{where}.0.")


def test_a_whole_surrogate_pair_is_the_character_that_it_is() -> None:
    assert checked_arguments(r'{"a": "\ud83d\ude00"}', "") == '{"a":"😀"}'
    assert checked_arguments("", "") == "{}"
