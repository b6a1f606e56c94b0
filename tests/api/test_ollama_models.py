"""The models in Ollama's shapes, vectors in its dialect, and what of pulling, copying and deleting needs no network."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

import edged
from edged.api import body
from edged.api.ollama_embeddings import EmbedBody, OldEmbedBody, embed_body, no_vectors_body, old_embed_body
from edged.api.ollama_models import (
    API_VERSION,
    REFUSED,
    CopyBody,
    DeleteBody,
    Running,
    ShowBody,
    digest_of,
    ps_body,
    rfc3339,
    show_body,
    tagged,
    tags_body,
    version_body,
)
from edged.api.ollama_pull import PullBody, pulled_body
from edged.chat import Caller, EmbedRequest, ModelCard
from edged.completion import Admission, Embeddings
from edged.errors import InvalidRequest, ModelNotFound, PayloadTooLarge, RequestError, UnsupportedParameter
from edged.gguf.about import _FILE_TYPES, about
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
from edged.speech.abilities import abilities
from edged.store import GUIDE, Store

HEADER = Gguf(
    "words",
    "qwen3",
    {
        "general.architecture": "qwen3",
        "general.name": "Qwen3",
        "general.license": "apache-2.0",
        "general.size_label": "1.7B",
        "general.file_type": 15,
        "qwen3.context_length": 40960,
        "qwen3.rope.freq_base": 1e6,
        "odd": float("nan"),
    },
)
CARD = ModelCard(
    "qwen3-1.7b",
    "local",
    1_834_426_016,
    1_690_000_000,
    8192,
    True,
    abilities=("completion", "chat", "tools", "infill"),
    about=about(HEADER),
)
INSTALLED = ("qwen3-1.7b", "guide")
Body = TypeVar("Body", bound=BaseModel)


def parsed(kind: type[Body], /, **fields: Any) -> Body:
    return body.parse(json.dumps(fields).encode(), kind)


DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "qwen3",
    "families": ["qwen3"],
    "parameter_size": "1.7B",
    "quantization_level": "Q4_K_M",
    "context_length": 40960,
}


def test_what_is_installed() -> None:
    assert tags_body([CARD], {"qwen3-1.7b": HEADER}) == {
        "models": [
            {
                "name": "qwen3-1.7b:latest",
                "model": "qwen3-1.7b:latest",
                "modified_at": "2023-07-22T04:26:40.000000000Z",
                "size": 1_834_426_016,
                "digest": digest_of(CARD),
                "details": DETAILS,
                "capabilities": ["completion", "tools", "insert"],
            }
        ]
    }


def test_a_file_that_says_nothing_of_itself_is_listed_all_the_same() -> None:
    (model,) = tags_body([CARD], {})["models"]

    nothing = {"family": "", "families": [], "parameter_size": "", "quantization_level": ""}
    assert model["details"] == {"parent_model": "", "format": "gguf"} | nothing


def test_what_is_in_memory_and_until_when() -> None:
    running = [Running(CARD, 2_000_000_000, 1_000, 1_690_000_300.5), Running(CARD, 1)]
    first, second = ps_body(running, {"qwen3-1.7b": HEADER}, 1_690_000_000.0)["models"]

    assert first == {
        "name": "qwen3-1.7b:latest",
        "model": "qwen3-1.7b:latest",
        "size": 2_000_000_000,
        "digest": digest_of(CARD),
        "details": DETAILS,
        "expires_at": "2023-07-22T04:31:40.000000000Z",
        "size_vram": 1000,
        "context_length": 8192,
    }
    assert second["expires_at"].startswith("2315-")


def test_what_a_model_is() -> None:
    assert show_body(CARD, replace(HEADER, template="{{ tools }}")) == {
        "modelfile": "# A GGUF file, no Modelfile\nFROM qwen3-1.7b:latest\n",
        "parameters": "",
        "template": "{{ tools }}",
        "license": "apache-2.0",
        "details": DETAILS,
        "model_info": {
            "general.architecture": "qwen3",
            "general.license": "apache-2.0",
            "general.size_label": "1.7B",
            "general.file_type": 15,
            "qwen3.context_length": 40960,
            "qwen3.rope.freq_base": 1e6,
        },
        "capabilities": ["completion", "tools", "insert"],
        "modified_at": "2023-07-22T04:26:40.000000000Z",
    }


@pytest.mark.parametrize(
    ("made_for", "template", "able"),
    [
        ("words", "", ["completion"]),
        ("words", "{{ messages }}", ["completion"]),
        ("words", "{% if tools %}<tool_call>{% endif %}", ["completion", "tools"]),
        ("words", "{{ toolset }}<think></think>", ["completion", "thinking"]),
        ("words", "<|channel|><|message|>{{ tools }}", ["completion", "tools", "thinking"]),
        ("vectors", "{{ tools }}", ["embedding"]),
        ("scores", "{{ tools }}", []),
        (None, "", []),
    ],
)
def test_what_a_model_can(made_for: Any, template: str, able: list[str]) -> None:
    header = None
    if made_for:
        tensors = Tensors(count=1)
        header = replace(HEADER, made_for=made_for, template=template, has_template=bool(template), tensors=tensors)
    card = ModelCard("m", "local", 1, 1, made_for=made_for, abilities=abilities(header))

    assert show_body(card, header)["capabilities"] == able
    assert tags_body([card], {"m": header})["models"][0]["capabilities"] == able


def test_a_guessed_type_is_told_as_what_was_guessed_and_an_unknown_one_as_unknown() -> None:
    for said, told in ((1024 + 7, "Q8_0"), (999, "unknown"), ("Q4", "")):
        header = Gguf("words", "llama", {"general.file_type": said})
        assert tags_body([CARD], {CARD.name: header})["models"][0]["details"]["quantization_level"] == told


def test_the_types_are_llama_cpps() -> None:
    from llama_cpp import llama_cpp

    known = {
        value: name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_")
        for name, value in vars(llama_cpp).items()
        if name.startswith("LLAMA_FTYPE_") and value != llama_cpp.LLAMA_FTYPE_GUESSED
    }
    assert known == _FILE_TYPES


def test_the_built_in_model_says_what_it_is(tmp_path: Path) -> None:
    header = Store(tmp_path).find(GUIDE).header
    assert header is not None
    details = tags_body([CARD], {CARD.name: header})["models"][0]["details"]

    assert details["family"] == header.architecture
    assert details["quantization_level"] in _FILE_TYPES.values()


def test_a_digest_changes_with_the_file_and_is_long_enough_for_every_list() -> None:
    others = [ModelCard("m", "local", 5, 6), ModelCard("n", "local", 5, 6), ModelCard("m", "local", 6, 6)]
    others.append(ModelCard("m", "local", 5, 7))

    assert len({digest_of(card) for card in others}) == 4
    assert digest_of(others[0]) == digest_of(ModelCard("m", "local", 5, 6, 7, True))
    assert len(digest_of(CARD)) == 64


def test_names_and_times_and_versions() -> None:
    assert (tagged("m"), tagged("m:8b")) == ("m:latest", "m:8b")
    assert rfc3339(1_690_000_000_123_456_789) == "2023-07-22T04:26:40.123456789Z"
    assert version_body() == {"version": API_VERSION, "edged": edged.__version__}
    assert {path for _, path in REFUSED} == {"/api/create", "/api/push", "/api/blobs/{digest}"}


@pytest.mark.parametrize("model", [ShowBody, DeleteBody])
def test_a_model_is_named_with_or_without_its_tag_in_the_new_field_or_the_old(
    model: type[ShowBody] | type[DeleteBody],
) -> None:
    for fields in ({"model": "guide"}, {"model": "guide:latest"}, {"name": "guide", "model": ""}):
        assert parsed(model, **fields).found(INSTALLED) == "guide"
    with pytest.raises(ModelNotFound, match=r"^model 'llama3:8b' not found\. Installed: qwen3-1.7b, guide\.$"):
        parsed(model, model="llama3:8b").found(INSTALLED)
    with pytest.raises(InvalidRequest, match="model is required"):
        parsed(model).found(INSTALLED)


def test_showing_changes_nothing() -> None:
    parsed(ShowBody, model="m", verbose=False, system="", template="", options={}).check()
    for fields in ({"verbose": True}, {"system": "x"}, {"template": "x"}):
        with pytest.raises(UnsupportedParameter, match=next(iter(fields))):
            parsed(ShowBody, model="m", **fields).check()
    with pytest.raises(RequestError, match="options"):
        parsed(ShowBody, model="m", options={"num_ctx": 1})


def test_what_is_to_be_pulled_has_a_name_and_comes_encrypted() -> None:
    asked = parsed(PullBody, name="guide:latest", insecure=False, username="", password="")
    assert asked.stream
    assert asked.reference() == "guide:latest"
    assert pulled_body() == {"status": "success"}
    with pytest.raises(UnsupportedParameter, match="insecure"):
        parsed(PullBody, model="guide", insecure=True).reference()
    with pytest.raises(InvalidRequest, match="model is required"):
        parsed(PullBody, stream=False).reference()
    with pytest.raises(InvalidRequest, match="password"):
        parsed(PullBody, model="guide", password="x")


def test_copying_names_a_model_that_is_there_and_another_name() -> None:
    asked = parsed(CopyBody, source="guide:latest", destination="mine:latest")

    assert asked.names(INSTALLED) == ("guide", "mine")
    with pytest.raises(ModelNotFound) as refused:
        parsed(CopyBody, source="x", destination="y").names(INSTALLED)
    assert refused.value.param == "source"
    for fields in ({"source": "guide", "destination": ""}, {"source": "", "destination": "x"}):
        with pytest.raises(InvalidRequest):
            parsed(CopyBody, **fields).names(INSTALLED)


def embed(**fields: Any) -> EmbedRequest:
    return parsed(EmbedBody, **fields).to_request("id", "10.0.0.2", 1000)


def test_texts_for_vectors() -> None:
    wanted = embed(model="m", input=["a", "b"], dimensions=8, truncate=True, options={"num_ctx": 512.0})

    assert wanted == EmbedRequest("id", ("a", "b"), "m", 8, Caller("ollama", address="10.0.0.2"))
    assert embed(input="a").inputs == ("a",)
    assert embed(input="a", dimensions=0, truncate=False).dimensions is None
    old = parsed(OldEmbedBody, model="m", prompt="a", keep_alive="5m")
    assert old.to_request("id", "", 1000).inputs == ("a",)
    assert old.keep_alive_s == 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": {}}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": [[1, 2]]}, "input.0"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": -1}, "dimensions"),
        ({"input": "a", "options": {"temperature": 1}}, "options.temperature"),
        ({"input": "a", "options": {"num_thread": 1}}, "options.num_thread"),
        ({"input": "a", "encoding_format": "float"}, "encoding_format"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        embed(**fields)
    assert refused.value.param == param


def test_texts_are_counted_and_limited() -> None:
    with pytest.raises(PayloadTooLarge):
        embed(input=["a" * 600, "a" * 401])
    with pytest.raises(PayloadTooLarge):
        parsed(OldEmbedBody, prompt="a" * 1001).to_request("id", "", 1000)


@pytest.mark.parametrize(
    ("asked", "is_errand"), [({}, True), ({"input": ""}, True), ({"input": []}, True), ({"input": "a"}, False)]
)
def test_without_a_text_a_model_is_only_loaded(asked: dict[str, Any], is_errand: bool) -> None:
    assert parsed(EmbedBody, **asked).is_errand == is_errand
    assert parsed(OldEmbedBody, prompt=asked.get("input") or "").is_errand == is_errand
    assert no_vectors_body("m") == {"model": "m", "embeddings": []}


FOUND = Embeddings(
    Admission("m", "local", 8, route="named", queue_s=0.5),
    (array("f", [1.0, 0.0]).tobytes(), array("f", [0.5, -0.5]).tobytes()),
)
FACTS = '{"served_by":"local","model":"m","route":"named","lane":"background","attempts":1,"queue_ms":500.0}'


async def test_vectors_byte_for_byte() -> None:
    sent = b"".join([piece async for piece in embed_body(FOUND, "m:latest", 2.0)])

    assert sent.decode() == (
        '{"model":"m:latest","embeddings":[[1.0,0.0],[0.5,-0.5]],"total_duration":2000000000,'
        '"load_duration":500000000,"prompt_eval_count":8,"edged":' + FACTS + "}"
    )
    whole = json.loads(b"".join([piece async for piece in embed_body(FOUND, None, 2.0)]))
    assert whole["model"] == "m:latest"


def test_one_vector() -> None:
    found = Embeddings(FOUND.admission, FOUND.vectors[:1])

    assert old_embed_body(found) == {"embedding": [1.0, 0.0], "edged": json.loads(FACTS)}


def test_the_official_client_reads_them_all() -> None:
    ollama = pytest.importorskip("ollama")
    headers: dict[str, Gguf | None] = {CARD.name: HEADER}
    (model,) = ollama.ListResponse(**tags_body([CARD], headers)).models
    (running,) = ollama.ProcessResponse(**ps_body([Running(CARD, 5)], headers, 0.0)).models
    shown = ollama.ShowResponse(**show_body(CARD, HEADER))

    assert (model.model, model.size, model.details.quantization_level) == (
        "qwen3-1.7b:latest",
        CARD.size_bytes,
        "Q4_K_M",
    )
    assert (running.context_length, running.expires_at.year) == (8192, 2262)
    assert (shown.modelinfo["qwen3.context_length"], shown.capabilities) == (40960, ["completion", "tools", "insert"])
    assert ollama.ProgressResponse(**pulled_body()).status == "success"
