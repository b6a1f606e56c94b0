"""What an answer must look like: every way to say it, one at a time, and not too long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edged.api.body import parse
from edged.api.constraint import MAX_CONSTRAINT_BYTES
from edged.api.openai import ChatBody, CompletionBody
from edged.chat import ChatRequest
from edged.errors import InvalidRequest
from edged.sampling import Bias, Constraint


def chat(**fields: Any) -> ChatRequest:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse(json.dumps(body).encode(), ChatBody).to_request("abc", "", 1000)


def of_schema(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **fields}}}


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_schema", '{"type":"object"}')),
        (of_schema({"const": None}), Constraint("json_schema", '{"const":null}', is_lenient=True)),
        (of_schema({"b": 1, "a": 2}, strict=True), Constraint("json_schema", '{"b":1,"a":2}')),
        (of_schema({}, strict=None, description=None), Constraint("json_schema", "{}", is_lenient=True)),
        ({"json_schema": {"const": None}}, Constraint("json_schema", '{"const":null}', is_lenient=True)),
        ({"grammar": 'root ::= "a"'}, Constraint("gbnf", 'root ::= "a"')),
        ({"grammar": "%llguidance {}\nstart: A"}, Constraint("lark", "%llguidance {}\nstart: A")),
        ({"regex": "a*"}, Constraint("regex", "a*")),
    ],
)
def test_every_way_to_say_it(fields: dict[str, Any], constraint: Constraint | None) -> None:
    assert chat(**fields).constraint == constraint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"grammar": "a", "regex": "a"}, "regex"),
        ({"grammar": "a", "response_format": {"type": "json_object"}}, "grammar"),
        ({"json_schema": {}, "response_format": {"type": "json_object"}}, "json_schema"),
    ],
)
def test_two_of_them_contradict_each_other(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="both say") as refused:
        chat(**fields)
    assert refused.value.param == param


def test_a_text_that_is_too_long_is_refused_with_its_size() -> None:
    assert chat(regex="a" * MAX_CONSTRAINT_BYTES).constraint
    with pytest.raises(InvalidRequest, match=f"{MAX_CONSTRAINT_BYTES + 1} bytes; at most {MAX_CONSTRAINT_BYTES}"):
        chat(regex="a" * (MAX_CONSTRAINT_BYTES + 1))


def test_a_completion_can_be_constrained_too() -> None:
    body = b'{"prompt": "x", "json_schema": {"const": null}, "logprobs": 0, "logit_bias": {"007": -1.5}}'
    request = parse(body, CompletionBody).to_request("abc", "", 1000)

    assert request.constraint == Constraint("json_schema", '{"const":null}', is_lenient=True)
    assert request.logprobs == 0
    assert request.sampling.logit_bias == (Bias(7, -1.5),)


def test_how_many_candidates_a_chat_is_told() -> None:
    assert chat().logprobs is None
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).logprobs == 20
    with pytest.raises(InvalidRequest, match="needs logprobs"):
        chat(top_logprobs=1)
