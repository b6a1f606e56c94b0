"""The Ollama dialect, both ways: what is taken, what is refused by name, and every byte that goes out."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.api import body
from edged.api.answer import Choice
from edged.api.keep_alive import keep_alive_s
from edged.api.ollama import ChatBody, GenerateBody
from edged.api.ollama_answer import OllamaAnswer, memory_body
from edged.chat import ChatRequest, ImagePart, Message, Part, TextPart, Tool, ToolCall
from edged.completion import Admission, CallDelta, Candidate, Delta, Event, Finish, Thought, TokenLogprob
from edged.errors import InvalidRequest, PayloadTooLarge, RequestError, UnsupportedParameter, WorkerCrashed
from edged.observe import Exchange
from edged.sampling import Constraint, Mirostat, Sampling

HI = [{"role": "user", "content": "hi"}]
LIMIT = 1000
PNG = b"\x89PNG\r\n\x1a\n..."


def chat(**fields: Any) -> ChatRequest:
    data = json.dumps({"messages": HI, **fields}).encode()
    return body.parse(data, ChatBody).to_request("id", "10.0.0.7", LIMIT)


def generate(**fields: Any) -> ChatRequest:
    data = json.dumps({"prompt": "Why?", **fields}).encode()
    return body.parse(data, GenerateBody).to_request("id", "10.0.0.7", LIMIT)


def refusal(fields: dict[str, Any], model: type[ChatBody] | type[GenerateBody] = ChatBody) -> RequestError:
    asked = {"messages": HI} if model is ChatBody else {"prompt": "Why?"}
    with pytest.raises(RequestError) as refused:
        body.parse(json.dumps(asked | fields).encode(), model).to_request("id", "", LIMIT)
    return refused.value


def test_every_option_that_has_a_meaning_here_is_honoured() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "frequency_penalty": -0.5,
        "presence_penalty": 0.5,
        "seed": 42,
        "typical_p": 0.7,
    }
    rest = {"num_predict": 5, "stop": ["a", "b"], "num_ctx": 8192}

    for wanted in (chat(options=options | rest), generate(options=options | rest)):
        assert wanted.sampling == Sampling(**options)  # type: ignore[arg-type]
        assert (wanted.max_tokens, wanted.stop) == (5, ("a", "b"))
    assert chat().sampling == Sampling()
    assert chat(options={"stop": "x"}).stop == ("x",)
    assert chat(options={"repeat_last_n": -1}).sampling == Sampling(repeat_window_tokens=-1)


def test_whole_numbers_may_come_as_home_assistants_floats() -> None:
    assert chat(options={"num_ctx": 8192.0, "top_k": 40.0, "seed": 7.0, "num_predict": 9.0}).max_tokens == 9
    assert refusal({"options": {"num_ctx": 8192.5}}).param == "options.num_ctx"


@pytest.mark.parametrize(("asked", "most"), [(-1, None), (-2, 2**31 - 1), (1, 1)])
def test_an_answer_is_as_long_as_the_device_the_context_or_the_caller_allows(asked: int, most: int | None) -> None:
    assert chat(options={"num_predict": asked}).max_tokens == most
    assert chat().max_tokens is None


@pytest.mark.parametrize("seed", [-2, -(2**63), 2**63 - 1, 2**32 - 1, 0])
def test_a_seed_never_means_a_random_one_but_for_ollamas_own_mark(seed: int) -> None:
    fitted = chat(options={"seed": seed}).sampling.seed

    assert fitted is not None
    assert 0 <= fitted < 2**32 - 1
    assert chat(options={"seed": -1}).sampling.seed is None


@pytest.mark.parametrize("name", [
    "numa", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap",
    "embedding_only", "num_thread", "draft_num_predict", "num_keep", "penalize_newline",
])  # fmt: skip
def test_where_and_how_a_model_runs_is_the_owners(name: str) -> None:
    refused = refusal({"options": {name: 1}})

    assert isinstance(refused, UnsupportedParameter)
    assert refused.param == f"options.{name}"


def test_a_thought_may_be_a_message_of_its_own() -> None:
    thought, said = {"role": "thinking", "content": "Hm."}, {"role": "assistant", "content": "Yes."}

    def told(*messages: dict[str, str]) -> list[tuple[str, str, str]]:
        asked = chat(messages=[*HI, *messages, *HI])
        return [(message.role, message.thought, message.text) for message in asked.messages[1:-1]]

    assert told(thought, said) == [("assistant", "Hm.", "Yes.")]
    assert told(thought, thought, said) == [("assistant", "Hm.Hm.", "Yes.")]
    assert told(thought) == [("assistant", "Hm.", "")]
    assert told(said, said) == [("assistant", "", "Yes."), ("assistant", "", "Yes.")]


def test_what_is_said_beside_the_options_goes_before_them() -> None:
    beside = {"temperature": 0.5, "top_p": 0.25, "max_output_tokens": 7}
    asked = chat(**beside, options={"temperature": 1.0, "top_k": 3, "num_predict": 9})
    drawn = asked.sampling

    assert (drawn.temperature, drawn.top_p, drawn.top_k, asked.max_tokens) == (0.5, 0.25, 3, 7)


def test_a_call_can_be_demanded() -> None:
    assert refusal({"tool_choice": "required"}).param == "tool_choice"
    assert refusal({"tool_choice": {"type": "function", "name": "weather"}}).param == "tool_choice"


def test_a_sampler_that_the_engine_no_longer_has_may_be_switched_off() -> None:
    assert chat(options={"tfs_z": 1.0}).sampling == Sampling()
    refused = refusal({"options": {"tfs_z": 0.5}})
    assert isinstance(refused, UnsupportedParameter)
    assert str(refused).startswith("options.tfs_z is 0.5")


def test_mirostat_has_ollamas_defaults_and_its_details_need_it() -> None:
    assert chat(options={"mirostat": 2.0}).sampling.mirostat == Mirostat(2, 5.0, 0.1)
    assert chat(options={"mirostat": 1, "mirostat_tau": 3, "mirostat_eta": 0.2}).sampling.mirostat == Mirostat(
        1, 3.0, 0.2
    )
    assert chat(options={"mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1}).sampling == Sampling()
    refused = refusal({"options": {"mirostat_eta": 0.1}})
    assert isinstance(refused, InvalidRequest)
    assert str(refused) == "options.mirostat_eta has no effect without options.mirostat."


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"num_ctx": 0}}, "options.num_ctx"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"temperature": "1"}}, "options.temperature"),
        ({"options": {"top_k": True}}, "options.top_k"),
        ({"options": {"typical_p": 1.5}}, "options.typical_p"),
        ({"options": {"repeat_last_n": -2}}, "options.repeat_last_n"),
        ({"options": {"mirostat": 3}}, "options.mirostat"),
        ({"options": {"mirostat": 2, "mirostat_tau": 0}}, "options.mirostat_tau"),
        ({"options": {"stop": [""]}}, "options.stop"),
        ({"options": {"stop": ["x"] * 17}}, "options.stop"),
        ({"shift": True}, "shift"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"think": "very"}, "think"),
        ({"format": "xml"}, "format"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": True}, "keep_alive"),
        ({"stream": "no"}, "stream"),
        ({"model": 5}, "model"),
        ({"_debug_render_only": True}, "_debug_render_only"),
    ],
)
def test_a_wrong_field_is_named_in_both(fields: dict[str, Any], param: str) -> None:
    for model in (ChatBody, GenerateBody):
        named = refusal(fields, model).param
        assert named is not None
        assert named.startswith(param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "developer", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "thinking": "y"}]}, "messages.0.thinking"),
        ({"messages": [{"role": "user", "content": "x", "tool_name": "y"}]}, "messages.0.tool_name"),
        ({"messages": [{"role": "assistant", "content": "", "tool_call_id": "y"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "user", "content": "x", "images": ["!"]}]}, "messages.0.images.0"),
        ({"messages": [{"role": "user", "content": "x", "images": ["eHh4"]}]}, "messages.0.images.0"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"raw": True}, "raw"),
        ({"prompt": "x"}, "prompt"),
    ],
)
def test_a_wrong_field_of_a_chat_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(fields).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "}", "system": "x"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"raw": True, "system": "x"}, "raw"),
        ({"raw": True, "images": [base64.b64encode(PNG).decode()]}, "raw"),
        ({"images": ["!"]}, "images.0"),
        ({"messages": HI}, "messages"),
        ({"tools": []}, "tools"),
        ({"width": 512}, "width"),
        ({"height": 512}, "height"),
        ({"steps": 4}, "steps"),
    ],
)
def test_a_wrong_field_of_a_generation_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(fields, GenerateBody).param == param


def test_a_chat_says_who_asks_and_what_may_be_left_out() -> None:
    wanted = chat(model="m:latest")

    assert (wanted.model, wanted.overflow, wanted.lane) == ("m:latest", "drop", "interactive")
    assert (wanted.caller.dialect, wanted.caller.lane_path) == ("ollama", ("open", "10.0.0.7", ""))
    assert chat(truncate=False).overflow == generate(truncate=False).overflow == "refuse"
    assert chat(shift=False, model="").model is None
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert chat().logprobs is None


def test_streaming_is_the_default() -> None:
    for model in (ChatBody, GenerateBody):
        assert body.parse(b"{}", model).stream
        assert not body.parse(b'{"stream":false}', model).stream


def test_a_title_is_asked_for_in_the_background() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    ask = {"role": "user", "content": "Write a title for this conversation, without punctuation."}

    assert chat(messages=[*turns, ask], stream=False).lane == "background"
    assert chat(messages=[*turns, ask]).lane == "interactive"


@pytest.mark.parametrize(
    ("think", "thinks", "effort"),
    [
        (None, None, None),
        (True, True, None),
        (False, False, None),
        ("low", True, "low"),
        ("medium", True, "medium"),
        ("high", True, "high"),
        ("max", True, "high"),
    ],
)
def test_thinking_by_itself_or_by_degree(think: Any, thinks: bool | None, effort: str | None) -> None:
    for wanted in (chat(think=think), generate(think=think)):
        assert (wanted.thinks, wanted.effort) == (thinks, effort)


def test_a_format_is_json_or_a_schema_and_a_schemas_nulls_are_its_own() -> None:
    schema = {"type": "object", "properties": {"x": {"const": None}}}

    assert chat(format="json").constraint == Constraint("json_schema", '{"type":"object"}')
    assert generate(format=schema).constraint == Constraint(
        "json_schema", '{"type":"object","properties":{"x":{"const":null}}}', is_lenient=True
    )
    assert chat(format="").constraint is chat(format=None).constraint is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (0, 0.0),
        ("0", 0.0),
        (300, 300.0),
        (1.5, 1.5),
        ("300", 300.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("+10s", 10.0),
        ("250ms", 0.25),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
        ("8192s", 8192.0),
        (1e300, (2**63 - 1) / 1e9),
    ],
)
def test_durations(said: Any, seconds: float | None) -> None:
    assert keep_alive_s(said) == seconds
    assert chat(keep_alive=said).keep_alive_s == generate(keep_alive=said).keep_alive_s == seconds


@pytest.mark.parametrize("said", ["", "m", "5 m", "5d", "1h-3m", "inf", "nan", "1e3", "٥m", "9" * 65, "5m\n"])
def test_other_durations_are_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"keep_alive is .*it is a number of seconds"):
        keep_alive_s(said)


@given(st.text(alphabet="0123456789.+-nuµmsh ", max_size=70))
def test_any_duration_has_an_answer(said: str) -> None:
    try:
        seconds = keep_alive_s(said)
    except InvalidRequest:
        return
    assert seconds is not None
    assert seconds >= 0


@pytest.mark.parametrize(
    ("model", "fields", "errand"),
    [
        (ChatBody, {}, "load"),
        (ChatBody, {"messages": [], "keep_alive": "5m"}, "load"),
        (ChatBody, {"messages": [], "keep_alive": 0}, "unload"),
        (ChatBody, {"messages": HI, "keep_alive": 0}, "answer"),
        (GenerateBody, {}, "load"),
        (GenerateBody, {"prompt": "", "keep_alive": "0s"}, "unload"),
        (GenerateBody, {"prompt": "x"}, "answer"),
    ],
)
def test_without_words_a_model_is_only_loaded_or_unloaded(
    model: type[ChatBody] | type[GenerateBody], fields: dict[str, Any], errand: str
) -> None:
    assert body.parse(json.dumps(fields).encode(), model).errand == errand


def test_roles_whatever_their_case() -> None:
    roles = ["System", "USER", "assistant"]
    wanted = chat(messages=[{"role": role, "content": "x"} for role in roles])

    assert [message.role for message in wanted.messages] == ["system", "user", "assistant"]


def test_images_say_themselves_what_they_are() -> None:
    kinds = {"image/png": PNG, "image/jpeg": b"\xff\xd8\xff\xe0", "image/gif": b"GIF89a", "image/bmp": b"BM.."}
    kinds["image/webp"] = b"RIFF\x10\0\0\0WEBPVP8 "
    encoded = [base64.b64encode(data).decode() for data in kinds.values()]
    parts: tuple[Part, ...] = (*(ImagePart(kind, data) for kind, data in kinds.items()), TextPart("this?"))

    (message,) = chat(messages=[{"role": "user", "content": "this?", "images": encoded}]).messages
    assert message == Message("user", parts)
    assert generate(prompt="this?", images=encoded).messages == (message,)


def test_tools_and_calls_and_thoughts() -> None:
    function = {"name": "get_weather", "description": "d", "parameters": {"type": "object", "x": {"default": None}}}
    call = {"id": "c1", "type": "function", "function": {"index": 0, "name": "get_weather", "arguments": {"a": None}}}
    wanted = chat(
        tools=[{"type": "function", "function": function}],
        messages=[
            *HI,
            {"role": "assistant", "thinking": "hm", "tool_calls": [call]},
            {"role": "tool", "content": "11", "tool_name": "get_weather", "tool_call_id": "c1"},
        ],
    )

    assert wanted.tools == (Tool("get_weather", "d", '{"type":"object","x":{"default":null}}'),)
    assert wanted.messages[1:] == (
        Message("assistant", (TextPart(""),), "hm", (ToolCall("c1", "get_weather", '{"a":null}'),)),
        Message("tool", (TextPart("11"),), call_id="c1", tool="get_weather"),
    )


def test_a_result_belongs_to_its_call_by_id_by_name_or_in_order() -> None:
    calls: list[dict[str, Any]] = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a", "c")]
    calls[3]["id"] = "mine"
    results: list[dict[str, str]] = [{"tool_call_id": "mine"}, {"tool_name": "b"}, {}, {}, {}]
    messages = chat(
        messages=[{"role": "assistant", "tool_calls": calls}]
        + [{"role": "tool", "content": "x"} | result for result in results]
    ).messages

    assert [call.id for call in messages[0].calls] == ["call_0_0", "call_0_1", "call_0_2", "mine"]
    assert [(message.call_id, message.tool) for message in messages[1:]] == [
        ("mine", "c"),
        ("call_0_1", "b"),
        ("call_0_0", "a"),
        ("call_0_2", "a"),
        ("", ""),
    ]


def test_a_generation_is_a_chat_of_one_turn_or_raw() -> None:
    assert generate(system="Be brief.").messages == (
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("Why?"),)),
    )
    assert generate().messages == (Message("user", (TextPart("Why?"),)),)
    raw = generate(raw=True)
    assert (raw.raw_prompt, raw.messages) == ("Why?", ())


def test_what_the_official_client_sends_empty_means_nothing() -> None:
    # `generate` in ollama/_client.py of ollama-python, with all its defaults.
    assert generate(model="m", suffix="", system="", template="", stream=False, raw=False).raw_prompt is None
    assert generate(context=[], images=[]).messages == generate().messages


def test_what_home_assistant_sends() -> None:
    # `_async_handle_chat_log` in homeassistant/components/ollama/entity.py.
    wanted = chat(
        model="guide:latest",
        messages=[
            {"role": "system", "content": "You are a voice assistant."},
            {"role": "user", "content": "Light on."},
            {"role": "assistant", "tool_calls": [{"function": {"name": "HassTurnOn", "arguments": {"name": "l"}}}]},
            {"role": "tool", "content": '{"data":{},"error":null}'},
        ],
        tools=[{"type": "function", "function": {"name": "HassTurnOn", "parameters": {"type": "object"}}}],
        stream=True,
        keep_alive=-1,
        options={"num_ctx": 8192.0},
        think=False,
    )

    assert wanted.messages[3].call_id == wanted.messages[2].calls[0].id
    assert (wanted.keep_alive_s, wanted.thinks) == (math.inf, False)


def test_text_is_counted_in_bytes_and_limited() -> None:
    with pytest.raises(PayloadTooLarge, match="has 1002 bytes; at most 1000"):
        chat(messages=[{"role": "user", "content": "好" * 334}])
    with pytest.raises(PayloadTooLarge):
        generate(prompt="x" * 600, system="x" * 401)


def exchange(*, is_over: bool = True) -> Exchange:
    made = Exchange("abc", "ollama", "open", None)
    made.admission = Admission("guide", "local", prompt_tokens=26, route="named", queue_s=0.25)
    made.completion_tokens, made.first_token_s = 3, 0.75
    made.duration_s = 2.0 if is_over else None
    return made


def answering(*, is_chat: bool = True, model: str | None = "guide", logprobs: int | None = None) -> OllamaAnswer:
    request = ChatRequest("abc", model, raw_prompt="Once", logprobs=logprobs)
    return OllamaAnswer(request, is_chat, clock_ns=lambda: 1_690_000_000_000_000_007)


def transcript(answer: OllamaAnswer, *events: Event) -> str:
    made = exchange()
    sent = answer.opening(made)
    for event in events:
        sent += answer.event(made, event, is_last=isinstance(event, Finish))
    return (sent + answer.closing(made)).decode()


HEAD = '{"model":"guide","created_at":"2023-07-22T04:26:40.000000007Z",'
SAID = HEAD + '"message":{"role":"assistant","content":'
END = (
    '"total_duration":2000000000,"load_duration":250000000,"prompt_eval_count":26,"prompt_eval_duration":500000000,'
    '"eval_count":3,"eval_duration":1250000000,"edged":{"served_by":"local","model":"guide","route":"named",'
    '"lane":"interactive","attempts":1,"queue_ms":250.0,"ttft_ms":750.0,"ttft_predicted_ms":null,"cached_tokens":0,'
    '"dropped_messages":0}}'
)


def lines(*said: str) -> str:
    return "".join(f"{line}\n" for line in said)


def test_a_chat_byte_for_byte() -> None:
    assert transcript(answering(), Delta(0, "Hé"), Delta(0, '"\n🙂'), Finish(0, "stop", 3)) == lines(
        SAID + '"Hé"},"done":false}',
        SAID + '"\\"\\n🙂"},"done":false}',
        SAID + '""},"done":true,"done_reason":"stop",' + END,
    )


def test_a_generation_byte_for_byte() -> None:
    events = (Thought(0, "hm"), Delta(0, "So"), Finish(0, "length", 3))

    assert transcript(answering(is_chat=False), *events) == lines(
        HEAD + '"response":"","thinking":"hm","done":false}',
        HEAD + '"response":"So","done":false}',
        HEAD + '"response":"","done":true,"done_reason":"length",' + END,
    )


def test_thoughts_and_calls_byte_for_byte() -> None:
    events = (
        Thought(0, "hm"),
        Delta(0, "Look:"),
        CallDelta(0, 0, "", "c1", "get_weather"),
        CallDelta(0, 0, '{"city":'),
        CallDelta(0, 0, '"Zürich"}'),
        CallDelta(0, 1, "{}", "c2", "now"),
        Finish(0, "tool_calls", 3),
    )

    assert transcript(answering(), *events) == lines(
        SAID + '"","thinking":"hm"},"done":false}',
        SAID + '"Look:"},"done":false}',
        SAID + '"","tool_calls":[{"id":"c1","function":{"index":0,"name":"get_weather",'
        '"arguments":{"city":"Zürich"}}}]},"done":false}',
        SAID + '"","tool_calls":[{"id":"c2","function":{"index":1,"name":"now","arguments":{}}}]},"done":false}',
        SAID + '""},"done":true,"done_reason":"stop",' + END,
    )


def test_logprobs_byte_for_byte() -> None:
    score = TokenLogprob("é".encode(), -0.5, (Candidate(b"e", -0.25),))

    assert transcript(answering(logprobs=1), Delta(0, "é", logprobs=(score,))) == lines(
        SAID + '"é"},"done":false,"logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169],'
        '"top_logprobs":[{"token":"e","logprob":-0.25,"bytes":[101]}]}]}',
    )


def test_a_failure_in_a_stream_byte_for_byte() -> None:
    assert answering().failure(WorkerCrashed("It died.")).decode() == (
        '{"error":"It died.","code":"worker_crashed","src":"edged","retry_after_s":1,"partial":true}\n'
    )


@given(st.lists(st.integers(0, 14), max_size=6))
def test_a_call_comes_whole_however_it_was_cut(cuts: list[int]) -> None:
    text, places = '{"a":"é\\"}"}', sorted({0, *cuts})
    pieces = [text[start:end] for start, end in zip(places, [*places[1:], None], strict=True)]
    first, *rest = (CallDelta(0, 0, piece) for piece in pieces)
    start = CallDelta(0, 0, first.arguments, "c", "f")

    (call, _) = transcript(answering(), start, *rest, Finish(0, "tool_calls", 3)).splitlines()
    assert json.loads(call)["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 'é"}'}


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
SPOKEN = st.one_of(st.builds(Delta, st.just(0), WORDS), st.builds(Thought, st.just(0), WORDS))


@given(st.lists(st.one_of(SPOKEN, st.lists(st.sampled_from(["[1", ",2", ",3]"]), max_size=3))))
def test_a_stream_says_what_a_whole_answer_says(said: list[Delta | Thought | list[str]]) -> None:
    events: list[Event] = []
    for item in said:
        if isinstance(item, list):
            index = sum(isinstance(event, CallDelta) and bool(event.name) for event in events)
            events.append(CallDelta(0, index, '{"x":', f"c{index}", "f"))
            events += [CallDelta(0, index, piece) for piece in ("[", *item, "]}")]
        else:
            events.append(item)
    choice = Choice()
    for event in (*events, Finish(0, "stop", 3)):
        choice.add(event)
    whole = answering().whole(exchange(), [choice])["message"]

    told = [
        json.loads(line)["message"] for line in transcript(answering(), *events, Finish(0, "stop", 3)).split("\n")[:-1]
    ]
    assert "".join(message["content"] for message in told) == whole["content"]
    assert "".join(message.get("thinking", "") for message in told) == whole.get("thinking", "")
    calls = [call["function"]["arguments"] for message in told for call in message.get("tool_calls", [])]
    assert calls == [call["function"]["arguments"] for call in whole.get("tool_calls", [])]


@pytest.mark.parametrize("arguments", ['{"city":', "[1]", '"x"', "NaN", '{"a":Infinity}', "[" * 100_000])
def test_a_call_that_was_cut_off_is_none(arguments: str) -> None:
    events = (CallDelta(0, 0, arguments, "c", "f"), Finish(0, "length", 3))

    assert transcript(answering(), *events) == lines(SAID + '""},"done":true,"done_reason":"length",' + END)
    whole = answering().whole(exchange(), [Choice(calls=[ToolCall("c", "f", arguments)], reason="length")])
    assert "tool_calls" not in whole["message"]


def test_half_a_surrogate_pair_in_a_call_is_still_utf8() -> None:
    line, _ = transcript(
        answering(), CallDelta(0, 0, '{"a":"\\ud83d"}', "c", "f"), Finish(0, "tool_calls", 1)
    ).splitlines()

    assert '"arguments":{"a":"\\ud83d"}' in line


def test_a_whole_answer() -> None:
    choice = Choice("Hi", "hm", [ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g", "")], "tool_calls")
    head = {"model": "guide", "created_at": "2023-07-22T04:26:40.000000007Z"}
    end = {"done": True, "done_reason": "stop", **json.loads("{" + END)}
    calls = [
        {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "d", "function": {"index": 1, "name": "g", "arguments": {}}},
    ]

    assert answering().whole(exchange(), [choice]) == {
        **head,
        "message": {"role": "assistant", "content": "Hi", "thinking": "hm", "tool_calls": calls},
        **end,
    }
    assert answering(is_chat=False).whole(exchange(), [Choice("Hi")]) == {**head, "response": "Hi", **end}


def test_what_was_not_measured_is_left_out() -> None:
    silent = exchange(is_over=False)
    silent.first_token_s = None
    line = json.loads(answering().event(silent, Finish(0, "stop", 1), is_last=True))

    assert line["total_duration"] >= 0
    assert "prompt_eval_duration" not in line
    assert "eval_duration" not in line


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("guide", "guide"),
        ("guide:latest", "guide:latest"),
        (None, "guide:latest"),
        ("gpt-4o", "guide:latest"),
        ("llama3:8b", "guide:latest"),
    ],
)
def test_the_model_is_called_as_it_was_asked_for_where_that_is_who_answers(asked: str | None, told: str) -> None:
    line = answering(model=asked).event(exchange(), Delta(0, "x"), is_last=False)

    assert json.loads(line)["model"] == told


def test_an_answer_about_memory() -> None:
    assert memory_body("m", "load", is_chat=True, created_ns=0) == {
        "model": "m",
        "created_at": "1970-01-01T00:00:00.000000000Z",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "load",
    }
    assert memory_body("m", "unload", is_chat=False, created_ns=0)["response"] == ""


def test_the_official_client_reads_every_line() -> None:
    ollama = pytest.importorskip("ollama")
    events = (
        Thought(0, "hm"),
        Delta(0, "a", logprobs=(TokenLogprob(b"a", -1.0, (Candidate(b"b", -2.0),)),)),
        CallDelta(0, 0, '{"a":1}', "c", "f"),
        Finish(0, "stop", 3),
    )
    chats = [
        ollama.ChatResponse(**json.loads(line)) for line in transcript(answering(logprobs=1), *events).split("\n")[:-1]
    ]
    texts = transcript(answering(is_chat=False), *events[:2], events[3]).splitlines()
    generations = [ollama.GenerateResponse(**json.loads(line)) for line in texts]

    assert [line.message.content for line in chats] == ["", "a", "", ""]
    assert chats[0].message.thinking == "hm"
    assert chats[1].logprobs[0].top_logprobs[0].token == "b"
    assert dict(chats[2].message.tool_calls[0].function) == {"name": "f", "arguments": {"a": 1}}
    assert [line.response for line in generations] == ["", "a", ""]
    for last in (chats[-1], generations[-1]):
        assert (last.done, last.done_reason, last.eval_count, last.eval_duration) == (True, "stop", 3, 1_250_000_000)
