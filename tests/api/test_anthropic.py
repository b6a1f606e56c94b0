"""The Anthropic dialect, both ways: what is taken, what is refused by name, and every byte that goes out."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from edged.api import body
from edged.api.answer import Answer, Choice
from edged.api.anthropic import CountBody, MessagesBody, count_body
from edged.api.anthropic_answer import AnthropicAnswer
from edged.api.anthropic_models import is_meant, models_body
from edged.api.errors import anthropic_body, dialect_of, error_body
from edged.chat import ChatRequest, ImagePart, Message, ModelCard, TextPart, Tool, ToolCall, ToolChoice
from edged.completion import Admission, CallDelta, Counted, Delta, Event, Finish, Thought
from edged.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PayloadTooLarge,
    QueueFull,
    RequestError,
    UnsupportedParameter,
    WorkerCrashed,
)
from edged.observe import Exchange
from edged.sampling import Constraint, Sampling

HI = [{"role": "user", "content": "hi"}]
LIMIT = 1000
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
PNG = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}
WEATHER = {
    "name": "weather",
    "description": "Tells it",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Łódź"}}


def parsed(raw: str) -> MessagesBody:
    return body.parse(raw.encode(), MessagesBody)


def asked(**fields: Any) -> MessagesBody:
    return parsed(json.dumps({"model": "m", "max_tokens": 100, "messages": HI, **fields}))


def chat(**fields: Any) -> ChatRequest:
    return asked(**fields).to_request("id", "10.0.0.7", LIMIT)


def turns(*messages: dict[str, Any], **fields: Any) -> list[Message]:
    return list(chat(messages=[*messages, *HI], **fields).messages)[:-1]


def said(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        chat(**fields)
    return refused.value


def texts(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages]


def test_a_message_in_its_two_spellings() -> None:
    blocks = [said("user", {"type": "text", "text": "hi"})]

    assert chat().messages == chat(messages=blocks).messages == (Message("user", (TextPart("hi"),)),)
    assert chat().caller.lane_path == ("open", "10.0.0.7", "")
    assert (chat().caller.dialect, chat().model, chat().max_tokens) == ("anthropic", "m", 100)
    assert (chat().lane, chat().overflow, chat().n) == ("interactive", "refuse", 1)


# The fields of MessageCreateParams (anthropics/anthropic-sdk-python, 0.121 and 2.12) that are honoured, and by what.
HONOURED: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_tokens": (7, {"max_tokens": 7}),
    "model": ("other", {"model": "other"}),
    "messages": (HI, {"messages": (Message("user", (TextPart("hi"),)),)}),
    "system": ("Be kind.", {"messages": (Message("system", (TextPart("Be kind."),)), *chat().messages)}),
    "stop_sequences": (["a", "b"], {"stop": ("a", "b")}),
    "temperature": (0.5, {"sampling": Sampling(temperature=0.5)}),
    "keep_alive": ("5m", {"keep_alive_s": 300.0}),
    "top_p": (0.9, {"sampling": Sampling(top_p=0.9)}),
    "top_k": (5, {"sampling": Sampling(top_k=5)}),
    "tools": (
        [WEATHER],
        {"tools": (Tool("weather", "Tells it", json.dumps(WEATHER["input_schema"]).replace(" ", "")),)},
    ),
    "tool_choice": ({"type": "none"}, {"tool_choice": ToolChoice("none")}),
    "thinking": ({"type": "disabled"}, {"thinks": False}),
    "output_config": ({"effort": "low"}, {"effort": "low"}),
}
# What is true of every answer here anyway.
TRUE_ANYWAY: dict[str, list[Any]] = {
    "cache_control": [
        {"type": "ephemeral"},
        {"type": "ephemeral", "ttl": "5m"},
        {"type": "ephemeral", "scope": "global"},
    ],
    "service_tier": ["auto", "standard_only"],
    "speed": ["standard"],
    "stream": [False],
    "metadata": [{}, {"user_id": None}],
    "context_management": [{"edits": []}, {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}],
}
# Documented there, and not honoured here (yet); the beta's below the line.
UNSUPPORTED: dict[str, Any] = {
    "container": "container_1",
    "diagnostics": {"previous_message_id": "msg_1"},
    "inference_geo": "eu",
    "user_profile_id": "header only",
    "workspace_id": "header only",
    # beta
    "billing_policy": {},
    "fallback_credit_token": "t",
    "mcp_servers": [],
    "output_format": {"type": "json_schema", "schema": {}},
    "fallbacks": [],
    "compaction": {},
    "thread": {},
    "no_such_field": 1,
}


@pytest.mark.parametrize("name", HONOURED)
def test_a_field_is_honoured(name: str) -> None:
    value, effect = HONOURED[name]
    wanted = chat(**{name: value})

    assert {field: getattr(wanted, field) for field in effect} == effect


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in TRUE_ANYWAY.items() for value in values])
def test_what_happens_anyway_may_be_asked_for(name: str, value: Any) -> None:
    assert chat(**{name: value}) == chat()


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_field_that_is_not_honoured_is_refused_by_name(name: str) -> None:
    refused = refusal(**{name: UNSUPPORTED[name]})

    assert isinstance(refused, UnsupportedParameter)
    assert refused.param == name
    assert name in str(refused)


def test_a_stream_is_asked_for() -> None:
    assert (asked(stream=True).stream, asked().stream) == (True, False)


def test_who_asks_divides_the_callers_share() -> None:
    assert chat(metadata={"user_id": "ada"}).caller.lane_path == ("open", "10.0.0.7", "ada")


def test_a_missing_model_is_the_default_and_a_missing_max_tokens_is_named() -> None:
    assert parsed(json.dumps({"max_tokens": 1, "messages": HI})).to_request("id", "", LIMIT).model is None
    with pytest.raises(InvalidRequest, match="max_tokens") as refused:
        parsed(json.dumps({"model": "m", "messages": HI}))
    assert refused.value.param == "max_tokens"


def test_instructions_are_a_text_or_blocks_of_text() -> None:
    blocks = [{"type": "text", "text": "Be kind.", **CACHED}, {"type": "text", "text": "Be short."}]

    assert texts(chat(system=blocks).messages) == [("system", "Be kind.\nBe short."), ("user", "hi")]
    assert refusal(system=[{"type": "image", "source": PNG}]).param == "system.0.type"


@pytest.mark.parametrize("separator", ["", "\n", " "])
def test_a_line_for_anthropics_accounts_does_not_reach_the_model(separator: str) -> None:
    header = f"x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=a5145;{separator}"

    assert chat(system=header + "Be kind.") == chat(system="Be kind.")
    assert chat(system=[{"type": "text", "text": header}, {"type": "text", "text": "Be kind."}]) == chat(
        system="Be kind."
    )
    assert chat(system="Say x-anthropic-billing-header: a=b;").messages[0].text.endswith("a=b;")


def test_consecutive_turns_of_one_role_are_one() -> None:
    assert texts(turns(said("user", {"type": "text", "text": "a"}), {"role": "assistant", "content": "b"}))[0] == (
        "user",
        "a",
    )
    merged = chat(messages=[*HI, *HI, {"role": "assistant", "content": "b"}, {"role": "assistant", "content": ""}, *HI])
    assert texts(merged.messages) == [("user", "hi\nhi"), ("assistant", "b\n"), ("user", "hi")]


def test_instructions_may_come_in_the_middle() -> None:
    wanted = chat(messages=[*HI, {"role": "system", "content": "Be brief."}])

    assert texts(wanted.messages) == [("user", "hi"), ("system", "Be brief.")]
    assert wanted.lane == "interactive"


def test_an_image_stays_where_it_is() -> None:
    (message,) = chat(
        messages=[
            said(
                "user",
                {"type": "text", "text": "What"},
                {"type": "text", "text": "is"},
                {"type": "image", "source": PNG, **CACHED},
                {"type": "text", "text": "this?"},
            )
        ]
    ).messages

    assert message.parts == (TextPart("What\nis"), ImagePart("image/png", b"\x89PNG"), TextPart("this?"))


@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"type": "url", "url": "https://evil.example/a.png"}, "type"),
        ({"type": "file", "file_id": "f"}, "type"),
        (PNG | {"media_type": "image/svg+xml"}, "media_type"),
        (PNG | {"data": "###"}, "data"),
        (PNG | {"data": "é"}, "data"),
        ({"type": "base64", "media_type": "image/png"}, "data"),
    ],
)
def test_no_image_is_fetched_or_guessed(source: dict[str, str], param: str) -> None:
    refused = refusal(messages=[said("user", {"type": "image", "source": source})])

    assert refused.param == f"messages.0.content.0.source.{param}"


def test_calls_and_what_they_came_to() -> None:
    answered = said(
        "user",
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "Sun", **CACHED}]},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
        {"type": "text", "text": "And now?"},
    )
    called = said(
        "assistant",
        {"type": "thinking", "thinking": "I had better ask.", "signature": "edged"},
        {"type": "text", "text": "I ask."},
        USE | CACHED | {"caller": {"type": "direct"}, "toolset_name": None},
        USE | {"id": "toolu_2", "input": {}},
        USE | {"id": "toolu_3", "input": {}},
    )

    assert list(chat(messages=[*HI, called, answered]).messages)[1:] == [
        Message(
            "assistant",
            (TextPart("I ask."),),
            "I had better ask.",
            (
                ToolCall("toolu_1", "weather", '{"place":"Łódź"}'),
                ToolCall("toolu_2", "weather", "{}"),
                ToolCall("toolu_3", "weather", "{}"),
            ),
        ),
        Message("tool", (TextPart("Rain"),), call_id="toolu_1", tool="weather"),
        Message("tool", (TextPart("Sun"),), call_id="toolu_2", tool="weather"),
        Message("tool", (), call_id="toolu_3", tool="weather"),
        Message("user", (TextPart("And now?"),)),
    ]


def test_the_model_reads_that_a_call_failed() -> None:
    failed = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "No such place", "is_error": True}

    assert turns(said("assistant", USE), said("user", failed))[1].text == "Error:\nNo such place"
    assert turns(said("assistant", USE), said("user", failed | {"is_error": False}))[1].text == "No such place"


def test_nulls_inside_what_is_the_callers_own_stay() -> None:
    call = said("assistant", USE | {"input": {"place": None}})
    (tool,) = chat(tools=[WEATHER | {"input_schema": {"const": None}, "input_examples": [{"place": None}]}]).tools
    constraint = chat(output_config={"format": {"type": "json_schema", "schema": {"const": None}}}).constraint

    assert turns(*HI, call)[1].calls[0].arguments == '{"place":null}'
    assert tool.parameters == '{"const":null,"examples":[{"place":null}]}'
    assert constraint == Constraint("json_schema", '{"const":null}')


def test_thoughts_that_only_anthropic_can_read_are_left_out() -> None:
    redacted = said("assistant", {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"})

    assert turns(*HI, redacted)[1] == Message("assistant", (TextPart("a"),))


def thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": "s"}


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        ({}, ["", "", "c", "d"]),
        ({"keep": {"type": "thinking_turns", "value": 1}}, ["", "", "c", "d"]),
        ({"keep": {"type": "thinking_turns", "value": 2}}, ["a", "", "c", "d"]),
        ({"keep": {"type": "all"}}, ["a", "", "c", "d"]),
        ({"keep": "all"}, ["a", "", "c", "d"]),
    ],
)
def test_earlier_thoughts_are_forgotten_turn_by_turn(edit: dict[str, Any], kept: list[str]) -> None:
    result = said("user", {"type": "tool_result", "tool_use_id": "toolu_1"})
    conversation = [
        *(*HI, said("assistant", thought("a"), {"type": "text", "text": "1"})),
        *(*HI, {"role": "assistant", "content": "2"}),
        *(*HI, said("assistant", thought("c"), USE), result, said("assistant", thought("d"))),
    ]
    edits = {"edits": [{"type": "clear_thinking_20251015", **edit}]}

    left = turns(*conversation, context_management=edits)
    assert [message.thought for message in left if message.role == "assistant"] == kept


@pytest.mark.parametrize("kind", ["clear_tool_uses_20250919", "compact_20260112"])
def test_other_edits_are_refused_by_name(kind: str) -> None:
    refused = refusal(context_management={"edits": [{"type": kind}]})

    assert (type(refused), refused.param) == (UnsupportedParameter, "context_management.edits.0.type")
    assert kind in str(refused)


@pytest.mark.parametrize(
    ("choice", "effect"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "tool", "name": "weather"}, ToolChoice("required", "weather")),
        ({"type": "none"}, ToolChoice("none")),
    ],
)
def test_whether_a_tool_is_called(choice: dict[str, Any], effect: ToolChoice) -> None:
    wanted = chat(tools=[WEATHER], tool_choice=choice)

    assert (wanted.tool_choice, wanted.parallel_calls) == (effect, True)
    if choice["type"] != "none":
        assert not chat(tools=[WEATHER], tool_choice=choice | {"disable_parallel_tool_use": True}).parallel_calls


def test_a_tool_says_all_that_it_may() -> None:
    all_of_it = {
        "type": "custom",
        "strict": True,
        "input_examples": [{"place": "Oslo"}],
        "allowed_callers": ["direct"],
        "defer_loading": False,
        "eager_input_streaming": True,
    }
    (tool,) = chat(tools=[WEATHER | CACHED | all_of_it]).tools

    assert tool.is_strict
    assert json.loads(tool.parameters) == {**WEATHER["input_schema"], "examples": [{"place": "Oslo"}]}  # type: ignore[dict-item]
    assert chat(tools=[{"name": "now", "input_schema": {}}]).tools == (Tool("now"),)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"type": "web_search_20250305", "name": "web_search"}, "tools.0.type"),
        ({"type": "bash_20250124", "name": "bash"}, "tools.0.type"),
        (WEATHER | {"defer_loading": True}, "tools.0.defer_loading"),
        (WEATHER | {"eager_input_streaming": False}, "tools.0.eager_input_streaming"),
        (WEATHER | {"allowed_callers": ["code_execution_20260521"]}, "tools.0.allowed_callers.0"),
        (WEATHER | {"name": "a tool"}, "tools.0.name"),
        (WEATHER | {"max_uses": 3}, "tools.0.max_uses"),
        ({"name": "weather"}, "tools.0.input_schema"),
        ("weather", "tools.0"),
    ],
)
def test_a_tool_that_cannot_be_had_is_named(fields: Any, param: str) -> None:
    assert refusal(tools=[fields]).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "sun"}, "tools": [WEATHER]}, "tool_choice"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
    ],
)
def test_a_choice_that_cannot_be_made_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


@pytest.mark.parametrize(
    ("thinking", "thinks", "shows"),
    [
        (None, None, True),
        ({"type": "disabled"}, False, True),
        ({"type": "adaptive"}, True, True),
        ({"type": "adaptive", "display": "omitted"}, True, False),
        ({"type": "enabled", "budget_tokens": 1024}, True, True),
        ({"type": "enabled", "budget_tokens": 1024, "display": "summarized"}, True, True),
        ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, True, False),
    ],
)
def test_thinking(thinking: dict[str, Any] | None, thinks: bool | None, shows: bool) -> None:
    wanted = asked(thinking=thinking, max_tokens=2048)

    request = wanted.to_request("id", "", LIMIT)
    assert (request.thinks, wanted.shows_thoughts) == (thinks, shows)
    assert request.thought_tokens == (thinking or {}).get("budget_tokens")


@pytest.mark.parametrize(
    ("thinking", "param"),
    [
        ({"type": "enabled"}, "thinking.budget_tokens"),
        ({"type": "enabled", "budget_tokens": 1023}, "thinking.budget_tokens"),
        ({"type": "enabled", "budget_tokens": 2048}, "thinking.budget_tokens"),
        ({"type": "between_tools"}, "thinking.type"),
        ({"type": "disabled", "display": "omitted"}, "thinking.display"),
        ({}, "thinking.type"),
        (True, "thinking"),
    ],
)
def test_thinking_that_cannot_be_had_is_named(thinking: Any, param: str) -> None:
    assert refusal(thinking=thinking, max_tokens=2048).param == param


@pytest.mark.parametrize(
    ("effort", "ours"), [("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high"), ("max", "high")]
)
def test_effort(effort: str, ours: str) -> None:
    assert chat(output_config={"effort": effort}).effort == ours


def test_an_answer_in_a_shape() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = chat(output_config={"format": {"type": "json_schema", "schema": schema}})

    assert wanted.constraint == Constraint("json_schema", json.dumps(schema, separators=(",", ":")))
    assert refusal(output_config={"task_budget": {}}).param == "output_config.task_budget"
    assert refusal(output_config={"format": {"type": "json_schema"}}).param == "output_config.format.schema"
    large = {"description": "x" * 70_000}
    assert refusal(output_config={"format": {"type": "json_schema", "schema": large}}).code == "invalid_request"


def test_a_title_that_a_program_asks_for_waits_behind_people() -> None:
    title = "Generate a title for this conversation without any punctuation."
    conversation = [*HI, {"role": "assistant", "content": "hello"}, {"role": "user", "content": title}]

    assert chat(messages=conversation).lane == "background"
    assert chat(messages=conversation, stream=True).lane == "interactive"


def test_an_answer_may_be_begun() -> None:
    wanted = chat(messages=[*HI, {"role": "assistant", "content": "The best answer is ("}])

    assert texts(wanted.messages) == [("user", "hi"), ("assistant", "The best answer is (")]


@pytest.mark.parametrize(
    "kind", ["document", "search_result", "server_tool_use", "container_upload", "mid_conv_system"]
)
def test_a_block_that_is_not_honoured_is_refused_by_name(kind: str) -> None:
    refused = refusal(messages=[*HI, said("user", {"type": "text", "text": "a"}, {"type": kind})])

    assert (type(refused), refused.param) == (UnsupportedParameter, "messages.1.content.1.type")
    assert kind in str(refused)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (said("assistant", {"type": "image", "source": PNG}), "messages.0.content.0.type"),
        (said("assistant", {"type": "tool_result", "tool_use_id": "a"}), "messages.0.content.0.type"),
        (said("user", USE), "messages.0.content.0.type"),
        (said("user", thought("a")), "messages.0.content.0.type"),
        (said("system", {"type": "image", "source": PNG}), "messages.0.content.0.type"),
        (said("user", {"type": "text", "text": "a"}, {"type": "text"}), "messages.0.content.1.text"),
        (said("user", {"type": "text", "text": 5}), "messages.0.content.0.text"),
        (said("user", {"type": "text", "text": "a", "other": 5}), "messages.0.content.0.other"),
        (said("user", {"type": "text", "text": "a", "citations": [{}]}), "messages.0.content.0.citations"),
        (said("user", {"type": "text", "text": "a", "cache_control": {}}), "messages.0.content.0.cache_control.type"),
        (said("user", {"text": "a"}), "messages.0.content.0.type"),
        ({"role": "user", "content": ["a"]}, "messages.0.content.0"),
        ({"role": "user", "content": [{"type": ["text"]}]}, "messages.0.content.0.type"),
        ({"role": "user", "content": 5}, "messages.0.content"),
        ({"role": "user"}, "messages.0.content"),
        ({"role": "tool", "content": "a"}, "messages.0.role"),
        ({"role": "user", "content": "a", "name": "ada"}, "messages.0.name"),
        ("hi", "messages.0"),
        (said("assistant", USE | {"input": "{}"}), "messages.0.content.0.input"),
        (said("assistant", USE | {"name": ""}), "messages.0.content.0.name"),
        (said("assistant", USE | {"id": ""}), "messages.0.content.0.id"),
        (said("assistant", USE | {"caller": {"type": "code_execution_20250825"}}), "messages.0.content.0.caller.type"),
        (said("assistant", USE | {"toolset_name": "browser"}), "messages.0.content.0.toolset_name"),
        (said("user", {"type": "tool_result"}), "messages.0.content.0.tool_use_id"),
        (
            said("user", {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_reference"}]}),
            "messages.0.content.0.content.0.type",
        ),
    ],
)
def test_what_is_wrong_in_a_message_is_named_by_its_path(message: Any, param: str) -> None:
    refused = refusal(messages=[message, *HI])

    assert refused.param == param
    assert isinstance(refused, InvalidRequest | UnsupportedParameter)


NO_NUMBERS = ["NaN", "Infinity", "1e999", '"5"', "true", "[]", "{}", '""', "-3"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, "2147483648", "1e300"])
@pytest.mark.parametrize("name", ["max_tokens", "temperature", "top_p", "top_k"])
def test_a_number_that_is_none_or_too_large_is_refused_with_its_field(name: str, value: str) -> None:
    sound = {"max_tokens": "1", name: value}
    fields = ", ".join(f'"{field}": {text}' for field, text in sound.items())
    with pytest.raises(InvalidRequest) as refused:
        parsed(f'{{"messages": {json.dumps(HI)}, {fields}}}')

    assert refused.value.param == name or "is not JSON" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": HI * 4097}, "messages"),
        ({"messages": [{"role": "user", "content": [1] * 4097}]}, "messages.0.content"),
        ({"messages": [said("user", RESULT | {"content": [1] * 4097})]}, "messages.0.content.0.content"),
        ({"system": [1] * 4097}, "system"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
        ({"stop_sequences": ["x" * 257]}, "stop_sequences.0"),
        ({"model": "m" * 257}, "model"),
        ({"metadata": {"user_id": "u" * 513}}, "metadata.user_id"),
        ({"metadata": {"other": "u"}}, "metadata.other"),
        ({"stream": "yes"}, "stream"),
        ({"system": 5}, "system"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"speed": "fast"}, "speed"),
        ({"cache_control": {"type": "forever"}}, "cache_control.type"),
        ({"tools": [WEATHER] * 129}, "tools"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_text_is_counted_in_bytes_and_limited_wherever_it_stands() -> None:
    long = "好" * 334
    assert chat(system="x" * 998)
    for fields in (
        {"system": long},
        {"messages": [{"role": "user", "content": long}]},
        {"messages": [said("assistant", thought(long)), *HI]},
        {"messages": [said("assistant", USE | {"input": {"a": long}}), *HI]},
        {"messages": [said("user", {"type": "tool_result", "tool_use_id": "a", "content": long})]},
        {"tools": [WEATHER | {"description": long}]},
    ):
        with pytest.raises(PayloadTooLarge):
            chat(**fields)


def count(**fields: Any) -> ChatRequest:
    data = json.dumps({"model": "m", "messages": HI, **fields}).encode()
    return body.parse(data, CountBody).to_request("id", "10.0.0.7", LIMIT)


def test_tokens_are_counted_of_the_prompt_that_the_same_message_would_have() -> None:
    fields = {
        "system": "Be kind.",
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 4000},
        "output_config": {"effort": "low"},
        "speed": "standard",
        **CACHED,
    }
    counted, answered = count(**fields), chat(**fields, max_tokens=5000)

    for field in ("model", "messages", "tools", "tool_choice", "parallel_calls", "thinks", "effort"):
        assert getattr(counted, field) == getattr(answered, field)
    assert count(messages=[*HI, {"role": "assistant", "content": "hello"}]).messages[1].text == "hello"


@pytest.mark.parametrize("name", ["max_tokens", "stream", "temperature", "stop_sequences", "metadata", "service_tier"])
def test_what_has_no_prompt_is_not_counted(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        count(**{name: 1})
    assert refused.value.param == name


def test_a_count_byte_for_byte() -> None:
    counted = Counted(Admission("guide", "local", 0, route="alias"), tokens=14, reusable_tokens=3)

    assert json.dumps(count_body(counted), separators=(",", ":")) == (
        '{"input_tokens":14,"edged":{"served_by":"local","model":"guide","route":"alias","reusable_tokens":3}}'
    )


def exchange() -> Exchange:
    made = Exchange("abc", "anthropic", "open", None)
    made.admission = Admission("guide", "local", prompt_tokens=5, route="alias", queue_s=0.25, cached_tokens=2)
    made.completion_tokens, made.reasoning_tokens, made.first_token_s = 3, 1, 0.5
    return made


def answer(*, max_tokens: int | None = 100, shows_thoughts: bool = True) -> AnthropicAnswer:
    return AnthropicAnswer(ChatRequest("abc", max_tokens=max_tokens), shows_thoughts)


def transcript(out: Answer, *events: Event) -> str:
    sent = out.opening(exchange())
    for event in events:
        sent += out.event(exchange(), event, is_last=isinstance(event, Finish))
    return (sent + out.closing(exchange())).decode()


def sse(*lines: tuple[str, str]) -> str:
    return "".join(f'event: {kind}\ndata: {{"type":"{kind}",{rest}}}\n\n' for kind, rest in lines)


EDGED = (
    '"edged":{"served_by":"local","model":"guide","route":"alias","lane":"interactive","attempts":1,'
    '"queue_ms":250.0,"ttft_ms":500.0,"ttft_predicted_ms":null,"cached_tokens":2,"dropped_messages":0}'
)
READ = '"usage":{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":2,'
START = (
    "message_start",
    '"message":{"id":"msg_abc","type":"message","role":"assistant","model":"guide","content":[],"stop_reason":null,'
    '"stop_sequence":null,' + READ + '"output_tokens":0,"output_tokens_details":{"thinking_tokens":0}}}',
)
STOP = ("message_stop", EDGED)


def ended(reason: str) -> tuple[str, str]:
    usage = READ + '"output_tokens":3,"output_tokens_details":{"thinking_tokens":1}}'
    return "message_delta", f'"delta":{{"stop_reason":"{reason}","stop_sequence":null}},{usage}'


def test_a_stream_of_text_byte_for_byte() -> None:
    assert transcript(answer(), Delta(0, "Hé"), Delta(0, ""), Delta(0, '"\n🙂'), Finish(0, "stop", 3)) == sse(
        START,
        ("content_block_start", '"index":0,"content_block":{"type":"text","text":""}'),
        ("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"Hé"}'),
        ("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"\\"\\n🙂"}'),
        ("content_block_stop", '"index":0'),
        ended("end_turn"),
        STOP,
    )


THINKING = ("content_block_start", '"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}')
SIGNED = ("content_block_delta", '"index":0,"delta":{"type":"signature_delta","signature":"edged"}')
TEXT = (
    ("content_block_start", '"index":1,"content_block":{"type":"text","text":""}'),
    ("content_block_delta", '"index":1,"delta":{"type":"text_delta","text":"Hi"}'),
    ("content_block_stop", '"index":1'),
)
THOUGHT_FIRST = (Thought(0, "Hm"), Thought(0, "m."), Delta(0, "Hi"), Finish(0, "length", 100))


def test_a_stream_of_a_thought_and_text_byte_for_byte() -> None:
    assert transcript(answer(), *THOUGHT_FIRST) == sse(
        START,
        THINKING,
        ("content_block_delta", '"index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}'),
        ("content_block_delta", '"index":0,"delta":{"type":"thinking_delta","thinking":"m."}'),
        SIGNED,
        ("content_block_stop", '"index":0'),
        *TEXT,
        ended("max_tokens"),
        STOP,
    )


def test_a_stream_with_a_thought_that_nobody_wants_to_read_byte_for_byte() -> None:
    assert transcript(answer(shows_thoughts=False), *THOUGHT_FIRST) == sse(
        START, THINKING, SIGNED, ("content_block_stop", '"index":0'), *TEXT, ended("max_tokens"), STOP
    )


def test_a_stream_of_two_calls_byte_for_byte() -> None:
    events = (
        Delta(0, "Hi"),
        CallDelta(0, 0, "", "call_1", "weather"),
        CallDelta(0, 0, '{"place":'),
        CallDelta(0, 0, '"Łódź"}'),
        CallDelta(0, 1, "{}", "call_2", "now"),
        Finish(0, "tool_calls", 3),
    )

    assert transcript(answer(), *events) == sse(
        START,
        ("content_block_start", '"index":0,"content_block":{"type":"text","text":""}'),
        ("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"Hi"}'),
        ("content_block_stop", '"index":0'),
        (
            "content_block_start",
            '"index":1,"content_block":{"type":"tool_use","id":"call_1","name":"weather","input":{}}',
        ),
        ("content_block_delta", '"index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"place\\":"}'),
        ("content_block_delta", '"index":1,"delta":{"type":"input_json_delta","partial_json":"\\"Łódź\\"}"}'),
        ("content_block_stop", '"index":1'),
        ("content_block_start", '"index":2,"content_block":{"type":"tool_use","id":"call_2","name":"now","input":{}}'),
        ("content_block_delta", '"index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}'),
        ("content_block_stop", '"index":2'),
        ended("tool_use"),
        STOP,
    )


def test_a_stream_of_nothing_byte_for_byte() -> None:
    assert transcript(answer(), Finish(0, "stop", 1)) == sse(START, ended("end_turn"), STOP)


def test_a_failure_in_a_stream_byte_for_byte() -> None:
    out = answer()
    out.event(exchange(), Delta(0, "Hi"), is_last=False)

    assert out.failure(WorkerCrashed("It died.")).decode() == (
        'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"It died.",'
        '"code":"worker_crashed","src":"edged","retry_after_s":1,"partial":true},"request_id":"abc"}\n\n'
    )


def test_a_heartbeat_byte_for_byte() -> None:
    assert answer().heartbeat == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert answer().content_type == "text/event-stream"


@pytest.mark.parametrize(("drawn", "reason"), [(100, "max_tokens"), (99, "model_context_window_exceeded")])
def test_an_answer_that_was_cut_says_by_what(drawn: int, reason: str) -> None:
    whole = answer().whole(exchange(), [Choice("a", reason="length", completion_tokens=drawn)])

    assert whole["stop_reason"] == reason
    assert f'"stop_reason":"{reason}"' in transcript(answer(), Delta(0, "a"), Finish(0, "length", drawn))


def test_a_whole_answer() -> None:
    calls = [ToolCall("call_1", "weather", '{"place":"Oslo"}'), ToolCall("call_2", "now", "")]
    whole = answer().whole(exchange(), [Choice("Hi", "Hm.", calls, "tool_calls", 3)])

    assert whole == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "guide",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "edged"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"place": "Oslo"}},
            {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        **json.loads("{" + READ + '"output_tokens":3,"output_tokens_details":{"thinking_tokens":1}},' + EDGED + "}"),
    }


def test_a_whole_answer_byte_for_byte() -> None:
    whole = answer(shows_thoughts=False).whole(exchange(), [Choice("Hi", "Hm.")])

    assert json.dumps(whole, separators=(",", ":")) == (
        '{"id":"msg_abc","type":"message","role":"assistant","model":"guide",'
        '"content":[{"type":"thinking","thinking":"","signature":"edged"},{"type":"text","text":"Hi"}],'
        '"stop_reason":"end_turn","stop_sequence":null,'
        + READ
        + '"output_tokens":3,"output_tokens_details":{"thinking_tokens":1}},'
        + EDGED
        + "}"
    )


@pytest.mark.parametrize("arguments", ['{"place":"Os', "[" * 100_000, "[1]", "null"])
def test_a_call_that_was_cut_off_has_no_input_and_says_why(arguments: str) -> None:
    cut = Choice(calls=[ToolCall("call_1", "weather", arguments)], reason="length", completion_tokens=100)
    whole = answer().whole(exchange(), [cut])

    assert (whole["content"][0]["input"], whole["stop_reason"]) == ({}, "max_tokens")


def test_an_answer_that_says_nothing_has_no_blocks() -> None:
    assert answer().whole(exchange(), [Choice()])["content"] == []


def test_what_was_answered_comes_back_as_it_was() -> None:
    call = ToolCall("call_1", "weather", '{"place":"Oslo"}')
    whole = answer().whole(exchange(), [Choice("Hi", "Hm.", [call], "tool_calls", 3)])
    result = said("user", {"type": "tool_result", "tool_use_id": "call_1", "content": "Rain"})

    echoed = chat(messages=[*HI, {"role": "assistant", "content": whole["content"]}, result]).messages[1]
    assert echoed == Message("assistant", (TextPart("Hi"),), "Hm.", (call,))


_PIECES = st.lists(
    st.one_of(
        st.builds(lambda text: Thought(0, text), st.text(min_size=1, max_size=5)),
        st.builds(lambda text: Delta(0, text), st.text(max_size=5)),
        st.sampled_from([(0, "a"), (1, "b")]).map(lambda call: CallDelta(0, call[0], "{}", f"c{call[0]}", call[1])),
    ),
    max_size=12,
)


@given(_PIECES)
def test_one_block_is_open_at_a_time_and_indexes_rise(pieces: list[Event]) -> None:
    out = transcript(answer(), *pieces, Finish(0, "stop", 3))
    bodies = [json.loads(line.removeprefix("data: ")) for line in out.split("\n") if line.startswith("data: ")]
    opened, is_open, text = -1, False, ""
    for made in bodies:
        match made["type"]:
            case "content_block_start":
                assert not is_open
                assert made["index"] == opened + 1
                opened, is_open = made["index"], True
            case "content_block_delta":
                assert (made["index"], is_open) == (opened, True)
                text += made["delta"].get("text", "")
            case "content_block_stop":
                assert (made["index"], is_open) == (opened, True)
                is_open = False
    assert not is_open
    assert [bodies[0]["type"], *(made["type"] for made in bodies[-2:])] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert text == "".join(piece.text for piece in pieces if isinstance(piece, Delta))


def test_a_refusal_in_anthropics_shape() -> None:
    refused = refusal(messages=[{"role": "user", "content": [{"type": "text"}]}])

    assert error_body(refused, dialect_of("/v1/messages/count_tokens"), "abc") == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": 'messages.0.content.0.text: Field required (got {"type": "text"}).',
            "param": "messages.0.content.0.text",
            "code": "invalid_request",
            "src": "edged",
        },
        "request_id": "abc",
    }
    assert anthropic_body(QueueFull("Full."))["error"]["type"] == "overloaded_error"
    assert anthropic_body(PayloadTooLarge("Long."))["error"]["type"] == "request_too_large"


def test_a_prompt_that_is_too_long_is_refused_in_the_words_that_programs_look_for() -> None:
    message = anthropic_body(ContextLengthExceeded(9000, 8192))["error"]["message"]

    assert message.startswith("prompt is too long: 9000 tokens > 8192 maximum. The prompt has 9000 tokens")


def test_a_conversation_that_the_server_shall_keep_is_refused_in_the_word_that_the_client_goes_on_without() -> None:
    """The official client's tool runner asks for it first, and sends the whole conversation after this error."""
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        with pytest.raises(UnsupportedParameter) as refused:
            asked(thread=thread)
        error = anthropic_body(refused.value)["error"]
        assert error["details"] == {"error_code": "thread_unsupported_request"}
        assert (error["type"], error["param"]) == ("invalid_request_error", "thread")
    with pytest.raises(UnsupportedParameter) as other:
        asked(container="x")
    assert "details" not in anthropic_body(other.value)["error"]


def test_models_in_anthropics_shape() -> None:
    card = ModelCard("m", "local", 5, 1_690_000_000, 4096, True, abilities=("completion", "chat", "reasoning"))
    unsaid: dict[str, Any] = dict.fromkeys(
        ("architecture", "parameters", "size_label", "quantization", "license", "problem", "quarantine")
    )
    unsaid |= {"languages": [], "base_models": []}
    model = models_body([card])["data"][0]
    told = ModelInfo.model_validate(model)

    assert told.capabilities is not None
    assert told.capabilities.thinking.supported
    assert told.capabilities.thinking.types.disabled.supported
    assert not told.capabilities.image_input.supported
    assert not told.capabilities.server_tools.web_search.supported
    assert is_meant({"anthropic-version": "2023-06-01"})
    assert not is_meant({})
    assert models_body([card]) == {
        "data": [
            {
                "capabilities": model["capabilities"],
                "type": "model",
                "id": "m",
                "display_name": "m",
                "created_at": "2023-07-22T04:26:40Z",
                "lifecycle": "active",
                "max_input_tokens": 4096,
                "max_tokens": 4096,
                "edged": {
                    "origin": "local",
                    "context_tokens": 4096,
                    "longest_context_tokens": None,
                    "size_bytes": 5,
                    "resident": True,
                    "made_for": "words",
                    "capabilities": ["completion", "chat", "reasoning"],
                    "quarantine": None,
                }
                | unsaid,
            }
        ],
        "has_more": False,
        "first_id": "m",
        "last_id": "m",
    }
    assert models_body([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_a_number_that_json_cannot_say_again_is_the_largest_that_it_can() -> None:
    whole = AnthropicAnswer(ChatRequest("abc")).whole(exchange(), [Choice(calls=[ToolCall("c", "f", '{"x":-1e999}')])])

    assert json.loads(json.dumps(whole, allow_nan=False))["content"][0]["input"] == {"x": -sys.float_info.max}
