"""The OpenAI dialect, both ways: what is taken, what is refused by name, and every byte that goes out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from edged.api import body
from edged.api.answer import Choice
from edged.api.openai import ChatBody, CompletionBody, model_body
from edged.api.openai_answer import DONE, OpenAIAnswer
from edged.chat import About, ChatRequest, ImagePart, Message, ModelCard, TextPart
from edged.completion import Admission, Delta, Event, Finish
from edged.errors import (
    EdgedError,
    InvalidRequest,
    PayloadTooLarge,
    RequestError,
    UnsupportedParameter,
    WorkerCrashed,
)
from edged.observe import Exchange
from edged.sampling import Sampling

HI = [{"role": "user", "content": "hi"}]
LIMIT = 1000


def chat(**fields: Any) -> ChatRequest:
    data = json.dumps({"messages": HI, **fields}).encode()
    return body.parse(data, ChatBody).to_request("id", "10.0.0.7", LIMIT)


def completion(**fields: Any) -> ChatRequest:
    data = json.dumps({"prompt": "Once", **fields}).encode()
    return body.parse(data, CompletionBody).to_request("id", "10.0.0.7", LIMIT)


def refusal(raw: str, model: type[ChatBody] | type[CompletionBody] = ChatBody) -> RequestError:
    with pytest.raises(RequestError) as refused:
        body.parse(raw.encode(), model).to_request("id", "", LIMIT)
    return refused.value


def test_every_sampling_field_is_honoured() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "frequency_penalty": -0.5,
        "presence_penalty": 0.5,
        "seed": 42,
    }

    assert chat(**fields).sampling == Sampling(**fields) == completion(**fields).sampling  # type: ignore[arg-type]
    assert chat().sampling == Sampling()


def test_the_rest_is_honoured_too() -> None:
    wanted = chat(model="m", n=3, stop=["a", "b"], max_tokens=5, user="ada")

    assert (wanted.model, wanted.n, wanted.stop, wanted.max_tokens) == ("m", 3, ("a", "b"), 5)
    assert wanted.caller.lane_path == ("open", "10.0.0.7", "ada")
    assert chat(stop="x").stop == ("x",)
    assert chat(max_tokens=5, max_completion_tokens=6).max_tokens == 6
    assert chat(safety_identifier="s", user="u").caller.user == "s"
    assert completion(echo=True, max_tokens=0).echo
    assert completion().max_tokens == 16


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63 - 1, 2**32 - 1, 0])
def test_every_seed_fits_llama_cpps_32_bits_and_never_means_a_random_one(seed: int) -> None:
    fitted = chat(seed=seed).sampling.seed

    assert fitted is not None
    assert 0 <= fitted < 2**32 - 1


@pytest.mark.parametrize("seed", [2**32 - 2, 2**32 - 3])
def test_no_choice_draws_at_random_when_a_seed_was_given(seed: int) -> None:
    sampling = chat(seed=seed).sampling

    assert 2**32 - 1 not in [sampling.for_choice(choice).seed for choice in range(4)]


def test_roles() -> None:
    roles = ["system", "developer", "user", "assistant"]
    wanted = chat(messages=[{"role": role, "content": role} for role in roles])

    assert [message.role for message in wanted.messages] == ["system", "system", "user", "assistant"]


def test_parts() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    parts = [
        {"type": "text", "text": "what is "},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "text", "text": "this?"},
    ]
    (message,) = chat(messages=[{"role": "user", "content": parts}]).messages

    assert message == Message("user", (TextPart("what is "), ImagePart("image/png", b"\x89PNG"), TextPart("this?")))
    assert message.text == "what is this?"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a.png",
        "file:///etc/passwd",
        "data:text/html;base64,AA==",
        "data:image/png,xx",
        "data:image/png;base64",
        "data:image/png;base64,###",
        "",
    ],
)
def test_no_image_is_fetched_or_guessed(url: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]

    with pytest.raises(InvalidRequest) as refused:
        chat(messages=[{"role": "user", "content": content}])
    assert refused.value.param == "messages.0.content"


def test_what_the_official_client_echoes_of_an_answer_is_taken() -> None:
    nothing: dict[str, Any] = {"refusal": None, "annotations": [], "audio": None}
    echoed = {"role": "assistant", "content": "hello", **nothing}

    assert chat(messages=[*HI, echoed, *HI]).messages[1].text == "hello"


def spoken(*said: tuple[str, str, str]) -> list[str]:
    """What a model reads of a conversation of roles, names and words."""
    messages = [{"role": role, "name": name, "content": words} for role, name, words in said]
    return [message.text for message in chat(messages=messages).messages]


def test_one_name_in_a_role_tells_nobody_apart() -> None:
    said = ("system", "", "Help."), ("user", "ada", "hi"), ("assistant", "bob", "yes?"), ("user", "ada", "so")

    assert spoken(*said) == ["Help.", "hi", "yes?", "so"]


def test_several_names_in_a_role_stand_in_front_of_what_they_say() -> None:
    said = ("user", "ada", "hi"), ("assistant", "bob", "yes?"), ("user", "eve", "no"), ("user", "", "so")

    assert spoken(*said) == ["ada: hi", "yes?", "eve: no", "so"]


def test_a_developer_and_the_system_are_one_role() -> None:
    assert spoken(("system", "ada", "Help."), ("developer", "eve", "Not.")) == ["ada: Help.", "eve: Not."]


def test_a_name_in_front_of_no_words_is_none() -> None:
    assert spoken(("user", "ada", ""), ("user", "eve", "no")) == ["", "eve: no"]


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, None),
        ({"reasoning_effort": "minimal"}, False),
        ({"reasoning": {}}, None),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"enabled": True}}, True),
        ({"enable_thinking": False}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"thinking": False}}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}, False),
        ({"reasoning": {"enabled": True, "effort": "none"}}, True),
    ],
)
def test_every_word_for_thinking_is_understood(fields: dict[str, Any], thinks: bool | None) -> None:
    assert chat(messages=HI, **fields).thinks is thinks


@pytest.mark.parametrize(
    ("fields", "tokens", "thinks"),
    [
        ({}, None, None),
        ({"reasoning_budget_tokens": -1}, None, None),
        ({"reasoning_budget_tokens": 64}, 64, None),
        ({"thinking_budget_tokens": 64, "reasoning_effort": "high"}, 64, True),
        ({"thinking_budget": 64, "enable_thinking": True}, 64, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, 64, True),
        ({"reasoning": {"max_tokens": 64}}, 64, None),
        ({"reasoning_budget_tokens": 64, "thinking_budget_tokens": 64}, 64, None),
        ({"reasoning_budget_tokens": 0}, 0, False),
        ({"thinking_budget": 0, "reasoning_effort": "high"}, 0, False),
    ],
)
def test_every_word_for_a_budget_is_understood(fields: dict[str, Any], tokens: int | None, thinks: bool | None) -> None:
    wanted = chat(messages=HI, **fields)

    assert (wanted.thought_tokens, wanted.thinks) == (tokens, thinks)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"thinking_budget": 5, "thinking_budget_tokens": 6}, "thinking_budget_tokens"),
        ({"thinking_budget": 0, "enable_thinking": True}, "enable_thinking"),
        ({"thinking_budget": -2}, "thinking_budget"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"continue_final_message": False}, "continue_final_message"),
    ],
)
def test_what_contradicts_itself_or_the_conversation_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(json.dumps({"messages": HI, **fields})).param == param


def test_two_switches_for_thinking_must_agree() -> None:
    refused = refusal(json.dumps({"messages": HI, "enable_thinking": True, "reasoning": {"enabled": False}}))

    assert isinstance(refused, InvalidRequest)
    assert str(refused) == "reasoning.enabled and enable_thinking say different things; send one of them."


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("chat_template_kwargs", {"preserve_thinking": True}, "chat_template_kwargs.preserve_thinking"),
        ("reasoning", {"exclude": True}, "reasoning.exclude"),
        ("thinking", {"type": "auto"}, "thinking.type"),
    ],
)
def test_what_else_others_say_of_thinking_is_refused_by_name(field: str, value: Any, param: str) -> None:
    assert refusal(json.dumps({"messages": HI, field: value})).param == param


# platform.openai.com/docs/api-reference/chat/create: documented there, and not honoured here (yet).
UNSUPPORTED = {
    "functions": [],
    "function_call": "none",
    "audio": {"voice": "alloy", "format": "wav"},
    "verbosity": "low",
    "web_search_options": {},
}


@pytest.mark.parametrize("name", [*UNSUPPORTED, "chat_template", "no_such_field"])
def test_a_field_that_is_not_honoured_is_refused_by_name(name: str) -> None:
    refused = refusal(json.dumps({"messages": HI, name: UNSUPPORTED.get(name, "x")}))

    assert isinstance(refused, UnsupportedParameter)
    assert refused.param == name
    assert name in str(refused)


@pytest.mark.parametrize("name", ["best_of", "top_logprobs", "response_format"])
def test_a_field_of_the_older_endpoint_that_is_not_honoured_is_refused_by_name(name: str) -> None:
    refused = refusal(json.dumps({"prompt": "x", name: 2}), CompletionBody)

    assert (refused.param, refused.code) == (name, "unsupported_parameter")


@pytest.mark.parametrize(
    ("name", "value"),
    [("store", True), ("service_tier", "priority"), ("response_format", {"type": "yaml"})],
)
def test_a_value_that_is_not_honoured_is_refused_with_its_field(name: str, value: object) -> None:
    refused = refusal(json.dumps({"messages": HI, name: value}))

    assert (refused.param or "").split(".")[0] == name


@pytest.mark.parametrize(
    "asked", [{"store": False}, {"logprobs": False}, {"service_tier": "auto"}, {"response_format": {"type": "text"}}]
)
def test_a_value_that_asks_for_what_happens_anyway_is_taken(asked: dict[str, object]) -> None:
    assert chat(**asked) == chat()


def test_what_the_answer_will_repeat_comes_as_text_or_parts_and_counts_as_text() -> None:
    parts = [{"type": "text", "text": "The harbour "}, {"type": "text", "text": "is near."}]

    assert chat(prediction={"type": "content", "content": "The harbour is near."}).prediction == "The harbour is near."
    assert chat(prediction={"type": "content", "content": parts}).prediction == "The harbour is near."
    assert chat(prediction=None).prediction == chat().prediction == ""
    with pytest.raises(PayloadTooLarge):
        chat(prediction={"type": "content", "content": "x" * LIMIT})
    wrong = {"messages": HI, "prediction": {"type": "image", "content": ""}}
    assert (refusal(json.dumps(wrong)).param or "").startswith("prediction")


FLOATS = ["temperature", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty"]
WHOLE = ["n", "max_tokens", "max_completion_tokens", "top_k"]
NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", '"5"', "true", "[]", "{}", '""']


@pytest.mark.parametrize("value", [*NO_NUMBERS, "-3", "2147483648", "9223372036854775808", "1e300"])
@pytest.mark.parametrize("name", [*FLOATS, *WHOLE])
def test_a_number_that_is_none_or_too_large_is_refused_with_its_field(name: str, value: str) -> None:
    refused = refusal(f'{{"messages": {json.dumps(HI)}, "{name}": {value}}}')

    assert refused.param == name or "is not JSON" in str(refused)
    assert type(refused) is InvalidRequest


@pytest.mark.parametrize("value", [*NO_NUMBERS, "1.5", "9223372036854775808", "-9223372036854775809"])
def test_a_seed_that_is_none_is_refused(value: str) -> None:
    refused = refusal(f'{{"messages": {json.dumps(HI)}, "seed": {value}}}')

    assert refused.param == "seed" or "is not JSON" in str(refused)


@pytest.mark.parametrize("value", ["0", "1.5", "10000"])
def test_n_is_a_small_whole_number(value: str) -> None:
    assert refusal(f'{{"messages": {json.dumps(HI)}, "n": {value}}}').param == "n"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": HI * 4097}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "a" * 257}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}, "messages.0.tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["x" * 257]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"model": "m" * 257}, "model"),
        ({"model": 5}, "model"),
        ({"user": "u" * 257}, "user"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stream_options": {"other": 1}}, "stream_options.other"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str) -> None:
    named = refusal(json.dumps({"messages": HI, **fields})).param

    assert named is not None
    assert named.startswith(param)


@pytest.mark.parametrize(
    "raw",
    [
        "{}",
        '{"prompt": null}',
        '{"prompt": []}',
        '{"prompt": {}}',
        '{"prompt": 5}',
        '{"prompt": ""}',
        '{"prompt": ["a", ""]}',
        '{"prompt": ["a", 5]}',
        '{"prompt": [1, -1]}',
        '{"prompt": [1, 2147483648]}',
        '{"prompt": [[]]}',
        '{"prompt": [true]}',
        '{"prompt": "a", "max_tokens": 0}',
        '{"prompt": "a", "max_tokens": -1}',
    ],
)
def test_a_completion_needs_one_prompt_and_something_to_do(raw: str) -> None:
    assert (refusal(raw, CompletionBody).param or "").split(".")[0] in ("prompt", "max_tokens")


def test_a_completion_has_a_prompt_or_several_as_text_or_token_ids() -> None:
    for prompt, first, further in (
        (["a"], "a", ()),
        ([1, 2], (1, 2), ()),
        ([[1, 2]], (1, 2), ()),
        (["a", "b", "a"], "a", ("b", "a")),
        ([[1], [2, 3]], (1,), ((2, 3),)),
    ):
        wanted = completion(prompt=prompt, n=2)
        assert (wanted.raw_prompt, wanted.further_prompts) == (first, further)
        assert wanted.choices == 2 * (1 + len(further))
    refused = refusal(json.dumps({"prompt": ["a"] * 129}), CompletionBody)
    assert (refused.param, "129 texts; at most 128" in str(refused)) == ("prompt", True)


def test_all_prompts_together_are_limited() -> None:
    for prompt in (["x" * 600, "x" * 401], [1] * 251):
        with pytest.raises(PayloadTooLarge):
            completion(prompt=prompt)


def test_best_of_all_there_are_is_taken() -> None:
    assert completion(best_of=1) == completion()
    assert completion(best_of=3, n=3) == completion(n=3)


def test_token_ids_cannot_be_repeated_as_text() -> None:
    assert refusal('{"prompt": [1, 2], "echo": true}', CompletionBody).param == "echo"
    assert refusal('{"prompt": ["a", [1]], "echo": true}', CompletionBody).param == "echo"


def test_text_is_counted_in_bytes_and_limited() -> None:
    assert chat(messages=[{"role": "user", "content": "x" * LIMIT}])
    with pytest.raises(PayloadTooLarge, match=r"has 1002 bytes; at most 1000 are accepted.*text_bytes"):
        chat(messages=[{"role": "user", "content": "好" * 334}])
    with pytest.raises(PayloadTooLarge):
        completion(prompt="x" * 1001)


def exchange() -> Exchange:
    made = Exchange("abc", "openai", "open", None)
    made.admission = Admission("guide", "local", prompt_tokens=5, route="default", queue_s=0.25)
    made.completion_tokens, made.first_token_s, made.last_token_s = 3, 0.5, 1.5
    return made


def transcript(answer: OpenAIAnswer, *events: Event) -> str:
    running, made, sent = answer.request.n, exchange(), answer.opening(exchange())
    for event in events:
        running -= isinstance(event, Finish)
        sent += answer.event(made, event, is_last=running == 0)
    return (sent + answer.closing(made)).decode()


def asked(*, n: int = 1, is_chat: bool = True, usage: bool = False, echo: bool = False) -> OpenAIAnswer:
    return OpenAIAnswer(ChatRequest("abc", n=n, raw_prompt="Once", echo=echo), is_chat, usage, created_s=7)


CHUNK = '{"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"guide","choices":'
TIMINGS = (
    '"timings":{"cache_n":0,"prompt_n":5,"prompt_ms":250.0,"prompt_per_token_ms":50.0,"prompt_per_second":20.0,'
    '"predicted_n":3,"predicted_ms":1000.0,"predicted_per_token_ms":500.0,"predicted_per_second":2.0}'
)
EDGED = (
    TIMINGS + ',"edged":{"served_by":"local","model":"guide","route":"default","lane":"interactive","attempts":1,'
    '"queue_ms":250.0,"ttft_ms":500.0,"ttft_predicted_ms":null,"cached_tokens":0,"dropped_messages":0}'
)
USAGE = (
    '"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,'
    '"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}'
)


def test_a_stream_byte_for_byte() -> None:
    assert transcript(asked(), Delta(0, "Hé"), Delta(0, '"\n🙂'), Finish(0, "stop", 3)) == "".join(
        f"data: {line}\n\n"
        for line in (
            CHUNK + '[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{"content":"Hé"},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{"content":"\\"\\n🙂"},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{},"finish_reason":"stop"}],' + EDGED + "}",
            "[DONE]",
        )
    )


def test_a_stream_with_usage_byte_for_byte() -> None:
    assert transcript(asked(usage=True), Delta(0, "Hi"), Finish(0, "length", 3)) == "".join(
        f"data: {line}\n\n"
        for line in (
            CHUNK + '[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{},"finish_reason":"length"}]}',
            CHUNK + "[]," + USAGE + "," + EDGED + "}",
            "[DONE]",
        )
    )


def test_a_stream_of_two_choices_byte_for_byte() -> None:
    events = (Delta(1, "b"), Delta(0, "a"), Finish(1, "stop", 2), Finish(0, "stop", 1))

    assert transcript(asked(n=2), *events) == "".join(
        f"data: {line}\n\n"
        for line in (
            CHUNK + '[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
            CHUNK + '[{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
            CHUNK + '[{"index":1,"delta":{"content":"b"},"finish_reason":null}]}',
            CHUNK + '[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}',
            CHUNK + '[{"index":1,"delta":{},"finish_reason":"stop"}]}',
            CHUNK + '[{"index":0,"delta":{},"finish_reason":"stop"}],' + EDGED + "}",
            "[DONE]",
        )
    )


def test_a_streamed_completion_byte_for_byte() -> None:
    chunk = '{"id":"cmpl-abc","object":"text_completion","created":7,"model":"guide","choices":'

    assert transcript(asked(is_chat=False, echo=True), Delta(0, " upon"), Finish(0, "stop", 3)) == "".join(
        f"data: {line}\n\n"
        for line in (
            chunk + '[{"index":0,"text":"Once","finish_reason":null}]}',
            chunk + '[{"index":0,"text":" upon","finish_reason":null}]}',
            chunk + '[{"index":0,"text":"","finish_reason":"stop"}],' + EDGED + "}",
            "[DONE]",
        )
    )


def test_a_failure_in_a_stream_byte_for_byte() -> None:
    assert asked().failure(WorkerCrashed("It died.")).decode() == (
        'data: {"error":{"message":"It died.","type":"server_error","param":null,"code":"worker_crashed",'
        '"src":"edged","retry_after_s":1,"partial":true}}\n\n'
    )


def test_a_whole_answer() -> None:
    whole = asked(n=2).whole(exchange(), [Choice("a"), Choice("b", reason="length")])

    assert whole == {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 7,
        "model": "guide",
        "choices": [
            {
                "index": index,
                "finish_reason": reason,
                "logprobs": None,
                "message": {"role": "assistant", "content": text, "refusal": None},
            }
            for index, text, reason in ((0, "a", "stop"), (1, "b", "length"))
        ],
        **json.loads("{" + USAGE + "," + EDGED + "}"),
    }


def test_a_whole_completion_repeats_the_prompt_where_it_was_asked_to() -> None:
    for echo, text in ((True, "Once upon"), (False, " upon")):
        choice = asked(is_chat=False, echo=echo).whole(exchange(), [Choice(" upon")])["choices"][0]
        assert choice == {"index": 0, "finish_reason": "stop", "logprobs": None, "text": text}


def test_a_whole_completion_of_several_prompts_has_the_choices_of_each_in_turn() -> None:
    wanted = ChatRequest("abc", n=2, raw_prompt="One", further_prompts=("Two",), echo=True)
    choices = [Choice(text) for text in (" a", " b", " c", " d")]

    whole = OpenAIAnswer(wanted, False, False, created_s=7).whole(exchange(), choices)
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == [
        (0, "One a"), (1, "One b"), (2, "Two c"), (3, "Two d"),
    ]  # fmt: skip


def test_a_streamed_completion_of_two_prompts_byte_for_byte() -> None:
    chunk = 'data: {"id":"cmpl-abc","object":"text_completion","created":7,"model":"guide","choices":'
    wanted = ChatRequest("abc", raw_prompt="One", further_prompts=("Two",), echo=True)
    answer, made = OpenAIAnswer(wanted, False, False, created_s=7), exchange()

    sent = answer.opening(made) + answer.event(made, Delta(1, " b"), is_last=False)
    assert sent.decode() == "".join(
        f'{chunk}[{{"index":{index},"text":"{text}","finish_reason":null}}]}}\n\n'
        for index, text in ((0, "One"), (1, "Two"), (1, " b"))
    )


def test_the_end_mark_is_openais() -> None:
    assert DONE == b"data: [DONE]\n\n"


def test_a_model_for_a_model_picker() -> None:
    about = About("bert", 9, "9M", "F16", "mit", ("Base",), ("de",))
    card = ModelCard("m", "local", 5, 6, 7, True, "vectors", ("embeddings",), 512, about)
    assert model_body(card) == {
        "id": "m",
        "object": "model",
        "created": 6,
        "owned_by": "edged",
        "edged": {
            "origin": "local",
            "context_tokens": 7,
            "longest_context_tokens": 512,
            "size_bytes": 5,
            "resident": True,
            "made_for": "vectors",
            "capabilities": ["embeddings"],
            "languages": ["de"],
            "architecture": "bert",
            "parameters": 9,
            "size_label": "9M",
            "quantization": "F16",
            "license": "mit",
            "base_models": ["Base"],
            "problem": None,
            "quarantine": None,
        },
    }


def test_every_refusal_is_typed() -> None:
    assert isinstance(refusal('{"messages": 1}'), EdgedError)
