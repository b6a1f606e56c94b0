"""A conversation that ends with the assistant is gone on with, whoever's client sends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import ollama
import openai
import pytest
from anthropic import Anthropic

from tests.asking import chat, client_of, text_of
from tests.daemon_process import PATIENCE_S, DaemonProcess
from tests.end_to_end.test_openai_client import known_questions
from tests.end_to_end.weather import QUESTION, SCHEMA, TOOL

Messages = list[dict[str, Any]]


def openais(daemon: DaemonProcess, messages: Any) -> str:
    with client_of(daemon) as client:
        return text_of(client.chat.completions.create(model="guide", messages=messages, temperature=0))


def anthropics(daemon: DaemonProcess, messages: Any) -> str:
    with Anthropic(base_url=daemon.url, api_key="any", timeout=PATIENCE_S, max_retries=0) as client:
        extra = {"temperature": 0}
        answer = client.messages.create(model="guide", messages=messages, max_tokens=400, extra_body=extra)
    return "".join(block.text for block in answer.content if block.type == "text")


def ollamas(daemon: DaemonProcess, messages: Any) -> str:
    with closing(ollama.Client(host=daemon.url, timeout=PATIENCE_S)) as client:
        return client.chat("guide", messages, options={"temperature": 0}).message.content or ""


@pytest.mark.parametrize("ask", [openais, anthropics, ollamas])
def test_the_rest_of_a_known_answer_follows(
    edged_daemon: DaemonProcess, ask: Callable[[DaemonProcess, Any], str]
) -> None:
    question, answer = known_questions("en", 5)[2]
    middle = answer.index(" ", len(answer) // 2)
    begun: Messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer[:middle]}]

    assert ask(edged_daemon, begun) == answer[middle:]


BEGUN: Any = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "It will"}]


def test_nobody_thinks_in_the_middle_of_an_answer(all_kinds: DaemonProcess) -> None:
    with client_of(all_kinds) as client:
        answer = client.chat.completions.create(
            model="thinker", messages=BEGUN, reasoning_effort="high", max_tokens=8
        ).choices[0]

    assert answer.message.content
    assert "reasoning_content" not in (answer.message.model_extra or {})


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL], "tool_choice": "required"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}},
    ],
)
def test_what_is_of_a_whole_answer_is_refused_beside_half_of_one(
    all_kinds: DaemonProcess, fields: dict[str, Any]
) -> None:
    with client_of(all_kinds) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="caller", messages=BEGUN, **fields)
        chat(client, QUESTION, model="caller", max_tokens=1)

    assert refused.value.param == "messages"
