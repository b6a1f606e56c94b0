"""OpenAI's Responses API, both ways: every documented field, every kind of item, and every byte that goes out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai._streaming import SSEDecoder
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from pydantic import TypeAdapter

from edged.api import body
from edged.api.answer import Choice
from edged.api.responses import ResponsesBody
from edged.api.responses_answer import ResponsesAnswer
from edged.chat import ChatRequest, ImagePart, Message, TextPart, Tool, ToolCall, ToolChoice
from edged.completion import Admission, CallDelta, Candidate, Delta, Event, Finish, Thought, TokenLogprob
from edged.errors import (
    InvalidRequest,
    ModelLoading,
    PayloadTooLarge,
    RateLimited,
    RequestError,
    UnsupportedParameter,
    WorkerCrashed,
)
from edged.observe import Exchange
from edged.sampling import Sampling

LIMIT = 1000
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER = {"type": "function", "name": "weather", "description": "?", "parameters": {"type": "object"}, "strict": False}
SCHEMA = {"type": "object", "properties": {"a": {"const": None}}}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def asked(**fields: Any) -> ResponsesBody:
    return body.parse(json.dumps({"input": "hi", **fields}).encode(), ResponsesBody)


def request(**fields: Any) -> ChatRequest:
    return asked(**fields).to_request("id", "10.0.0.7", LIMIT)


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        request(**fields)
    return refused.value


def said(*items: dict[str, Any]) -> tuple[Message, ...]:
    return request(input=list(items)).messages


def message(role: Any, text: str) -> Message:
    return Message(role, (TextPart(text),))


# Each documented field with a value that is honoured, and what of the request it becomes.
HONOURED: dict[str, tuple[Any, dict[str, Any]]] = {
    "input": ("hello", {"messages": (message("user", "hello"),)}),
    "instructions": ("Be brief.", {"messages": (message("system", "Be brief."), message("user", "hi"))}),
    "model": ("m", {"model": "m"}),
    "max_output_tokens": (5, {"max_tokens": 5}),
    "temperature": (0.5, {"sampling": Sampling(temperature=0.5)}),
    "top_p": (0.5, {"sampling": Sampling(top_p=0.5)}),
    "parallel_tool_calls": (False, {"parallel_calls": False}),
    "reasoning": ({"effort": "low"}, {"thinks": True, "effort": "low"}),
    "truncation": ("auto", {"overflow": "drop"}),
    "service_tier": ("flex", {"lane": "background"}),
    "tools": ([WEATHER], {"tools": (Tool("weather", "?", '{"type":"object"}', False),)}),
    "tool_choice": ("none", {"tool_choice": ToolChoice("none")}),
    "include": (["message.output_text.logprobs"], {"logprobs": 0}),
}
# Honoured where the answer is made, not in the request; asserted further down.
ELSEWHERE = {"stream": True, "top_logprobs": 0, "metadata": {"k": "v"}, "prompt_cache_key": "k"}
# They ask for what happens anyway, each in the value named.
AS_IT_IS = {"store": False, "background": False, "max_tool_calls": 3, "stream_options": {"include_obfuscation": False}}
REFUSED = {
    "access_programs": {"cyber": "standard"},
    "background_options": {},
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "image": {"context_compression": "auto"},
    "moderation": {"model": "m"},
    "previous_response_id": "resp_1",
    "prompt": {"id": "pmpt_1"},
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
}


def test_every_documented_field_is_honoured_or_refused() -> None:
    documented = set(ResponseCreateParamsBase.__annotations__) | {"stream"}

    assert documented == {*HONOURED, *ELSEWHERE, *AS_IT_IS, *REFUSED, "text", "user", "safety_identifier"}


@pytest.mark.parametrize("name", HONOURED)
def test_a_field_is_honoured(name: str) -> None:
    value, expected = HONOURED[name]
    wanted = request(**{name: value})

    assert {field: getattr(wanted, field) for field in expected} == expected
    assert wanted != request()


@pytest.mark.parametrize("name", [*ELSEWHERE, *AS_IT_IS])
def test_a_field_that_asks_for_what_happens_anyway_is_taken(name: str) -> None:
    assert request(**{name: (ELSEWHERE | AS_IT_IS)[name]}) == request()


@pytest.mark.parametrize("name", [*REFUSED, "seed", "messages", "no_such_field"])
def test_a_field_that_is_not_honoured_is_refused_by_name(name: str) -> None:
    refused = refusal(**{name: REFUSED.get(name, "x")})

    assert isinstance(refused, UnsupportedParameter)
    assert refused.param == name
    assert name in str(refused)


def test_codex_says_which_installation_asks() -> None:
    metadata = {"x-codex-installation-id": "11111111", "x-codex-window-id": "1:0"}

    assert request(client_metadata=metadata).caller.user == "11111111"
    assert request(client_metadata=metadata, user="ada").caller.user == "ada"
    assert refusal(client_metadata={"a": 1}).param == "client_metadata.a"


def test_a_function_in_a_namespace_has_both_names_for_the_model() -> None:
    inner = WEATHER | {"parameters": SCHEMA}
    (tool,) = request(tools=[{"type": "namespace", "name": "home", "description": "At home.", "tools": [inner]}]).tools
    call = {"type": "function_call", "call_id": "c", "namespace": "home", "name": "weather", "arguments": "{}"}
    (spoken,) = said(call)

    assert (tool.name, tool.description, json.loads(tool.parameters)) == ("home__weather", "At home.\n?", SCHEMA)
    assert not tool.is_strict
    assert spoken.calls == (ToolCall("c", "home__weather", "{}"),)


def test_a_call_of_a_function_in_a_namespace_says_so() -> None:
    asks = asked(tools=[{"type": "namespace", "name": "home", "description": "", "tools": [WEATHER]}, WEATHER])
    answer = ResponsesAnswer(asks.to_request("id", "", LIMIT), asks.settings(), namespaces=asks.namespaces, created_s=7)
    calls = CallDelta(0, 0, "{}", "c", "home__weather"), CallDelta(0, 1, "", "d", "weather")
    told = transcript(answer, *calls, Finish(0, "tool_calls", 3))

    assert '"name":"weather","arguments":"{}","namespace":"home"' in told
    assert "home__weather" not in told
    assert '"call_id":"d","name":"weather","arguments":""}' in told


def test_a_search_that_must_not_leave_for_the_net_is_never_made() -> None:
    search = {"type": "web_search", "external_web_access": False}

    assert request(tools=[WEATHER, search]).tools == request(tools=[WEATHER]).tools
    assert refusal(tools=[search], tool_choice="required").param == "tool_choice"
    assert refusal(tools=[search | {"external_web_access": True}]).param == "tools.0"
    assert refusal(tools=[search | {"filters": {"allowed_domains": ["a"]}}]).param == "tools.0.search.filters"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"reasoning": {"generate_summary": "auto"}}, "reasoning.generate_summary"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "tools.0.function.defer_loading"),
        ({"tools": [WEATHER | {"output_schema": {}}]}, "tools.0.function.output_schema"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "time"}}, "tool_choice"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": None}, "input"),
        ({"input": "x" * (LIMIT + 1)}, None),
        ({"instructions": "x" * LIMIT}, None),
    ],
)
def test_a_value_that_is_not_honoured_is_refused_with_its_field(fields: dict[str, Any], param: str | None) -> None:
    refused = refusal(**fields)

    assert isinstance(refused, PayloadTooLarge) if param is None else (refused.param or "").startswith(param)


def test_what_is_stored_elsewhere_is_refused_in_words() -> None:
    assert "send the whole conversation" in str(refusal(previous_response_id="resp_1"))
    assert "nothing is stored here" in str(refusal(store=True))
    assert "'web_search'" in str(refusal(tools=[{"type": "web_search"}]))
    assert "'allowed_tools'" in str(refusal(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": []}))


def test_who_asks_divides_the_share_of_the_address() -> None:
    assert request(user="u").caller.lane_path == ("open", "10.0.0.7", "u")
    assert request(user="u", safety_identifier="s").caller.user == "s"
    assert request(metadata={"user_id": "m"}).caller.user == "m"


def test_efforts() -> None:
    for effort, thinks, degree in (("none", False, None), ("minimal", False, None), ("max", True, "high")):
        wanted = request(reasoning={"effort": effort, "summary": "auto"})
        assert (wanted.thinks, wanted.effort) == (thinks, degree)
    assert (request().thinks, request().effort) == (None, None)


def test_formats() -> None:
    strict = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    wanted = [
        request(text={"format": format}).constraint
        for format in ({"type": "text"}, {"type": "json_object"}, strict, strict | {"strict": None})
    ]

    assert wanted[0] is None is request(text={}).constraint
    assert [(one.kind, one.text, one.is_lenient) for one in wanted[1:] if one] == [
        ("json_schema", '{"type":"object"}', False),
        ("json_schema", '{"type":"object","properties":{"a":{"const":null}}}', False),
        ("json_schema", '{"type":"object","properties":{"a":{"const":null}}}', True),
    ]


def test_tools_are_strict_where_nothing_is_said() -> None:
    (tool,) = request(tools=[{"type": "function", "name": "now"}]).tools

    assert tool == Tool("now", "", '{"type":"object","properties":{}}', True)
    assert request(tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}).tool_choice == ToolChoice(
        "required", "weather"
    )


def test_a_title_is_recognised_as_in_a_chat() -> None:
    ask = "Give this conversation a title without punctuation."
    items = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", ask))]

    assert request(input=items).lane == "background"
    assert request(input=items, stream=True).lane == "interactive"
    assert request(input=[*items[:2], {"role": "developer", "content": "Go on."}]).lane == "interactive"


def test_messages_easy_and_whole() -> None:
    assert said(
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}], "status": "completed"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "Hel", "annotations": [], "logprobs": [{"token": "Hel"}]},
            {"type": "refusal", "refusal": "lo"},
        ]},
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "auto"}]},
    ) == (
        message("system", "Be brief."),
        message("user", "hi"),
        Message("assistant", (TextPart("Hel"), TextPart("lo"))),
        Message("user", (ImagePart("image/png", b"\x89PNG"),)),
    )  # fmt: skip


def test_what_a_model_said_in_a_row_is_one_turn() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Bonn"}', "id": "fc_1"}

    assert said(
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Look."}]},
        {"role": "assistant", "content": "A moment."},
        call,
        call | {"call_id": "c2", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "Sun."},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "Rain."}]},
        {"role": "assistant", "content": "Both."},
    ) == (
        message("user", "Weather?"),
        Message(
            "assistant",
            (TextPart("A moment."),),
            "Look.",
            (ToolCall("c1", "weather", '{"city":"Bonn"}'), ToolCall("c2", "weather", "{}")),
        ),
        Message("tool", (TextPart("Sun."),), call_id="c1"),
        Message("tool", (TextPart("Rain."),), call_id="c2"),
        message("assistant", "Both."),
    )


@pytest.mark.parametrize(
    ("item", "param", "words"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input.0", "item_reference"),
        ({"id": "msg_1"}, "input.0", "item_reference"),
        ({"type": "web_search_call", "id": "ws_1", "status": "completed"}, "input.0", "web_search_call"),
        ({"type": "compaction", "encrypted_content": "x"}, "input.0", "compaction"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input.0.content.0", "input_file"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "input.0.content.0", "input_audio"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input.0.message.content.0", ""),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "http:"}]}, "input.0.content.0", "data:"),
        ({"role": "user", "content": 5}, "input.0.message.content", ""),
        ({"role": "robot", "content": "x"}, "input.0.message.role", ""),
        ({"role": "user", "content": "x", "phase": "commentary"}, "input.0.message.phase", "phase"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "["}, "input.0.arguments", "JSON"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input.0.function_call.call_id", ""),
        ({"type": "function_call_output", "output": "x"}, "input.0.function_call_output.call_id", ""),
        ({"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}, "input.0.encrypted_content", "elsewhere"),
        ({"type": "reasoning", "encrypted_content": "edged:##"}, "input.0.encrypted_content", ""),
        (5, "input.0", ""),
    ],
)  # fmt: skip
def test_an_item_that_is_not_honoured_is_refused_with_its_place(item: Any, param: str, words: str) -> None:
    refused = refusal(input=[item])

    assert (refused.param or "").startswith(param)
    assert words in str(refused)


def test_a_thought_counts_in_full_where_it_is_there() -> None:
    text, sums = [{"type": "reasoning_text", "text": "all"}], [{"type": "summary_text", "text": "gist"}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": sums}

    assert [one.thought for one in said(thought)] == ["gist"]
    assert [one.thought for one in said(thought | {"encrypted_content": ""})] == ["gist"]
    assert [one.thought for one in said(thought | {"content": text, "encrypted_content": "gAAAA"})] == ["all"]
    assert [one.thought for one in said(thought, thought)] == ["gist\n\ngist"]


def exchange() -> Exchange:
    made = Exchange("abc", "openai", "open", None)
    made.admission = Admission("guide", "local", prompt_tokens=5, route="default", queue_s=0.25, cached_tokens=2)
    made.completion_tokens, made.reasoning_tokens, made.first_token_s, made.duration_s = 3, 1, 0.5, 2.5
    return made


def answering(**fields: Any) -> ResponsesAnswer:
    asks = asked(**fields)
    wanted = asks.to_request("abc", "", LIMIT)
    return ResponsesAnswer(wanted, asks.settings(), asks.sums_up, asks.carries_thoughts, created_s=7)


def transcript(answer: ResponsesAnswer, *events: Event) -> str:
    sent = answer.opening(exchange())
    for event in events:
        sent += answer.event(exchange(), event, is_last=isinstance(event, Finish))
    return (sent + answer.closing(exchange())).decode()


def told_to_the_official_client(sent: str) -> list[Any]:
    """Every event checked against the client's types, then taken in as its own stream does it."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    made: list[Any] = []
    for number, line in enumerate(SSEDecoder().iter_bytes(iter([sent.encode()]))):
        event = EVENT.validate_python(line.json())
        assert (event.type, event.sequence_number) == (line.event, number)
        made += state.handle_event(event)
    return made


def body_of(status: str, output: str = "", *, settings: str = "", **changed: str) -> str:
    fields = {"completed_at": "null", "error": "null", "incomplete_details": "null", "usage": "null"} | changed
    default = (
        '"instructions":null,"metadata":{},"max_output_tokens":null,"max_tool_calls":null,"parallel_tool_calls":true,'
        '"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},'
        '"safety_identifier":null,"store":false,"background":false,"temperature":null,"text":{"format":{"type":"text"}},'
        '"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":null,"truncation":"disabled","user":null'
    )
    return (
        f'{{"id":"resp_abc","object":"response","created_at":7,"completed_at":{fields["completed_at"]},'
        f'"status":"{status}","error":{fields["error"]},"incomplete_details":{fields["incomplete_details"]},'
        f'"model":"guide","output":[{output}],"usage":{fields["usage"]},"service_tier":"default",{settings or default}'
    )


def events(*told: str) -> str:
    """Events as they are sent; each is its name, a blank, and the fields behind type and number."""
    lines = [line.partition(" ") for line in told]
    return "".join(
        f'event: {name}\ndata: {{"type":"{name}","sequence_number":{number},{fields}}}\n\n'
        for number, (name, _, fields) in enumerate(lines)
    )


EDGED = (
    '"edged":{"served_by":"local","model":"guide","route":"default","lane":"interactive","attempts":1,'
    '"queue_ms":250.0,"ttft_ms":500.0,"ttft_predicted_ms":null,"cached_tokens":2,"dropped_messages":0'
)
USAGE = (
    '{"input_tokens":5,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":3},'
    '"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":8}'
)
BEGUN = [f'response.{name} "response":{body_of("in_progress")}}}' for name in ("created", "in_progress")]


def text_item(index: int, status: str, text: str | None = None) -> str:
    part = "" if text is None else f'{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}'
    return f'{{"id":"msg_abc_{index}","type":"message","status":"{status}","role":"assistant","content":[{part}]}}'


def text_events(index: int, *pieces: str, status: str = "completed") -> list[str]:
    place = f'"item_id":"msg_abc_{index}","output_index":{index},"content_index":0'
    part, text = '{"type":"output_text","text":"%s","annotations":[],"logprobs":[]}', "".join(pieces)
    return [
        f'response.output_item.added "output_index":{index},"item":{text_item(index, "in_progress")}',
        f'response.content_part.added {place},"part":{part % ""}',
        *(f'response.output_text.delta {place},"delta":"{piece}","logprobs":[]' for piece in pieces),
        f'response.output_text.done {place},"text":"{text}","logprobs":[]',
        f'response.content_part.done {place},"part":{part % text}',
        f'response.output_item.done "output_index":{index},"item":{text_item(index, status, text)}',
    ]


def test_a_stream_byte_for_byte() -> None:
    sent = transcript(answering(), Delta(0, "Hé"), Delta(0, "🙂"), Finish(0, "stop", 3))
    end = body_of("completed", text_item(0, "completed", "Hé🙂"), usage=USAGE, completed_at="9")

    assert sent == events(*BEGUN, *text_events(0, "Hé", "🙂"), f'response.completed "response":{end},{EDGED}}}}}')
    completed = told_to_the_official_client(sent)[-1]
    assert (completed.response.output_text, completed.response.usage.total_tokens) == ("Hé🙂", 8)


def test_a_stream_that_was_cut_off_byte_for_byte() -> None:
    sent = transcript(answering(), Delta(0, "Hi"), Finish(0, "length", 3))
    details = '{"reason":"max_output_tokens"}'
    end = body_of("incomplete", text_item(0, "incomplete", "Hi"), usage=USAGE, incomplete_details=details)

    assert sent == events(
        *BEGUN, *text_events(0, "Hi", status="incomplete"), f'response.incomplete "response":{end},{EDGED}}}}}'
    )
    assert told_to_the_official_client(sent)[-1].response.incomplete_details.reason == "max_output_tokens"


def test_an_answer_without_a_word_is_an_empty_text_byte_for_byte() -> None:
    sent = transcript(answering(), Finish(0, "stop", 1))
    end = body_of("completed", text_item(0, "completed", ""), usage=USAGE, completed_at="9")

    assert sent == events(*BEGUN, *text_events(0), f'response.completed "response":{end},{EDGED}}}}}')
    assert told_to_the_official_client(sent)[-1].response.output_text == ""


def test_a_thought_a_text_and_two_calls_byte_for_byte() -> None:
    sent = transcript(
        answering(),
        Thought(0, "H"),
        Thought(0, "m"),
        Delta(0, "Look:"),
        CallDelta(0, 0, "", "c1", "weather"),
        CallDelta(0, 0, '{"a":'),
        CallDelta(0, 0, "1}"),
        CallDelta(0, 1, "{}", "c2", "now"),
        Finish(0, "tool_calls", 9),
    )
    thought = '{"id":"rs_abc_0","type":"reasoning","status":"%s","content":[%s],"summary":[]}'
    hm, place = '{"type":"reasoning_text","text":"Hm"}', '"item_id":"rs_abc_0","output_index":0,"content_index":0'
    call = '{"id":"fc_abc_%s","type":"function_call","status":"%s","call_id":"%s","name":"%s","arguments":"%s"}'
    first, other = '"item_id":"fc_abc_2","output_index":2', '"item_id":"fc_abc_3","output_index":3'
    done = [
        thought % ("completed", hm),
        text_item(1, "completed", "Look:"),
        call % (2, "completed", "c1", "weather", '{\\"a\\":1}'),
        call % (3, "completed", "c2", "now", "{}"),
    ]
    end = body_of("completed", ",".join(done), usage=USAGE, completed_at="9")

    assert sent == events(
        *BEGUN,
        f'response.output_item.added "output_index":0,"item":{thought % ("in_progress", "")}',
        f'response.content_part.added {place},"part":{{"type":"reasoning_text","text":""}}',
        f'response.reasoning_text.delta {place},"delta":"H"',
        f'response.reasoning_text.delta {place},"delta":"m"',
        f'response.reasoning_text.done {place},"text":"Hm"',
        f'response.content_part.done {place},"part":{hm}',
        f'response.output_item.done "output_index":0,"item":{done[0]}',
        *text_events(1, "Look:"),
        f'response.output_item.added "output_index":2,"item":{call % (2, "in_progress", "c1", "weather", "")}',
        f'response.function_call_arguments.delta {first},"delta":"{{\\"a\\":"',
        f'response.function_call_arguments.delta {first},"delta":"1}}"',
        f'response.function_call_arguments.done {first},"arguments":"{{\\"a\\":1}}"',
        f'response.output_item.done "output_index":2,"item":{done[2]}',
        f'response.output_item.added "output_index":3,"item":{call % (3, "in_progress", "c2", "now", "")}',
        f'response.function_call_arguments.delta {other},"delta":"{{}}"',
        f'response.function_call_arguments.done {other},"arguments":"{{}}"',
        f'response.output_item.done "output_index":3,"item":{done[3]}',
        f'response.completed "response":{end},{EDGED}}}}}',
    )
    output = told_to_the_official_client(sent)[-1].response.output
    assert [item.type for item in output] == ["reasoning", "message", "function_call", "function_call"]


def test_a_thought_as_a_summary_byte_for_byte() -> None:
    answer = answering(reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    sent = transcript(answer, Thought(0, "Hm"), Delta(0, "Hi"), Finish(0, "stop", 9))
    place, part = '"item_id":"rs_abc_0","output_index":0,"summary_index":0', '{"type":"summary_text","text":"%s"}'
    item = '{"id":"rs_abc_0","type":"reasoning","status":"%s","summary":[%s],"content":[]%s}'

    told = sent.split("\n\n")[2:8]
    assert "\n\n".join(told) + "\n\n" == events(
        "", "",
        f'response.output_item.added "output_index":0,"item":{item % ("in_progress", "", "")}',
        f'response.reasoning_summary_part.added {place},"part":{part % ""}',
        f'response.reasoning_summary_text.delta {place},"delta":"Hm"',
        f'response.reasoning_summary_text.done {place},"text":"Hm"',
        f'response.reasoning_summary_part.done {place},"part":{part % "Hm"}',
        'response.output_item.done "output_index":0,"item":'
        + item % ("completed", part % "Hm", ',"encrypted_content":"edged:SG0="'),
    ).split("\n\n", 2)[2]  # fmt: skip
    assert told_to_the_official_client(sent)[-1].response.output[0].summary[0].text == "Hm"


def test_log_probabilities_are_told_where_they_were_asked_for() -> None:
    answer = answering(include=["message.output_text.logprobs"], top_logprobs=1)
    scores = (TokenLogprob(b"Hi", -0.5, (Candidate(b"Hi", -0.5),)),)
    sent = transcript(answer, Delta(0, "Hi", 1, scores), Finish(0, "stop", 1))
    token = '"token":"Hi","logprob":-0.5,"bytes":[72,105]'
    told = f'[{{{token},"top_logprobs":[{{{token}}}]}}]'

    assert f'"delta":"Hi","logprobs":{told}' in sent
    (text,) = told_to_the_official_client(sent)[-1].response.output[0].content
    assert [(one.token, one.bytes, one.top_logprobs[0].logprob) for one in text.logprobs] == [("Hi", [72, 105], -0.5)]


def test_a_failure_in_a_stream_byte_for_byte() -> None:
    answer = answering()
    begun = answer.opening(exchange()) + answer.event(exchange(), Delta(0, "Hi"), is_last=False)
    sent = (begun + answer.failure(WorkerCrashed("It died."))).decode()
    error = (
        '{"message":"It died.","type":"server_error","param":null,"code":"worker_crashed",'
        '"src":"edged","retry_after_s":1}'
    )
    failed = '{"code":"server_error","message":"It died."}'
    end = body_of("failed", text_item(0, "incomplete", "Hi"), usage=USAGE, error=failed)

    assert sent == events(
        *BEGUN, *text_events(0, "Hi")[:3], f'response.failed "response":{end},{EDGED},"error":{error}}}}}'
    )
    assert told_to_the_official_client(sent)[-1].response.error.code == "server_error"


def test_a_failure_before_the_first_event_byte_for_byte() -> None:
    sent = answering().failure(RateLimited("Others wait too.")).decode()
    told = '"code":"rate_limited","message":"Others wait too.","param":null'
    nested = (
        '"message":"Others wait too.","type":"rate_limit_error","param":null,"code":"rate_limited",'
        '"src":"edged","retry_after_s":1'
    )

    assert sent == events(f'error {told},"error":{{{nested}}}')
    EVENT.validate_python(json.loads(sent.partition("data: ")[2]))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("x"), "rate_limit_exceeded"),
        (InvalidRequest("x"), "invalid_prompt"),
        (ModelLoading("x", progress=0.5, retry_after_s=3), "server_error"),
    ],
)
def test_a_failed_response_has_a_code_that_the_official_client_knows(error: Any, code: str) -> None:
    answer = answering()
    sent = (answer.opening(exchange()) + answer.failure(error)).decode()

    assert told_to_the_official_client(sent)[-1].response.error.code == code


def test_a_whole_answer_is_what_the_stream_ends_with() -> None:
    told: list[Event] = [Thought(0, "Hm"), Delta(0, "Hi"), CallDelta(0, 0, "{}", "c", "f"), Finish(0, "tool_calls", 3)]
    choice = Choice()
    for event in told:
        choice.add(event)
    whole = answering(tools=[WEATHER]).whole(exchange(), [choice])

    last = transcript(answering(tools=[WEATHER]), *told).rpartition("data: ")[2]
    assert whole == json.loads(last)["response"]
    assert Response.model_validate(whole).output_text == "Hi"


@pytest.mark.parametrize(
    ("choice", "kinds", "status"),
    [
        (Choice(), ["message"], "completed"),
        (Choice(thought="Hm", reason="length"), ["reasoning"], "incomplete"),
        (Choice(calls=[ToolCall("c", "f", "{}")], reason="tool_calls"), ["function_call"], "completed"),
        (Choice("Hi", "Hm", reason="length"), ["reasoning", "message"], "incomplete"),
    ],
)
def test_a_whole_answer_has_an_item_for_each_thing_said(choice: Choice, kinds: list[str], status: str) -> None:
    whole = Response.model_validate(answering().whole(exchange(), [choice]))

    assert [item.type for item in whole.output] == kinds
    assert (whole.status, getattr(whole.output[-1], "status", None)) == (status, status)


def test_the_answer_repeats_what_was_asked_for() -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "metadata": {"k": "v"},
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "parallel_tool_calls": False,
        "prompt_cache_key": "p",
        "reasoning": {"effort": "low", "summary": "detailed"},
        "safety_identifier": "s",
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": [WEATHER],
        "top_logprobs": 0,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "u",
    }
    whole = answering(**fields).whole(exchange(), [Choice("Hi")])

    assert {name: whole[name] for name in fields} == fields
    assert Response.model_validate(whole).store is False  # type: ignore[attr-defined]


def test_the_tier_is_the_one_that_served() -> None:
    background = exchange()
    background.lane = "background"

    assert answering().whole(background, [Choice("Hi")])["service_tier"] == "flex"
    assert answering().whole(exchange(), [Choice("Hi")])["service_tier"] == "default"


def pieces_of(parts: list[tuple[str, list[str]]]) -> list[Event]:
    """Thoughts, texts and calls in any order and number of pieces, each call with a number of its own."""
    made: list[Event] = []
    for number, (kind, texts) in enumerate(parts):
        calls = len({event.index for event in made if isinstance(event, CallDelta)})
        if kind == "call":
            made.append(CallDelta(0, calls, "", f"c{number}", "f"))
            made += [CallDelta(0, calls, text) for text in texts]
        else:
            made += [Thought(0, text) if kind == "thought" else Delta(0, text) for text in texts]
    return made


PIECES = st.lists(
    st.tuples(st.sampled_from(["thought", "text", "call"]), st.lists(st.text(min_size=1), min_size=1, max_size=3)),
    max_size=5,
).map(pieces_of)


@given(PIECES, st.sampled_from(["stop", "length"]), st.booleans())
def test_the_official_client_follows_any_stream(pieces: list[Event], reason: Any, sums_up: bool) -> None:
    fields = {"reasoning": {"summary": "auto"}} if sums_up else {}
    sent = transcript(answering(**fields), *pieces, Finish(0, reason, 1))

    *_, last = told_to_the_official_client(sent)
    assert last.response.output_text == "".join(piece.text for piece in pieces if isinstance(piece, Delta))


@given(st.text(min_size=1), st.booleans(), st.booleans())
def test_an_answer_comes_back_as_what_was_said(thought: str, sums_up: bool, carried: bool) -> None:
    fields: dict[str, Any] = {"reasoning": {"summary": "auto"}} if sums_up else {}
    fields["include"] = ["reasoning.encrypted_content"] if carried else []
    choice = Choice("Hi", thought, [ToolCall("c", "f", "{}")])
    output = answering(**fields).whole(exchange(), [choice])["output"]
    if carried:
        output[0] |= {"summary": [], "content": []}  # as clients send it that look at nothing else

    assert said(*output) == (Message("assistant", (TextPart("Hi"),), thought, tuple(choice.calls)),)
