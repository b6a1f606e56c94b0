"""Bodies that are no requests (J1, J2): each refused by name on every path, and nothing of them stays."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.asking import CHAT, post
from tests.attacks.enduring import asking, nobody_waits, nothing_stays, refused, somebody_listening
from tests.daemon_process import DaemonProcess, running

PATHS = (CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank")
MIB = 2**20


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the synthetic model in memory."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking())
        yield daemon


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


def inside(text: str) -> bytes:
    """A chat that would be fine, but for `text` in it."""
    return b'{"messages": [{"role": "user", "content": "Hello"}], ' + text.encode() + b"}"


NO_REQUEST = {
    "J1 depth 65": nested(65),
    "J1 depth 1,000": nested(1000),
    "J1 depth 100,000": nested(100_000),
    "J1 depth 1,000 of objects": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "J1 deep inside a schema": inside('"json_schema": ' + '{"a":' * 100 + "1" + "}" * 100),
    "J1 a mebibyte of brackets": b"[" * MIB,
    "J1 closing brackets": b"]" * MIB,
    "J1 brackets in an open text": b'{"a": "' + b"[" * MIB,
    "J1 a key twice": b'{"model": "tiny", "model": "tiny"}',
    "J1 a key twice, written otherwise": rb'{"model": "tiny", "\u006dodel": "tiny"}',
    "J1 a key twice, deep": inside('"json_schema": {"a": {"b": 1, "b": 2}}'),
    "J1 a hundred thousand keys": b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}",
    "J1 keys in every message": inside(
        '"stop": [' + ",".join("{" + ",".join(f'"k{n}":0' for n in range(1000)) + "}" for _ in range(100)) + "]"
    ),
    "J1 one key a hundred thousand times": b"{" + b",".join([b'"a":0'] * 100_000) + b"}",
    "J1 NaN": inside('"temperature": NaN'),
    "J1 Infinity": inside('"temperature": Infinity'),
    "J1 -Infinity": inside('"temperature": -Infinity'),
    "J1 infinite by its exponent": inside('"temperature": 1e999'),
    "J1 infinite in a schema": inside('"json_schema": {"maximum": 1e999}'),
    "J1 5,000 digits": inside('"seed": ' + "9" * 5000),
    "J1 5,000 digits in a schema": inside('"json_schema": {"maximum": ' + "9" * 5000 + "}"),
    "J1 a mebibyte of digits": b'{"seed": ' + b"9" * MIB + b"}",
    "J1 a mebibyte of zeros behind the point": b'{"temperature": 0.' + b"0" * MIB + b"1}",
    "J1 an exponent of a mebibyte": b'{"temperature": 1e' + b"9" * MIB + b"}",
    "J1 octal": inside('"seed": 0777'),
    "J1 a comment": inside("/* */"),
    "J1 single quotes": b"{'messages': []}",
    "J1 two values": b"{}{}",
    "J1 nothing": b"",
    "J1 blanks": b" " * MIB,
    "J1 a bare word": b"null",
    "J1 UTF-16": json.dumps(asking()).encode("utf-16"),
    "J1 a mark of byte order": b"\xef\xbb\xbf" + json.dumps(asking()).encode(),
    "J1 overlong UTF-8": b'{"messages": "\xc0\xaf"}',
    "J1 a NUL in a text": b'{"messages": "\x00"}',
    "J1 a line break in a text": b'{"messages": "\n"}',
    "J1 half a surrogate pair": rb'{"messages": [{"role": "user", "content": "\ud83d"}]}',
    "J1 half a surrogate pair in a call's arguments": (
        rb'{"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '
        rb'"{\"a\": \"\\ud83d\"}"}}]}]}'
    ),
    "J1 half a surrogate pair as a key": rb'{"\udfff": 1}',
    "J1 an escape that breaks off": rb'{"messages": "\u12',
    "J1 escapes in an open text": b'{"a": "' + b'\\"' * (MIB // 2),
}


@pytest.mark.parametrize("body", NO_REQUEST.values(), ids=NO_REQUEST.keys())
def test_what_is_no_json_is_a_400_on_every_path(daemon: DaemonProcess, body: bytes) -> None:
    for path in PATHS:
        reply = refused(daemon, body, path)

        assert reply.status == 400
        assert reply.error["code"] in ("invalid_request", "unsupported_parameter", "grammar_invalid")


def multipart(parts: int) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    return part * parts + b"--x--\r\n"


PLAIN = json.dumps(asking()).encode()
ZEROS = b"\0" * (256 * MIB)
OTHER_KINDS: dict[str, tuple[bytes, dict[str, str]]] = {
    "J2 text/plain": (PLAIN, {"Content-Type": "text/plain"}),
    "J2 a form": (b"messages=Hello&model=tiny", {"Content-Type": "application/x-www-form-urlencoded"}),
    "J2 100,000 parts": (multipart(100_000), {"Content-Type": "multipart/form-data; boundary=x"}),
    "J2 parts without a boundary": (multipart(1), {"Content-Type": "multipart/form-data"}),
    "J2 no type": (PLAIN, {"Content-Type": ""}),
    "J2 nearly the type": (PLAIN, {"Content-Type": "application/jsonp"}),
    "J2 two types": (PLAIN, {"Content-Type": "application/json, text/plain"}),
    "J2 a page": (b"<script>", {"Content-Type": "text/html"}),
    "J2 gzip": (gzip.compress(PLAIN), {"Content-Encoding": "gzip"}),
    "J2 a bomb of gzip": (gzip.compress(ZEROS), {"Content-Encoding": "gzip"}),
    "J2 a bomb of deflate": (zlib.compress(ZEROS, 9), {"Content-Encoding": "deflate"}),
    "J2 zstd": (b"\x28\xb5\x2f\xfd", {"Content-Encoding": "zstd"}),
    "J2 brotli": (b"\x0b\x02\x80", {"Content-Encoding": "br"}),
    "J2 gzip in gzip": (gzip.compress(gzip.compress(PLAIN)), {"Content-Encoding": "gzip, gzip"}),
    "J2 an encoding that is none": (PLAIN, {"Content-Encoding": "x" * 1000}),
}


@pytest.mark.parametrize(("body", "headers"), OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_another_kind_of_body_is_a_415_on_every_path(
    daemon: DaemonProcess, body: bytes, headers: dict[str, str]
) -> None:
    for path in PATHS:
        reply = refused(daemon, body, path, headers=headers)

        assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


def storm(daemon: DaemonProcess) -> None:
    for body in NO_REQUEST.values():
        post(daemon, body)
    for body, headers in OTHER_KINDS.values():
        post(daemon, body, headers=headers)


@pytest.mark.timeout(180)
def test_another_conversation_goes_on_and_nothing_stays(daemon: DaemonProcess) -> None:
    storm(daemon)
    with nothing_stays(daemon):
        storm(daemon)
        with somebody_listening(daemon) as listener:
            nobody_waits(listener, lambda: storm(daemon))


def ids_of(value: Any) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e%2fetc%2fpasswd", "tiny%00", "tiny%0a", "%ff%fe", "TINY", "x" * 4000, "tiny;x", "%F0%9F%98%80", "~"],
    ids=ids_of,
)
def test_a_model_by_a_hostile_name_is_a_404(daemon: DaemonProcess, name: str) -> None:
    """M: the one path that takes a name."""
    address = urlsplit(daemon.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.request("GET", f"/v1/models/{name}")
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    connection.close()

    assert response.status in (400, 404)
    assert error["src"] == "edged"
    assert "passwd" not in error["message"] or "root:" not in error["message"]
