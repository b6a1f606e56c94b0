"""The bodies of vectors and scores: what is taken, what is refused by name, and what comes back, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from edged.api import body
from edged.api.embeddings import MAX_INPUTS, EmbeddingsBody
from edged.api.rerank import MAX_DOCUMENTS, RerankBody
from edged.chat import EmbedRequest, RerankRequest
from edged.errors import CapabilityMissing, InvalidRequest, PayloadTooLarge, RequestError, UnsupportedParameter
from tests.api.test_server import serving

EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"
TEXT_BYTES = 1000


def embed(**fields: Any) -> EmbedRequest:
    parsed = body.parse(json.dumps(fields).encode(), EmbeddingsBody)
    return parsed.to_request("id", "10.0.0.2", TEXT_BYTES)


def rerank(**fields: Any) -> RerankRequest:
    parsed = body.parse(json.dumps(fields).encode(), RerankBody)
    return parsed.to_request("id", "10.0.0.2", TEXT_BYTES)


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("text", ("text",)),
        (["one", "two"], ("one", "two")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["one", [4]], ("one", (4,))),
    ],
)
def test_input_is_a_text_ids_or_a_list_of_them(given: Any, inputs: tuple[Any, ...]) -> None:
    assert embed(input=given).inputs == inputs


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input.0"),
        ([], "input"),
        ({"text": "x"}, "input"),
        (5, "input"),
        (["one", ""], "input.1"),
        ([[1], []], "input.1"),
        ([1, "two"], "input.0"),
        ([[1, -1]], "input.0"),
        ([[True]], "input.0"),
        ([[1.0]], "input.0"),
        ([2**31], "input.0"),
    ],
)
def test_any_other_input_is_refused_with_its_place(given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        embed(input=given)
    assert refused.value.param == param


def test_as_many_texts_as_openai_takes_and_no_more() -> None:
    assert len(embed(input=[[1]] * 250).inputs) == 250
    with pytest.raises(InvalidRequest, match=f"{MAX_INPUTS + 1} texts; at most {MAX_INPUTS}"):
        embed(input=["a"] * (MAX_INPUTS + 1))


@pytest.mark.parametrize("given", ["é" * 501, ["a" * 600, "a" * 401], [1] * 251, [["a"] * 0 or [1] * 200, [1] * 51]])
def test_a_request_is_no_longer_than_the_owner_allows(given: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 1000"):
        embed(input=given)


def test_the_other_fields_are_honoured_or_refused_by_name() -> None:
    asked = embed(input="x", model="m", dimensions=8, user="u", encoding_format="base64")

    assert (asked.model, asked.dimensions, asked.caller.lane_path) == ("m", 8, ("open", "10.0.0.2", "u"))
    with pytest.raises(UnsupportedParameter, match="truncate is not supported"):
        embed(input="x", truncate=True)
    for wrong in ({"encoding_format": "int8"}, {"dimensions": 0}, {"dimensions": "8"}, {"model": 5}):
        with pytest.raises(InvalidRequest, match=next(iter(wrong))):
            embed(input="x", **wrong)


def test_documents_are_texts_or_objects_with_a_text() -> None:
    assert rerank(query="q", documents=["one", {"text": "two"}]).documents == ("one", "two")


@pytest.mark.parametrize(
    "wrong",
    [
        {"documents": []},
        {"documents": [""]},
        {"documents": [{"text": "x", "title": "y"}]},
        {"documents": [5]},
        {"documents": ["a"] * (MAX_DOCUMENTS + 1)},
        {"query": ""},
        {"query": None},
        {"top_n": 0},
        {"return_text": True},
        {"query": "q" * 400},  # counts with each of three documents
    ],
)
def test_what_cannot_be_ranked_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        rerank(**{"query": "q", "documents": ["a", "b", "c"], **wrong})


async def test_vectors_come_as_numbers_with_their_cost_and_their_origin(tmp_path: Path) -> None:
    async with serving(tmp_path, route="default") as box:
        async with box.client.post(EMBEDDINGS, json={"input": ["ab", [7]]}) as response:
            found = await response.json()

        assert response.status == 200
        assert found["object"] == "list"
        assert found["data"] == [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]},
            {"object": "embedding", "index": 1, "embedding": [2.0, 0.0]},
        ]
        assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert (found["model"], found["edged"]["lane"], found["edged"]["route"]) == ("guide", "background", "default")
        assert [response.headers[f"X-Edged-{name}"] for name in ("Served-By", "Model", "Route", "Attempts")] == [
            "local", "guide", "default", "1",
        ]  # fmt: skip
        assert response.headers["X-Edged-Request-Id"]
        (exchange,) = box.journal.exchanges
        assert (exchange.outcome, exchange.usage.prompt_tokens, exchange.dialect) == ("stop", 3, "openai")


async def test_vectors_come_as_base64_where_that_is_asked_for(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as box,
        box.client.post(EMBEDDINGS, json={"input": "ab", "encoding_format": "base64"}) as response,
    ):
        (item,) = (await response.json())["data"]

        assert list(array("f", base64.b64decode(item["embedding"]))) == [1.0, 0.0]


async def test_documents_come_back_best_first(tmp_path: Path) -> None:
    asked = {"query": "q", "documents": ["one", {"text": "three"}, "four", "five"], "return_documents": True}
    async with serving(tmp_path) as box:
        async with box.client.post(RERANK, json={**asked, "top_n": 3}) as response:
            found = await response.json()

        assert found["results"] == [
            {"index": 1, "relevance_score": 5.0, "document": {"text": "three"}},
            {"index": 2, "relevance_score": 4.0, "document": {"text": "four"}},
            {"index": 3, "relevance_score": 4.0, "document": {"text": "five"}},
        ]
        assert found["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
        assert response.headers["X-Edged-Model"] == "guide"


@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK])
async def test_what_a_model_cannot_do_is_a_400_in_the_dialects_shape(path: str, tmp_path: Path) -> None:
    asked = {"query": "q", "documents": ["d"]} if path == RERANK else {"input": "x"}
    async with serving(tmp_path, admission=CapabilityMissing("It cannot.", param="model")) as box:
        async with box.client.post(path, json=asked) as response:
            error = (await response.json())["error"]

        assert response.status == 400
        assert (error["code"], error["param"], error["src"]) == ("capability_missing", "model", "edged")
        assert box.journal.exchanges[-1].outcome == "capability_missing"


@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK])
async def test_a_client_that_leaves_stops_the_work(path: str, tmp_path: Path) -> None:
    asked = {"query": "q", "documents": ["d"]} if path == RERANK else {"input": "x"}
    async with serving(tmp_path, admission=asyncio.Event()) as box:
        request = asyncio.ensure_future(box.client.post(path, json=asked))
        await box.backend.asked.wait()
        request.cancel()

        await box.backend.cancelled.wait()
        await box.journal.quiet()
        assert box.journal.exchanges[-1].outcome == "cancelled"
