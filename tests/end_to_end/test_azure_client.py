"""Azure's paths with the official OpenAI client: the older ones name the model, the newer ones are OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI

from tests.asking import chat, chunks, text_of
from tests.daemon_process import PATIENCE_S, DaemonProcess
from tests.end_to_end.weather import QUESTION, TOOL, checked

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
AZURE: dict[str, Any] = {"api_key": "any", "api_version": "2024-10-21", "timeout": PATIENCE_S, "max_retries": 0}


@pytest.fixture(scope="module")
def azure(all_kinds: DaemonProcess) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(azure_endpoint=all_kinds.url, **AZURE) as found:
        yield found


def test_the_model_stands_in_the_path(azure: AzureOpenAI) -> None:
    whole = chat(azure, QUESTION, model="tiny", **GREEDY)
    with chunks(azure, QUESTION, model="tiny", **GREEDY) as stream:
        streamed = text_of(stream)

    assert whole.model == "tiny"
    assert text_of(whole) == streamed
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12


def test_a_client_of_one_deployment_asks_that(all_kinds: DaemonProcess, azure: AzureOpenAI) -> None:
    with AzureOpenAI(azure_endpoint=all_kinds.url, azure_deployment="caller", **AZURE) as client:
        answer = chat(client, QUESTION, model="whatever", **GREEDY)
        listed = [model.id for model in client.models.list()]

    assert answer.model == "caller"
    assert listed == [model.id for model in azure.models.list()]


def test_calls_vectors_completions_and_responses(azure: AzureOpenAI) -> None:
    called = chat(azure, QUESTION, model="caller", tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    completion = azure.completions.create(model="tiny", prompt="Once", max_tokens=5)
    response = azure.responses.create(model="tiny", input=QUESTION, max_output_tokens=16)
    vectors = azure.embeddings.create(model="bert", input=["a", "b"])

    (call,) = called.choices[0].message.tool_calls or []
    assert call.type == "function"
    checked(call.function.arguments)
    assert completion.choices[0].text
    assert response.output_text
    assert len(vectors.data) == 2


def test_models_are_listed_and_found(azure: AzureOpenAI) -> None:
    assert {model.id for model in azure.models.list()} == {"tiny", "caller", "thinker", "filler", "bert", "guide"}
    assert azure.models.retrieve("caller").id == "caller"


def test_a_deployment_that_is_not_there_is_a_404(azure: AzureOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        chat(azure, QUESTION, model="nobody", **GREEDY)

    assert refused.value.code == "model_not_found"


def test_the_newer_paths_take_the_plain_client(all_kinds: DaemonProcess) -> None:
    """As Azure's own guide has it: OpenAI's client with `/openai/v1/` at the end of the address."""
    with OpenAI(base_url=f"{all_kinds.url}/openai/v1/", api_key="any", max_retries=0) as client:
        assert chat(client, QUESTION, model="tiny", **GREEDY).model == "tiny"
        assert client.responses.create(model="tiny", input=QUESTION, max_output_tokens=16).output_text
        assert client.completions.create(model="tiny", prompt="Once", max_tokens=5).choices[0].text
        assert len(client.embeddings.create(model="bert", input="a").data) == 1
        assert client.models.retrieve("tiny").id in {model.id for model in client.models.list()}


async def test_the_asynchronous_client(all_kinds: DaemonProcess) -> None:
    async with AsyncAzureOpenAI(azure_endpoint=all_kinds.url, **AZURE) as client:
        asked: Any = {"model": "tiny", "messages": [{"role": "user", "content": QUESTION}], **GREEDY}
        whole = await client.chat.completions.create(**asked)
        async with await client.chat.completions.create(stream=True, **asked) as stream:
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

    assert "".join(pieces) == text_of(whole)
