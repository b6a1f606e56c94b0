"""Vectors and scores from a whole daemon, asked for by the official client where it has a word for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI

from benchmarks import synthetic
from tests.asking import chat, client_of, post, text_of
from tests.daemon_process import DaemonProcess, running

GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def daemon(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A model for words, one for vectors and one for scores, all of them in memory at once."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "tiny": tiny,
        "bert": synthetic.build("tiny-bert", "Q8_0", folder),
        "judge": synthetic.build("tiny-judge", "Q8_0", folder),
    }
    with running(models, '[models]\ndefault = "tiny"\n[engine]\nresident_models = 3\n') as process:
        yield process


@pytest.fixture(scope="module")
def client(daemon: DaemonProcess) -> Iterator[OpenAI]:
    with client_of(daemon) as found:
        yield found


@pytest.mark.parametrize("model", ["tiny", "bert"])
def test_the_official_client_gets_the_same_numbers_in_both_encodings(client: OpenAI, model: str) -> None:
    by_default = client.embeddings.create(model=model, input=["Which way?", "No"])  # asks for base64
    plain = client.embeddings.create(model=model, input=["Which way?", "No"], encoding_format="float")

    assert [item.index for item in by_default.data] == [0, 1]
    for one, other in zip(by_default.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-4)
        assert math.hypot(*one.embedding) == pytest.approx(1, abs=1e-4)
    assert by_default.model == model
    assert by_default.usage.prompt_tokens == by_default.usage.total_tokens > 2


def test_a_chat_says_the_same_before_and_after_vectors(client: OpenAI) -> None:
    before = text_of(chat(client, "Which way?", model="tiny", max_tokens=40, **GREEDY))
    client.embeddings.create(model="tiny", input=["One text after the other."] * 64)

    assert text_of(chat(client, "Which way?", model="tiny", max_tokens=40, **GREEDY)) == before


def test_fewer_dimensions_come_from_a_model_made_for_vectors(client: OpenAI) -> None:
    assert len(client.embeddings.create(model="bert", input="x", dimensions=16).data[0].embedding) == 16
    with pytest.raises(BadRequestError, match="dimensions is 16") as refused:
        client.embeddings.create(model="tiny", input="x", dimensions=16)
    assert refused.value.code == "unsupported_parameter"


def test_a_text_that_is_too_long_is_refused_with_both_numbers(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="Input 1 has 1002 tokens") as refused:
        client.embeddings.create(model="bert", input=["short", "word " * 1000])
    assert isinstance(refused.value.body, dict)
    assert (refused.value.code, refused.value.body["n_ctx"]) == ("context_length_exceeded", 512)


def test_documents_are_ranked(daemon: DaemonProcess) -> None:
    asked = {"model": "judge", "query": "Where is it?", "documents": ["In the harbour.", "No.", {"text": "Here"}]}
    reply = post(daemon, asked, "/v1/rerank")

    found = json.loads(reply.body)
    scores = [result["relevance_score"] for result in found["results"]]
    assert sorted(result["index"] for result in found["results"]) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    assert reply.headers["X-Edged-Served-By"] == "local"


def test_a_model_that_is_no_reranker_says_so(daemon: DaemonProcess) -> None:
    reply = post(daemon, {"model": "tiny", "query": "q", "documents": ["d"]}, "/v1/rerank")

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "capability_missing", "model")


def test_requests_for_vectors_are_in_the_records(daemon: DaemonProcess, client: OpenAI) -> None:
    client.embeddings.create(model="bert", input="Which way?")

    record = daemon.requests()[0]
    assert (record["model"], record["outcome"], record["dialect"]) == ("bert", "stop", "openai")
    assert record["prompt_tokens"] > 2
