"""Programs that people use every day, against the daemon as a process: LangChain, and the `llm` command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from openai import DefaultAsyncHttpxClient
from pydantic import BaseModel, ConfigDict, SecretStr

from tests.daemon_process import PATIENCE_S, DaemonProcess, bare_environment
from tests.end_to_end.test_openai_client import known_questions
from tests.end_to_end.weather import QUESTION

KEY = SecretStr("any")


class Visit(BaseModel):
    """A visit to a city; finite and closed, so that random weights come to its end."""

    model_config = ConfigDict(extra="forbid")
    city: Literal["Oslo", "Roma"]
    by_train: bool


@tool
def weather(city: Literal["Oslo", "Roma"]) -> str:
    """The weather to come."""
    return f"Rain in {city}."


def chat_of(daemon: DaemonProcess, model: str, **options: Any) -> ChatOpenAI:
    """LangChain's client of the daemon."""
    return ChatOpenAI(
        model=model,
        base_url=f"{daemon.url}/v1",
        api_key=KEY,
        timeout=PATIENCE_S,
        max_retries=0,
        stream_usage=True,
        max_completion_tokens=200,
        **options,
    )


def joined(chunks: Iterable[BaseMessage]) -> AIMessageChunk:
    """The pieces of a stream as LangChain adds them up."""
    first, *rest = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    return add_ai_message_chunks(first, *rest)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_langchain_talks_whole_and_streamed(edged_daemon: DaemonProcess, language: str) -> None:
    question, answer = known_questions(language, 5)[1]
    model = chat_of(edged_daemon, "guide", temperature=0)

    said = model.invoke(question)
    streamed = joined(model.stream(question))

    assert said.content == streamed.content == answer
    assert said.response_metadata["finish_reason"] == streamed.response_metadata["finish_reason"] == "stop"
    assert said.usage_metadata is not None
    assert streamed.usage_metadata is not None
    assert said.usage_metadata["total_tokens"] == streamed.usage_metadata["total_tokens"]


async def test_langchain_talks_asynchronously(all_kinds: DaemonProcess) -> None:
    async with DefaultAsyncHttpxClient() as connections:
        model = chat_of(all_kinds, "tiny", temperature=0, http_async_client=connections)
        said = await model.ainvoke(QUESTION)
        streamed = joined([chunk async for chunk in model.astream(QUESTION)])

    assert said.content == streamed.content
    assert streamed.usage_metadata is not None
    assert streamed.usage_metadata["output_tokens"] == 200


@pytest.mark.parametrize("is_streamed", [False, True])
def test_langchain_has_tools_called_and_answers_with_their_results(all_kinds: DaemonProcess, is_streamed: bool) -> None:
    model = chat_of(all_kinds, "caller")
    forced = model.bind_tools([weather], tool_choice="any", strict=True, parallel_tool_calls=False)
    asked = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    called = joined(forced.stream(asked)) if is_streamed else forced.invoke(asked)

    assert isinstance(called, AIMessage)
    (call,) = called.tool_calls
    assert called.invalid_tool_calls == []
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content in ("Rain in Oslo.", "Rain in Roma.")
    answered = model.bind_tools([weather], max_completion_tokens=5).invoke([*asked, called, result])
    assert answered.usage_metadata is not None
    assert called.usage_metadata is not None
    assert answered.usage_metadata["input_tokens"] > called.usage_metadata["input_tokens"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_fills_in_a_model(
    all_kinds: DaemonProcess, method: Literal["json_schema", "function_calling"]
) -> None:
    found = chat_of(all_kinds, "caller").with_structured_output(Visit, method=method, strict=True).invoke(QUESTION)

    assert isinstance(found, Visit)


def test_langchain_asks_through_the_responses_api(all_kinds: DaemonProcess) -> None:
    model = chat_of(all_kinds, "caller", use_responses_api=True)
    called = model.bind_tools([weather], tool_choice="any", strict=True, parallel_tool_calls=False).invoke(QUESTION)
    streamed = joined(chat_of(all_kinds, "tiny", use_responses_api=True).stream(QUESTION))

    (call,) = called.tool_calls
    assert call["name"] == "weather"
    assert streamed.usage_metadata is not None
    assert streamed.usage_metadata["output_tokens"] == 200


def test_langchain_asks_for_several_answers_with_all_their_details(all_kinds: DaemonProcess) -> None:
    model = chat_of(
        all_kinds, "tiny", n=2, seed=1, temperature=0.7, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.1,
        logprobs=True, top_logprobs=2, stop_sequences=["never said"],
    )  # fmt: skip
    one, other = model.batch([QUESTION, "And you?"])

    for message in (one, other):
        assert len(message.response_metadata["logprobs"]["content"]) == 200
        assert message.response_metadata["finish_reason"] == "length"


def test_langchain_has_vectors_and_azure(all_kinds: DaemonProcess) -> None:
    vectors = OpenAIEmbeddings(
        model="bert",
        openai_api_base=f"{all_kinds.url}/v1",
        openai_api_key=KEY,
        check_embedding_ctx_length=False,  # it would cut the text with a vocabulary from the internet
    )
    azure = AzureChatOpenAI(
        azure_deployment="tiny",
        azure_endpoint=all_kinds.url,
        api_key=KEY,
        api_version="2024-10-21",
        max_retries=0,
    )

    assert [len(vector) for vector in vectors.embed_documents(["a", "b"])] == [64, 64]
    assert azure.invoke(QUESTION, max_completion_tokens=5).content


@pytest.fixture(scope="module")
def llm_folder(all_kinds: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of `llm` that knows two models of the daemon."""
    folder = tmp_path_factory.mktemp("llm")
    models = [
        {"model_id": "box", "model_name": "caller", "api_base": f"{all_kinds.url}/v1", "supports_schema": True},
        {"model_id": "nobody", "model_name": "nobody", "api_base": f"{all_kinds.url}/v1"},
    ]
    (folder / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    return folder


def llm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the `llm` command does with these arguments."""
    environment = bare_environment({"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "any"})
    command = [sys.executable, "-m", "llm", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
    )


def test_llm_talks_and_goes_on_with_the_conversation(llm_folder: Path) -> None:
    options = ("-o", "max_tokens", "8", "-o", "temperature", "0")
    streamed = llm(llm_folder, "-m", "box", QUESTION, "-s", "Be brief.", *options)
    going_on = llm(llm_folder, "-m", "box", "-c", "And then?", "--no-stream", *options)
    first, second = json.loads(llm(llm_folder, "logs", "list", "--json").stdout)

    assert (streamed.returncode, streamed.stderr, going_on.returncode) == (0, "", 0)
    assert streamed.stdout.strip()
    assert going_on.stdout.strip()
    assert first["conversation_id"] == second["conversation_id"]
    assert first["output_tokens"] == second["output_tokens"] == 8
    assert second["input_tokens"] > first["input_tokens"] + 8, "it read what was said before"


def test_llm_fills_in_a_schema_and_says_what_was_refused(llm_folder: Path) -> None:
    filled = llm(llm_folder, "-m", "box", QUESTION, "--schema", json.dumps(Visit.model_json_schema()))
    refused = llm(llm_folder, "-m", "nobody", QUESTION)

    Visit.model_validate_json(filled.stdout)
    assert refused.returncode == 1
    assert "There is no model named 'nobody' here." in refused.stderr
