"""What no well-behaved client sends: refused in OpenAI's shape, with the field's name, and the worker lives on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from tests.asking import CHAT, chat, client_of, post, sending
from tests.daemon_process import DaemonProcess

COMPLETIONS = "/v1/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]
MIB = 2**20
# A request of one client must not stop the daemon from answering another's. Generous: two busy cores.
PROMPTLY_S = 3.0


@pytest.fixture(autouse=True)
def _the_worker_survives(edged_daemon: DaemonProcess) -> Iterator[None]:
    """Nothing here costs the worker its life, or leaves a slot taken."""
    before = edged_daemon.worker_pid("guide")
    yield
    assert edged_daemon.worker_pid("guide") == before
    assert psutil.pid_exists(before)
    assert edged_daemon.status()["running"] == 0


def with_(**fields: Any) -> dict[str, Any]:
    """A chat that would be answered, but for `fields`."""
    return {"model": "guide", "max_tokens": 1, "messages": MESSAGES, **fields}


def nearly_a_mebibyte(piece: str) -> list[dict[str, str]]:
    """A conversation of one message with as many pieces as the limit on a request's text admits."""
    return [{"role": "user", "content": piece * (MIB // len(piece.encode()) - 1)}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"messages": [}',
        b'{"messages": [], }',
        b'{"model": "guide", "model": "guide"}',
        b"[]",
        b'"text"',
        b"null",
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e999, "messages": [{"role": "user", "content": "Hello"}]}',
        b'{"messages": "\xff\xfe"}',
        b"\xef\xbb\xbf{}",
        b"\x00" * 100,
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 65 + b"]" * 65,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_a_json_object_is_a_400(edged_daemon: DaemonProcess, body: bytes) -> None:
    for path in (CHAT, COMPLETIONS):
        reply = post(edged_daemon, body, path)

        assert reply.status == 400
        assert reply.error["type"] == "invalid_request_error"
        assert reply.error["code"] == "invalid_request"
        assert reply.headers["X-Edged-Request-Id"]


@pytest.mark.parametrize(
    "body",
    [
        rb'{"messages": [{"role": "user", "content": "half \ud83d"}]}',
        rb'{"messages": [{"role": "user", "content": "turned \udE00\uD83D round"}]}',
        rb'{"messages": [{"role": "user", "content": "Hello"}], "stop": "\ud800"}',
        rb'{"messages": [{"role": "user", "content": "Hello"}], "model": "\ud800"}',
        rb'{"\ud800": 1, "messages": [{"role": "user", "content": "Hello"}]}',
    ],
)
def test_half_a_surrogate_pair_is_a_400(edged_daemon: DaemonProcess, body: bytes) -> None:
    reply = post(edged_daemon, body)

    assert reply.status == 400
    assert reply.error["code"] == "invalid_request"


def test_a_whole_surrogate_pair_is_a_character(edged_daemon: DaemonProcess) -> None:
    body = rb'{"max_tokens": 1, "messages": [{"role": "user", "content": "\ud83d\ude00"}]}'

    assert post(edged_daemon, body).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["Hello"]}, "messages.0"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"content": "Hello"}]}, "messages.0.role"),
        ({"messages": [{"role": "pirate", "content": "Hello"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": MESSAGES * 5000}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -5}, "top_k"),
        ({"min_p": -1}, "min_p"),
        ({"frequency_penalty": 9}, "frequency_penalty"),
        ({"presence_penalty": -9}, "presence_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"seed": 2**80}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": -1}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": 5}, "stop"),
        ({"stop": "x" * 300}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"model": 5}, "model"),
        ({"model": "x" * 300}, "model"),
        ({"user": {"id": 1}}, "user"),
    ],
    ids=lambda value: json.dumps(value)[:48] if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_a_400_that_names_the_field(
    edged_daemon: DaemonProcess, fields: dict[str, Any], param: str
) -> None:
    reply = post(edged_daemon, with_(**fields))

    assert reply.status == 400, reply.body
    assert reply.error["code"] == "invalid_request"
    assert reply.error["type"] == "invalid_request_error"
    # A field of two forms (text or parts, one stop or several) is named with the form that was tried.
    assert (reply.error["param"] or "").startswith(param)
    assert len(reply.error["message"]) < 500, "it shows the value, but not a page of it"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"shout": True}, "shout"),
        ({"functions": []}, "functions"),
        ({"top_a": 0.5}, "top_a"),
        ({"messages": [{"role": "user", "content": "Hello", "shout": True}]}, "messages.0.shout"),
    ],
)
def test_a_field_that_means_nothing_here_is_refused_by_name(
    edged_daemon: DaemonProcess, fields: dict[str, Any], param: str
) -> None:
    reply = post(edged_daemon, with_(**fields))

    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": {"a": "b"}}, "prompt"),
        ({"prompt": "Hello", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "Hello", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "Hello", "echo": "yes"}, "echo"),
    ],
)
def test_a_wrong_completion_is_a_400_that_names_the_field(
    edged_daemon: DaemonProcess, body: dict[str, Any], param: str
) -> None:
    reply = post(edged_daemon, body, COMPLETIONS)

    assert reply.status == 400
    assert reply.error["param"] == param


@pytest.mark.parametrize("max_tokens", [2**31 - 1, 10**6])
def test_a_huge_limit_is_only_a_limit(edged_daemon: DaemonProcess, max_tokens: int) -> None:
    reply = post(edged_daemon, with_(max_tokens=max_tokens, temperature=0))

    assert reply.status == 200


def test_seeds_of_any_size_and_sign_are_seeds(edged_daemon: DaemonProcess) -> None:
    for seed in (0, -1, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)):
        assert post(edged_daemon, with_(seed=seed, n=2, temperature=1)).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_not_there_is_a_404(edged_daemon: DaemonProcess, stream: bool) -> None:
    for name in ("absent", "../guide", "guide.gguf", "/etc/passwd", "GUIDE", "a\n\tb", "模型"):
        reply = post(edged_daemon, with_(model=name, stream=stream))

        assert reply.status == 404
        assert (reply.error["code"], reply.error["param"]) == ("model_not_found", "model")
        assert reply.error["type"] == "not_found_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(
    edged_daemon: DaemonProcess, stream: bool
) -> None:
    long = [{"role": "user", "content": "port " * 20_000}]

    reply = post(edged_daemon, with_(messages=long, stream=stream))

    assert reply.status == 400
    error = reply.error
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    resident = edged_daemon.resident("guide")
    assert resident is not None
    assert error["n_ctx"] == resident["context_tokens"]
    assert error["n_prompt_tokens"] > error["n_ctx"]
    assert str(error["n_prompt_tokens"]) in error["message"]


def test_a_long_completion_names_its_own_field(edged_daemon: DaemonProcess) -> None:
    reply = post(edged_daemon, {"prompt": "port " * 20_000}, COMPLETIONS)

    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == ("context_length_exceeded", "prompt")


def test_the_official_client_understands_a_refusal(edged_daemon: DaemonProcess) -> None:
    with client_of(edged_daemon) as client, pytest.raises(openai.BadRequestError) as refused:
        chat(client, "port " * 20_000, model="guide")

    assert refused.value.code == "context_length_exceeded"
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("piece", ["a", "龘", "😀", "\\", " ", "\n"], ids=repr)
def test_a_text_of_nearly_a_mebibyte_is_only_too_long_for_the_model(edged_daemon: DaemonProcess, piece: str) -> None:
    """Also where escapes make it longer on its way to the worker."""
    reply = post(edged_daemon, with_(messages=nearly_a_mebibyte(piece)))

    assert reply.status == 400, reply.body
    assert reply.error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("piece", ["<|im_end|>", "<|im_end|>a", "<|im_end", "<", "\u0001"], ids=repr)
def test_a_mebibyte_of_what_grows_on_its_way_is_refused_one_way_or_another(
    edged_daemon: DaemonProcess, piece: str
) -> None:
    """Marks and escapes may take more time or room than there is on the way: no defect, only no answer."""
    reply = post(edged_daemon, with_(messages=nearly_a_mebibyte(piece)))

    assert (reply.status, reply.error["code"]) in {
        (400, "context_length_exceeded"),
        (400, "invalid_request"),
        (413, "payload_too_large"),
        (422, "template_limit"),
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps(with_(messages=[{"role": "user", "content": "a" * 10 * MIB}])).encode(), 413),
        (json.dumps(with_(messages=[{"role": "user", "content": "a" * 1000}] * 4000)).encode(), 413),
        (json.dumps({"prompt": "a" * 10 * MIB}).encode(), 413),
        (b"a" * 10 * MIB, 400),
        (b" " * 10 * MIB, 400),
        (b"[" * 10 * MIB, 400),
        (b"[" + b"1," * 5 * MIB + b"1]", 400),
        (b'{"a":"' + b'\\"' * 5 * MIB, 400),
        (b"\xff" * 10 * MIB, 400),
        (b"a" * 17 * MIB, 413),
    ],
    ids=["text", "messages", "prompt", "letters", "spaces", "brackets", "numbers", "open string", "bytes", "17 MiB"],
)
def test_ten_megabytes_are_refused_while_others_are_answered(
    edged_daemon: DaemonProcess, body: bytes, status: int
) -> None:
    path = COMPLETIONS if body.startswith(b'{"prompt"') else CHAT
    with sending(edged_daemon, body, path) as connection:
        began_s = time.monotonic()
        assert edged_daemon.get("/healthz") == {"status": "alive"}
        waited_s = time.monotonic() - began_s
        response = connection.getresponse()
        error = json.loads(response.read())["error"]

    assert waited_s < PROMPTLY_S
    assert response.status == status
    assert error["code"] == ("payload_too_large" if status == 413 else "invalid_request")
    assert error["src"] == "edged"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_another_content_type_is_a_415(edged_daemon: DaemonProcess, kind: str) -> None:
    reply = post(edged_daemon, with_(), headers={"Content-Type": kind})

    assert reply.status == 415
    assert reply.error["code"] == "unsupported_media_type"


def test_a_compressed_body_is_a_415(edged_daemon: DaemonProcess) -> None:
    reply = post(edged_daemon, b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"})

    assert reply.status == 415
    assert reply.error["code"] == "unsupported_media_type"


def test_a_charset_beside_the_type_is_fine(edged_daemon: DaemonProcess) -> None:
    assert post(edged_daemon, with_(), headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(edged_daemon: DaemonProcess) -> None:
    absent = post(edged_daemon, with_(), "/v1/nowhere")
    method = post(edged_daemon, with_(), "/v1/models")

    assert (absent.status, absent.error["code"]) == (404, "not_found")
    assert (method.status, method.error["code"]) == (405, "method_not_allowed")
    assert "GET" in method.headers["Allow"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "host_not_allowed"),
        ({"Host": ""}, 421, "host_not_allowed"),
        ({"Origin": "https://evil.example"}, 403, "forbidden"),
        ({"Origin": "null"}, 403, "forbidden"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "forbidden"),
    ],
)
def test_a_page_of_somebody_else_is_refused(
    edged_daemon: DaemonProcess, headers: dict[str, str], status: int, code: str
) -> None:
    reply = post(edged_daemon, with_(), headers=headers)

    assert (reply.status, reply.error["code"]) == (status, code)


def test_this_machines_own_page_is_not(edged_daemon: DaemonProcess) -> None:
    own = {"Origin": edged_daemon.url, "Host": urlsplit(edged_daemon.url).netloc, "Sec-Fetch-Site": "same-origin"}

    assert post(edged_daemon, with_(), headers=own).status == 200


def test_nothing_in_the_log_is_a_traceback(edged_daemon: DaemonProcess) -> None:
    """Last in this file: everything above went through one daemon."""
    assert "Traceback" not in edged_daemon.log()
