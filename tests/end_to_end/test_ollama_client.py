"""The official Ollama client, sync and async, against the daemon as a process: what its programs rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import ollama
import pytest
from ollama import AsyncClient, Client, ResponseError

from tests.asking import until_idle
from tests.daemon_process import PATIENCE_S, DaemonProcess, until
from tests.end_to_end.test_openai_client import known_questions
from tests.end_to_end.weather import FUNCTION, QUESTION, SCHEMA, TOOL, checked

ASKED = [{"role": "user", "content": QUESTION}]
FEW: dict[str, Any] = {"num_predict": 6}


@pytest.fixture(scope="module")
def client(all_kinds: DaemonProcess) -> Iterator[Client]:
    with closing(Client(host=all_kinds.url, timeout=PATIENCE_S)) as found:
        yield found


@pytest.fixture(scope="module")
def owners(all_kinds: DaemonProcess) -> Iterator[Client]:
    """A client with a key that may change what is on the device."""
    headers = {"Authorization": f"Bearer {all_kinds.owners_key()}"}
    with closing(Client(host=all_kinds.url, timeout=PATIENCE_S, headers=headers)) as found:
        yield found


@pytest.fixture
async def waiting(all_kinds: DaemonProcess) -> AsyncIterator[AsyncClient]:
    """The asynchronous client."""
    found = AsyncClient(host=all_kinds.url, timeout=PATIENCE_S)
    yield found
    await found.close()  # type: ignore[no-untyped-call]


def names(client: Client) -> set[str]:
    """The models in memory."""
    return {model.model or "" for model in client.ps().models}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_guide_answers_word_for_word_whole_and_streamed(edged_daemon: DaemonProcess, language: str) -> None:
    question, answer = known_questions(language, 5)[2]
    asked: Any = {"model": "guide", "messages": [{"role": "user", "content": question}], "options": {"temperature": 0}}
    with closing(Client(host=edged_daemon.url, timeout=PATIENCE_S)) as client:
        whole = client.chat(**asked)
        pieces = list(client.chat(stream=True, **asked))

    assert whole.message.content == "".join(piece.message.content or "" for piece in pieces) == answer
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert whole.done_reason == pieces[-1].done_reason == "stop"
    assert pieces[-1].eval_count == whole.eval_count
    assert pieces[-1].prompt_eval_count == whole.prompt_eval_count
    assert pieces[-1].eval_count
    for duration in (whole.total_duration, whole.prompt_eval_duration, whole.eval_duration):
        assert duration


def test_a_generation_is_a_chat_of_one_turn(client: Client) -> None:
    options = {"temperature": 0, "num_predict": 12}
    whole = client.generate("tiny", QUESTION, system="Be brief.", options=options)
    pieces = list(client.generate("tiny", QUESTION, system="Be brief.", options=options, stream=True))
    messages = [{"role": "system", "content": "Be brief."}, *ASKED]
    said = client.chat("tiny:latest", messages, options=options)

    assert whole.response == "".join(piece.response or "" for piece in pieces) == said.message.content
    assert (whole.done_reason, whole.eval_count) == ("length", 12)
    assert (whole.model, said.model) == ("tiny", "tiny:latest"), "the model's name is told as it was asked for"


def test_options_are_heard(client: Client) -> None:
    def say(**options: Any) -> str:
        return client.generate("tiny", QUESTION, options={"num_predict": 16, **options}).response or ""

    assert say(seed=7) == say(seed=7) != say(seed=8)
    greedy = say(temperature=0)
    assert say(temperature=2, top_k=1) == greedy
    assert say(temperature=0, stop=[greedy[10:14]]) == greedy[: greedy.index(greedy[10:14])]


def weather(city: str, days: int = 1) -> str:
    """The weather to come.

    Args:
        city: where
        days: how many

    Returns:
        str: what it will be
    """
    return f"Rain for {days} days in {city}."


@pytest.mark.parametrize("tools", [[TOOL], [weather], [ollama.Tool(function=ollama.Tool.Function(**FUNCTION))]])
def test_tools_are_read_by_the_model_however_they_are_given(client: Client, tools: list[Any]) -> None:
    """There is no way here to have a call made, and random weights make none; but the prompt grows."""
    plain = client.chat("caller", ASKED, options=FEW)
    told = client.chat("caller", ASKED, tools=tools, options=FEW)

    assert told.message.tool_calls is None
    assert (told.prompt_eval_count or 0) > (plain.prompt_eval_count or 0) + 50


def test_calls_and_results_come_back_by_name_by_id_and_by_order(client: Client) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo", "days": 1}}}
    results: list[dict[str, Any]] = [
        {"role": "tool", "content": "Rain."},
        {"role": "tool", "content": "Rain.", "tool_name": "weather"},
    ]
    counted = set()
    for result in results:
        told: list[Any] = [*ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}, result]
        counted.add(client.chat("caller", told, tools=[TOOL], options=FEW).prompt_eval_count)

    assert len(counted) == 1, "the model reads the same"
    typed = ollama.Message(role="assistant", tool_calls=[ollama.Message.ToolCall(**call)])
    told = [*ASKED, typed, results[0]]
    assert client.chat("caller", told, tools=[TOOL], options=FEW).prompt_eval_count in counted


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_has_the_format_that_was_asked_for(client: Client, is_streamed: bool) -> None:
    asked: Any = {"model": "caller", "format": SCHEMA, "options": {"num_predict": 200}, "stream": is_streamed}
    said = client.chat(**asked, messages=ASKED)
    written = client.generate(**asked, prompt=QUESTION)

    if is_streamed:
        checked("".join(piece.message.content or "" for piece in said))
        checked("".join(piece.response for piece in written))
    else:
        checked(said.message.content)
        checked(written.response)


def test_thoughts_stand_beside_the_words(client: Client) -> None:
    thinking = client.chat("thinker", ASKED, think=True, options=FEW)
    streamed = list(client.chat("thinker", ASKED, think="low", options=FEW, stream=True))
    silent = client.chat("thinker", ASKED, think=False, options=FEW)
    written = client.generate("thinker", QUESTION, think=True, options=FEW)

    assert thinking.message.thinking
    assert thinking.message.content == ""
    assert "".join(piece.message.thinking or "" for piece in streamed)
    assert silent.message.thinking is None
    assert silent.message.content
    assert written.thinking
    assert written.response == ""
    counts = {thinking.eval_count, streamed[-1].eval_count, silent.eval_count, written.eval_count}
    assert counts == {6}


def test_vectors_of_one_text_and_of_many(client: Client) -> None:
    many = client.embed("bert", ["Which way?", "No"])
    one = client.embed("bert", "Which way?", dimensions=16)
    old = client.embeddings("bert", "Which way?")

    assert len(many.embeddings) == 2
    assert len(one.embeddings[0]) == 16
    assert list(old.embedding) == pytest.approx(list(many.embeddings[0]), abs=1e-4)
    assert (many.prompt_eval_count or 0) > 4


def test_models_are_listed_shown_and_counted(client: Client) -> None:
    listed = {model.model: model for model in client.list().models}

    assert set(listed) == {f"{name}:latest" for name in ("tiny", "caller", "thinker", "filler", "bert", "guide")}
    assert listed["tiny:latest"].details is not None
    assert listed["tiny:latest"].details.quantization_level == "Q8_0"
    assert (listed["tiny:latest"].size or 0) > 1_000_000
    client.generate("tiny")
    (running,) = [model for model in client.ps().models if model.model == "tiny:latest"]
    assert running.context_length == 4096
    assert running.digest == listed["tiny:latest"].digest


@pytest.mark.parametrize(
    ("model", "able"),
    [
        ("tiny", ["completion"]),
        ("caller", ["completion", "tools"]),
        ("thinker", ["completion", "tools", "thinking"]),
        ("bert", ["embedding"]),
    ],
)
def test_what_a_model_can_is_shown_whether_it_is_in_memory_or_not(client: Client, model: str, able: list[str]) -> None:
    if model == "thinker":
        client.generate(model, keep_alive=0)
        until(lambda: f"{model}:latest" not in names(client), "it has left the memory")
    shown = client.show(model)

    assert shown.capabilities == able
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == ("bert" if model == "bert" else "llama")
    assert ("tool_call" in (shown.template or "")) == ("tools" in able)


def test_a_model_comes_into_memory_and_leaves_it_when_it_is_told_to(client: Client) -> None:
    loaded = client.generate("thinker", keep_alive="10m")
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    (running,) = [model for model in client.ps().models if model.model == "thinker:latest"]
    assert running.expires_at is not None

    unloaded = client.chat("thinker", keep_alive=0)
    assert unloaded.done_reason == "unload"
    until(lambda: "thinker:latest" not in names(client), "it has left the memory")

    client.embed("thinker", "")
    assert "thinker:latest" in names(client)


def test_a_model_that_is_there_is_pulled_copied_and_deleted(owners: Client) -> None:
    assert owners.pull("tiny").status == "success"
    assert [piece.status for piece in owners.pull("tiny", stream=True)][-1] == "success"
    assert owners.copy("caller", "other").status == "success"
    assert "other:latest" in {model.model for model in owners.list().models}
    assert owners.delete("other").status == "success"
    assert "other:latest" not in {model.model for model in owners.list().models}


REFUSALS: dict[str, tuple[Any, int]] = {
    "a model that is not there": (lambda client: client.chat("nobody", ASKED), 404),
    "the same, streamed": (lambda client: list(client.chat("nobody", ASKED, stream=True)), 404),
    "show": (lambda client: client.show("nobody"), 404),
    "delete": (lambda client: client.delete("nobody"), 404),
    "pull": (lambda client: client.pull("somewhere.example/nobody/nothing"), 403),
    "create": (lambda client: client.create("mine", from_="tiny"), 404),
    "an option that is none": (lambda client: client.chat("tiny", ASKED, options={"colour": 1}), 400),
    "a suffix": (lambda client: client.generate("tiny", "def", suffix="end"), 400),
    "a chat with a model for vectors": (lambda client: client.chat("bert", ASKED), 400),
    "a prompt too long": (lambda client: client.generate("tiny", "word " * 9000), 400),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why(owners: Client, name: str) -> None:
    ask, status = REFUSALS[name]
    with pytest.raises(ResponseError) as refused:
        ask(owners)

    assert refused.value.status_code == status
    assert len(refused.value.error) > 20
    assert not refused.value.error.startswith("{"), "a sentence, and no JSON"


def test_a_stream_that_is_left_frees_its_place(all_kinds: DaemonProcess, client: Client) -> None:
    pieces: Iterator[ollama.ChatResponse] = client.chat("tiny", ASKED, options={"num_predict": 4000}, stream=True)
    assert next(pieces).message.content
    pieces.close()  # type: ignore[attr-defined]

    until_idle(all_kinds)


async def test_the_asynchronous_client_does_several_things_at_once(waiting: AsyncClient) -> None:
    async def streamed() -> list[ollama.ChatResponse]:
        pieces: AsyncIterator[ollama.ChatResponse] = await waiting.chat("tiny", ASKED, options=FEW, stream=True)
        return [piece async for piece in pieces]

    said, told, formed, vectors = await asyncio.gather(
        waiting.chat("tiny", ASKED, options=FEW),
        streamed(),
        waiting.chat("caller", ASKED, format=SCHEMA, options={"num_predict": 200}),
        waiting.embed("bert", ["a", "b"]),
    )

    assert said.eval_count == told[-1].eval_count == 6
    checked(formed.message.content or "")
    assert len(vectors.embeddings) == 2
    with pytest.raises(ResponseError):
        await waiting.chat("nobody", ASKED)


async def test_a_task_that_is_cancelled_frees_its_place(all_kinds: DaemonProcess, waiting: AsyncClient) -> None:
    task = asyncio.create_task(waiting.chat("tiny", ASKED, options={"num_predict": 4000}))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    until_idle(all_kinds)
