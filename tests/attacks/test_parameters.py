"""Prompts and parameters that no well-behaved client sends (P1 to P10), on every path that takes them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import synthetic
from tests.asking import CHAT, post
from tests.attacks.enduring import asking, nobody_waits, nothing_stays, refused, somebody_listening
from tests.daemon_process import DaemonProcess, running

COMPLETIONS, EMBEDDINGS, RERANK = "/v1/completions", "/v1/embeddings", "/v1/rerank"
MIB = 2**20
MESSAGES = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny", "max_tokens": 1, "messages": MESSAGES},
    COMPLETIONS: {"model": "tiny", "max_tokens": 1, "prompt": "Hello"},
    EMBEDDINGS: {"model": "bert", "input": "Hello"},
    RERANK: {"model": "judge", "query": "Hello", "documents": ["Hello"]},
}


@pytest.fixture(scope="module")
def daemon(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A model for words, one for vectors and one for scores, all of them in memory."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "tiny": tiny,
        "bert": synthetic.build("tiny-bert", "Q8_0", folder),
        "judge": synthetic.build("tiny-judge", "Q8_0", folder),
    }
    with running(models, '[models]\ndefault = "tiny"\n[engine]\nresident_models = 3\n') as daemon:
        for path, body in BODIES.items():
            assert post(daemon, body, path).status == 200
        yield daemon


def body(path: str, **fields: Any) -> dict[str, Any]:
    """What would be answered at `path`, but for `fields`."""
    return BODIES[path] | fields


def raw(path: str, field: str, value: str) -> bytes:
    """The same with one field's value written as it is, also where no encoder would write it."""
    rest = {name: found for name, found in BODIES[path].items() if name != field}
    extra = {"logprobs": True} if field == "top_logprobs" else {}
    return json.dumps(rest | extra)[:-1].encode() + f', "{field}": {value}}}'.encode()


# P3: what no number field takes, whatever its range.
NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"5"', '""', "true", "[]", "[1]", "{}", '"NaN"']
# Every number field, and numbers just outside of its range.
NUMBERS: dict[tuple[str, str], list[str]] = {
    (CHAT, "n"): ["0", "-1", "65", "10000", "2147483648", "9223372036854775808", "1.5"],
    (CHAT, "temperature"): ["-1", "-0.0001", "5.0001", "2147483648", "1e308"],
    (CHAT, "top_p"): ["-1", "1.0001", "9223372036854775808"],
    (CHAT, "top_k"): ["-2", "2147483648", "9223372036854775808", "0.5"],
    (CHAT, "min_p"): ["-1", "1.0001", "2147483648"],
    (CHAT, "repeat_penalty"): ["0", "-1", "10.01", "2147483648"],
    (CHAT, "frequency_penalty"): ["-2.1", "2.1", "2147483648"],
    (CHAT, "presence_penalty"): ["-2.1", "2.1", "9223372036854775808"],
    (CHAT, "seed"): ["9223372036854775808", "-9223372036854775809", "1.5", "1e300"],
    (CHAT, "max_tokens"): ["0", "-1", "2147483648", "9223372036854775808", "0.5"],
    (CHAT, "max_completion_tokens"): ["0", "-1", "2147483648", "9223372036854775808"],
    (CHAT, "top_logprobs"): ["-1", "21", "1000000", "2147483648"],
    (COMPLETIONS, "max_tokens"): ["0", "-1", "2147483648", "9223372036854775808", "0.5"],
    (COMPLETIONS, "logprobs"): ["-1", "21", "1000000", "2147483648"],
    (COMPLETIONS, "n"): ["0", "-1", "10000"],
    (COMPLETIONS, "temperature"): ["-1", "1e308"],
    (COMPLETIONS, "seed"): ["9223372036854775808"],
    (EMBEDDINGS, "dimensions"): ["0", "-1", "65537", "2147483648", "9223372036854775808", "0.5"],
    (RERANK, "top_n"): ["0", "-1", "0.5"],
}


@pytest.mark.parametrize(("path", "field"), NUMBERS.keys(), ids=[f"P3 P4 {field} {path}" for path, field in NUMBERS])
def test_a_number_that_is_none_or_out_of_range_is_a_400_that_names_the_field(
    daemon: DaemonProcess, path: str, field: str
) -> None:
    for value in [*NO_NUMBERS, *NUMBERS[path, field]]:
        reply = refused(daemon, raw(path, field, value), path)

        assert (reply.status, reply.error["code"]) == (400, "invalid_request"), value
        # What is not JSON at all has no field yet.
        assert reply.error["param"] == field or "not JSON" in reply.error["message"], (value, reply.error)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "P4 best_of": (COMPLETIONS, {"best_of": 10_000}),
    "P4 best_of of a chat": (CHAT, {"best_of": 2}),
    "P4 more at once than there is room for": (CHAT, {"n": 64}),
    "P4 an echo of nothing": (COMPLETIONS, {"max_tokens": 0}),
    "P5 an empty stop": (CHAT, {"stop": ""}),
    "P5 an empty stop in a list": (COMPLETIONS, {"stop": ["a", ""]}),
    "P5 ten thousand stops": (CHAT, {"stop": [f"s{n}" for n in range(10_000)]}),
    "P5 a stop of a mebibyte": (CHAT, {"stop": "x" * MIB}),
    "P5 a stop that is a list of lists": (CHAT, {"stop": [["a"]]}),
    "P5 a weight for no token": (CHAT, {"logit_bias": {"999999999": 1}}),
    "P5 a weight for the first token that is none": (CHAT, {"logit_bias": {"32064": 1}}),
    "P5 a weight for token -1": (COMPLETIONS, {"logit_bias": {"-1": 1}}),
    "P5 a weight for token 2^64": (CHAT, {"logit_bias": {str(2**64): 1}}),
    "P5 a hundred thousand weights": (CHAT, {"logit_bias": {str(n): 1 for n in range(100_000)}}),
    "P5 a weight beyond its range": (CHAT, {"logit_bias": {"1": 1e6}}),
    "P5 a weight that is text": (CHAT, {"logit_bias": {"1": "much"}}),
    "P5 weights as a list": (CHAT, {"logit_bias": [1, 2]}),
    "P6 token ids of no model for a completion": (COMPLETIONS, {"prompt": [1, 2, 999_999_999]}),
    "P6 the last of many prompts has ids of no model": (COMPLETIONS, {"prompt": [[1]] * 20 + [[2**31 - 1]]}),
    "P6 negative ids": (COMPLETIONS, {"prompt": [-1, 2**31]}),
    "P6 ten thousand prompts": (COMPLETIONS, {"prompt": ["a"] * 10_000}),
    "P6 prompts within prompts": (COMPLETIONS, {"prompt": [["a"]]}),
    "P6 the first id that is none": (EMBEDDINGS, {"input": [30_522]}),
    "P6 ids out of range": (EMBEDDINGS, {"input": [2**31 - 1]}),
    "P6 ids beyond 32 bits": (EMBEDDINGS, {"input": [2**31]}),
    "P6 ids beyond 64 bits": (EMBEDDINGS, {"input": [2**64]}),
    "P6 a negative id": (EMBEDDINGS, {"input": [[1, -1]]}),
    "P6 an id that is a truth": (EMBEDDINGS, {"input": [True]}),
    "P6 an id that is a fraction": (EMBEDDINGS, {"input": [1.5]}),
    "P6 ids and texts": (EMBEDDINGS, {"input": [1, "a"]}),
    "P6 ten thousand texts": (EMBEDDINGS, {"input": ["a"] * 10_000}),
    "P6 no text": (EMBEDDINGS, {"input": ""}),
    "P6 no texts": (EMBEDDINGS, {"input": []}),
    "P6 an object": (EMBEDDINGS, {"input": {"text": "a"}}),
    "P6 vectors of a reranker": (EMBEDDINGS, {"model": "judge"}),
    "P6 more numbers than a vector has": (EMBEDDINGS, {"dimensions": 65}),
    "P6 an encoding that is none": (EMBEDDINGS, {"encoding_format": "pickle"}),
    "P6 no query": (RERANK, {"query": ""}),
    "P6 no documents": (RERANK, {"documents": []}),
    "P6 an empty document": (RERANK, {"documents": ["a", ""]}),
    "P6 ten thousand documents": (RERANK, {"documents": ["a"] * 10_000}),
    "P6 a document that is none": (RERANK, {"documents": [5]}),
    "P6 a document with more than a text": (RERANK, {"documents": [{"text": "a", "url": "file:///etc/passwd"}]}),
    "P6 scores of a model for words": (RERANK, {"model": "tiny"}),
    "P9 ten thousand messages": (CHAT, {"messages": MESSAGES * 10_000}),
    "P9 no messages": (CHAT, {"messages": []}),
    "P9 messages without words": (CHAT, {"messages": [{"role": "user", "content": ""}] * 10}),
    "P9 a role that is none": (CHAT, {"messages": [{"role": "root", "content": "Hello"}]}),
    "P9 a tool's result of no call": (CHAT, {"messages": [{"role": "tool", "content": "4"}]}),
    "P9 a call of a tool": (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}),
    "P9 ten thousand parts": (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}] * 10_000}]}),
    "P9 chats from a model for vectors": (CHAT, {"model": "bert"}),
    "P9 words from a model for scores": (COMPLETIONS, {"model": "judge"}),
    "P9 a model's name of a mebibyte": (CHAT, {"model": "x" * MIB}),
    "P9 a model's name that is a path": (CHAT, {"model": "../../etc/passwd"}),
    "P9 a user's name of a mebibyte": (CHAT, {"user": "x" * MIB}),
}


@pytest.mark.parametrize(("path", "fields"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_in_words(daemon: DaemonProcess, path: str, fields: dict[str, Any]) -> None:
    known = ("invalid_request", "unsupported_parameter", "capability_missing", "model_not_found")

    assert refused(daemon, body(path, **fields), path).error["code"] in known


def test_any_ids_that_the_model_knows_are_answered(daemon: DaemonProcess) -> None:
    """Control tokens too, as a raw prompt may hold them as text; more prompts than there are places."""
    prompts = [[first, last] for first in range(4) for last in range(8)]
    reply = post(daemon, body(COMPLETIONS, prompt=prompts, max_tokens=1), COMPLETIONS)

    assert reply.status == 200
    assert [choice["index"] for choice in json.loads(reply.body)["choices"]] == list(range(len(prompts)))


def png(width: int, height: int) -> bytes:
    """A picture that is small as a file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * MIB)) + chunk(b"IEND", b"")


def image(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


IMAGES = {
    "P10 a picture of 4 gigapixels": data_url("image/png", png(65_535, 65_535)),
    "P10 a drawing": data_url("image/svg+xml", b"<svg onload='alert(1)'/>"),
    "P10 a page that says it is a picture": data_url("image/gif", b"GIF89a<script>"),
    "P10 a page": data_url("text/html", b"<script>"),
    "P10 no base64": "data:image/png;base64,%%%%",
    "P10 nothing": "data:image/png;base64,",
    "P10 a file": "file:///etc/passwd",
    "P10 this machine": "http://127.0.0.1:1/x.png",
    "P10 a cloud's own address": "http://169.254.169.254/latest/meta-data",
    "P10 gopher": "gopher://127.0.0.1:1/",
    "P10 a mebibyte of address": "data:image/png;base64," + "A" * MIB,
}


@pytest.mark.parametrize("url", IMAGES.values(), ids=IMAGES.keys())
def test_a_picture_is_not_fetched_and_not_decoded(daemon: DaemonProcess, url: str) -> None:
    reply = refused(daemon, body(CHAT, **image(url)))

    assert reply.error["code"] in ("invalid_request", "capability_missing")


PIECES = {
    "x": "x",
    "blanks": " ",
    "line breaks": "\n",
    "emoji": "😀",
    "marks": "e\u0301",
    "only marks": "\u0301",
    "characters": "龘",
    "digits": "7",
    "words": "word ",
    "brackets": "<",
    "control tokens": "<|end|>",
    "nearly control tokens": "<|en",
    "NULs": "\0",
    "right to left": "\u202e",
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("piece", PIECES.values(), ids=[f"P1 {name}" for name in PIECES])
@pytest.mark.parametrize("path", BODIES)
def test_a_mebibyte_of_anything_is_refused_while_another_conversation_goes_on(
    daemon: DaemonProcess, path: str, piece: str
) -> None:
    long = piece * (MIB // len(piece.encode()) - 8)
    fields: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": long}]},
        COMPLETIONS: {"prompt": long},
        EMBEDDINGS: {"input": long, "model": "tiny"},
        RERANK: {"documents": [long]},
    }
    with somebody_listening(daemon) as listener:
        nobody_waits(listener, lambda: too_long(daemon, path, fields[path]))


def too_long(daemon: DaemonProcess, path: str, fields: dict[str, Any]) -> None:
    reply = refused(daemon, body(path, **fields), path)
    assert (reply.status, reply.error["code"]) in (
        (400, "context_length_exceeded"),
        (400, "invalid_request"),
        (413, "payload_too_large"),
        (422, "template_limit"),
    )


@pytest.mark.parametrize("path", BODIES)
def test_more_text_than_the_owner_allows_is_a_413(daemon: DaemonProcess, path: str) -> None:
    """P1: before anything reads it."""
    long = "a" * (10 * MIB)
    fields: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": long}]},
        COMPLETIONS: {"prompt": long},
        EMBEDDINGS: {"input": long},
        RERANK: {"documents": [long]},
    }

    assert refused(daemon, body(path, **fields[path]), path).status == 413


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(daemon: DaemonProcess, path: str) -> None:
    """P2: never cut short in silence."""
    long = "word " * 9000
    fields = {"messages": [{"role": "user", "content": long}]} if path == CHAT else {"prompt": long}

    error = refused(daemon, body(path, **fields), path).error

    assert error["code"] == "context_length_exceeded"
    assert error["n_prompt_tokens"] > error["n_ctx"] > 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_prompt_that_leaves_little_room_is_answered_to_its_last_place(daemon: DaemonProcess, path: str) -> None:
    """P2, P4, P8: `length`, and not an error, however much was asked for, from a model that never ends by itself."""
    long = "word " * 3900
    fields = {"messages": [{"role": "user", "content": long}]} if path == CHAT else {"prompt": long}

    reply = post(daemon, body(path, **fields, max_tokens=10**9, temperature=0), path)

    answer = json.loads(reply.body)
    assert reply.status == 200
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] < 500


TEXTS = {
    "P7 NUL": "a\0b",
    "P7 a mark of byte order": "\ufeffHello",
    "P7 a character that is none": "\uffff\ufffe",
    "P7 private use": "\U000f0000\U000f0001\U0010ffff",
    "P7 right to left": "\u202eolleH",
    "P7 bells": "\x07\x1b[31m\x7f",
    "P7 a replacement": "\ufffd" * 10,
    "P7 long graphemes": "e" + "\u0301" * 500,
    "P7 a flag without an end": "\U0001f1e6" * 9,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_odd_but_valid_text_is_taken_as_it_is(daemon: DaemonProcess, text: str) -> None:
    asked: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": text}], "stop": text[:64]},
        COMPLETIONS: {"prompt": text, "echo": True},
        EMBEDDINGS: {"input": text},
        RERANK: {"query": text, "documents": [text], "return_documents": True},
    }
    for path, fields in asked.items():
        reply = post(daemon, body(path, **fields), path)

        assert reply.status == 200, (path, reply.body)
        if path == COMPLETIONS:
            assert json.loads(reply.body)["choices"][0]["text"].startswith(text)
        if path == RERANK:
            assert json.loads(reply.body)["results"][0]["document"]["text"] == text


def storm(daemon: DaemonProcess) -> None:
    for path, fields in REFUSED.values():
        post(daemon, body(path, **fields), path)
    for url in IMAGES.values():
        post(daemon, body(CHAT, **image(url)))
    for path, field in NUMBERS:
        post(daemon, raw(path, field, "-1e999"), path)


@pytest.mark.timeout(180)
def test_another_conversation_goes_on_and_nothing_stays(daemon: DaemonProcess) -> None:
    for _ in range(3):  # after two the daemon's allocator has all that it keeps, and a dozen more add 2 MiB
        storm(daemon)
    with nothing_stays(daemon), nothing_stays(daemon, "bert"), nothing_stays(daemon, "judge"):
        storm(daemon)
        with somebody_listening(daemon) as listener:
            nobody_waits(listener, lambda: storm(daemon))

    assert post(daemon, asking()).status == 200
