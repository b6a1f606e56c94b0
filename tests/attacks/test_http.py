"""Requests that are none, or too many, or too long (H): refused in words or hung up on, and nobody else notices."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from edged.api import listening, server
from edged.api.exposed import Exposed, Route
from tests.api.test_server import exposed_without_sockets
from tests.asking import CHAT, Reply, client_of, first_words, post, sending, until_idle
from tests.asking import chunks as streamed
from tests.attacks.enduring import PROMPTLY_S, TRACES, asking, longest_pause, nothing_stays, somebody_listening
from tests.daemon_process import DaemonProcess, running, until

MIB = 2**20
HEAD = "Host: localhost\r\nConnection: close\r\n"
REQUESTS = 100  # on one connection


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the synthetic model in memory."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking())
        yield daemon


def connected(daemon: DaemonProcess) -> socket.socket:
    """A connection on which nothing was said."""
    address = urlsplit(daemon.url)
    return socket.create_connection((address.hostname, address.port), timeout=PROMPTLY_S)


def raw(daemon: DaemonProcess, *pieces: bytes) -> bytes:
    """What comes back to `pieces`, to the end; nothing where the other side only hangs up."""
    said = b""
    with connected(daemon) as line, suppress(ConnectionError):
        with suppress(ConnectionError):
            for piece in pieces:
                line.sendall(piece)
        while data := line.recv(2**16):
            said += data
    return said


def reply_of(said: bytes) -> Reply:
    """The first answer in `said`."""
    head, _, body = said.partition(b"\r\n\r\n")
    top, *lines = head.decode("latin-1").splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(int(top.split()[1]), headers, body[: int(headers.get("Content-Length", len(body)))])


def refused(daemon: DaemonProcess, *pieces: bytes) -> Reply:
    """The refusal of `pieces`, which says nothing about our insides; the daemon answers afterwards as before."""
    began_s = time.monotonic()
    reply = reply_of(raw(daemon, *pieces))
    assert time.monotonic() - began_s < PROMPTLY_S
    assert 400 <= reply.status < 500, reply
    assert not [trace for trace in TRACES if trace in reply.error["message"]], reply.error
    assert len(reply.error["message"]) < 600
    assert daemon.get("/healthz") == {"status": "alive"}
    return reply


def head(top: str, *lines: str) -> bytes:
    return "\r\n".join([top, *lines, "", ""]).encode("latin-1")


TOO_MUCH = {
    "H2 10,000 headers": head("GET /healthz HTTP/1.1", "Host: localhost", *(f"A{n}: 1" for n in range(10_000))),
    "H2 one header of a mebibyte": head("GET /healthz HTTP/1.1", "Host: localhost", "A: " + "a" * MIB),
    "H2 a name of a mebibyte": head("GET /healthz HTTP/1.1", "Host: localhost", "a" * MIB + ": 1"),
    "H2 a URI of a mebibyte": head("GET /" + "a" * MIB + " HTTP/1.1", "Host: localhost"),
    "H2 a million query parameters": head("GET /healthz?" + "a&" * 10**6 + " HTTP/1.1", "Host: localhost"),
    "H2 100,000 cookies": head("GET /healthz HTTP/1.1", "Host: localhost", "Cookie: " + "a=b; " * 100_000),
    "H2 a method of a mebibyte": head("A" * MIB + " /healthz HTTP/1.1", "Host: localhost"),
}
CHAT_HEAD = (f"POST {CHAT} HTTP/1.1", "Host: localhost", "Content-Type: application/json")
AMBIGUOUS = {
    "H3 length and chunks": head(*CHAT_HEAD, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "H3 two lengths": head(*CHAT_HEAD, "Content-Length: 5", "Content-Length: 6") + b"12345",
    "H3 a list of lengths": head(*CHAT_HEAD, "Content-Length: 5, 6") + b"12345",
    "H3 a negative length": head(*CHAT_HEAD, "Content-Length: -5"),
    "H3 a length with a sign": head(*CHAT_HEAD, "Content-Length: +5") + b"12345",
    "H3 a length in hexadecimal": head(*CHAT_HEAD, "Content-Length: 0x5") + b"12345",
    "H3 an endless length": head(*CHAT_HEAD, "Content-Length: " + "9" * 40),
    "H3 bare line feeds": b"\n".join([*(line.encode() for line in CHAT_HEAD), b"Content-Length: 0", b"", b""]),
    "H3 a folded header": head(*CHAT_HEAD, "A: 1\r\n  2", "Content-Length: 0"),
    "H3 a blank before the colon": head(*CHAT_HEAD, "Content-Length : 5") + b"12345",
    "H3 NUL in a name": head(*CHAT_HEAD, "A\0: 1"),
    "H3 NUL in a value": head(*CHAT_HEAD, "A: \0"),
    "H3 carriage return in a value": head(*CHAT_HEAD, "A: 1\r2"),
    "H3 an unknown coding": head(*CHAT_HEAD, "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "H3 chunked twice": head(*CHAT_HEAD, "Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "H3 chunked and something": head(*CHAT_HEAD, "Transfer-Encoding: chunked, x") + b"0\r\n\r\n",
    "H3 two Hosts": head("GET /healthz HTTP/1.1", "Host: localhost", "Host: evil.example"),
    "H3 no Host": head("GET /healthz HTTP/1.1", "Connection: close"),
    "H3 HTTP 3": head("GET /healthz HTTP/3.0", "Host: localhost"),
    "H3 no version": b"GET /healthz\r\n\r\n",
    "H3 the preface of HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "H3 TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    "H3 only noise": bytes(range(256)) * 16,
}
CHUNKS = head(*CHAT_HEAD, "Transfer-Encoding: chunked", "Connection: close")
BAD_CHUNKS = {
    "H3 an extension of a mebibyte": CHUNKS + b"1;" + b"a" * MIB + b"\r\n{\r\n0\r\n\r\n",
    "H3 a flood of trailers": CHUNKS
    + b"2\r\n{}\r\n0\r\n"
    + b"".join(b"A%d: 1\r\n" % n for n in range(50_000))
    + b"\r\n",
    "H3 a chunk longer than it says": CHUNKS + b"1\r\n{}\r\n0\r\n\r\n",
    "H3 a chunk of negative length": CHUNKS + b"-1\r\n{}\r\n0\r\n\r\n",
    "H3 a chunk of endless length": CHUNKS + b"f" * 40 + b"\r\n{}",
    "H3 a chunk's length is no number": CHUNKS + b"zz\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", [*TOO_MUCH.values(), *AMBIGUOUS.values()], ids=[*TOO_MUCH, *AMBIGUOUS])
def test_what_is_too_much_or_ambiguous_is_refused_and_the_connection_ends(daemon: DaemonProcess, sent: bytes) -> None:
    assert refused(daemon, sent).status in (400, 421, 431)


@pytest.mark.parametrize("sent", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_chunks_that_are_none_cost_only_their_own_connection(daemon: DaemonProcess, sent: bytes) -> None:
    said = raw(daemon, sent)

    assert not said or 400 <= reply_of(said).status < 500
    assert said.count(b"HTTP/1.1 ") <= 1, "nothing behind it is taken for another request"
    assert daemon.get("/healthz") == {"status": "alive"}


def chunked(size: int, count: int) -> list[bytes]:
    piece = b"%x\r\n%s\r\n" % (size, b" " * size)
    together = max(1, MIB // len(piece))
    return [piece * min(together, count - done) for done in range(0, count, together)]


FLOODS = {"H4 200,000 chunks of a byte": (1, 200_000, 400), "H4 a gigabyte in chunks": (2**16, 2**14, 413)}


@pytest.mark.parametrize(("size", "count", "status"), FLOODS.values(), ids=FLOODS)
def test_a_flood_of_chunks_ends_at_the_limit_and_nobody_else_waits(
    daemon: DaemonProcess, size: int, count: int, status: int
) -> None:
    longest_s = 0.0

    def flood() -> None:
        assert refused(daemon, CHUNKS, *chunked(size, count), b"0\r\n\r\n").status == status

    with nothing_stays(daemon), somebody_listening(daemon) as listener:
        longest_s, usual_s = longest_pause(listener, flood)

    assert longest_s < max(1.0, 200 * usual_s)


HANG_UPS = {
    "FIN": socket.SHUT_RDWR,
    "RST": None,
}


@pytest.mark.parametrize("how", HANG_UPS.values(), ids=[f"H7 {name}" for name in HANG_UPS])
def test_h7_whoever_hangs_up_is_not_answered_any_more(daemon: DaemonProcess, how: int | None) -> None:
    with sending(daemon, asking(max_tokens=4000, stream=True)) as line:
        until(lambda: daemon.status()["running"] == 1, "it is being answered")
        if how is None:
            assert line.sock is not None
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    until_idle(daemon)


def test_h8_pipelined_requests_are_answered_up_to_a_hundred(daemon: DaemonProcess) -> None:
    said = raw(daemon, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000)

    assert said.count(b"HTTP/1.1 200 OK\r\n") == REQUESTS
    assert said.count(b"Connection: close\r\n") == 1


def test_h8_pipelined_chats_are_one_caller_at_a_time(daemon: DaemonProcess) -> None:
    body = json.dumps(asking(max_tokens=400)).encode()
    one = head(*CHAT_HEAD, f"Content-Length: {len(body)}") + body
    with closing(connected(daemon)) as line:
        line.sendall(one * 20)
        until(lambda: daemon.status()["running"], "the first is being answered")
        status = daemon.status()
        assert (status["running"], status["queued"]) == (1, 0)

    until(lambda: daemon.status()["running"] == 0, "the others are forgotten")


METHODS = ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT", "PROPFIND", "PATCH", "DELETE"]


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/metrics", "/", "/nowhere"])
@pytest.mark.parametrize("method", METHODS, ids=[f"H9 {method}" for method in METHODS])
def test_h9_another_method_is_refused_or_means_the_same(daemon: DaemonProcess, method: str, path: str) -> None:
    reply = reply_of(raw(daemon, f"{method} {path} HTTP/1.1\r\n{HEAD}\r\n".encode()))
    is_read = method == "HEAD" and path in ("/v1/models", "/metrics", "/")

    assert reply.status in ((200,) if is_read else (400, 404, 405))
    assert daemon.get("/healthz") == {"status": "alive"}


ODD = {
    "H9 a method that there is not": b"STEAL / HTTP/1.1\r\n" + HEAD.encode() + b"\r\n",
    "H9 a method in small letters": b"get /healthz HTTP/1.1\r\n" + HEAD.encode() + b"\r\n",
    "H9 CONNECT to elsewhere": b"CONNECT example.com:443 HTTP/1.1\r\n" + HEAD.encode() + b"\r\n",
    "H9 OPTIONS of everything": b"OPTIONS * HTTP/1.1\r\n" + HEAD.encode() + b"\r\n",
    "H9 a miracle is expected": head(*CHAT_HEAD, "Content-Length: 2", "Expect: a miracle", "Connection: close") + b"{}",
}


@pytest.mark.parametrize("sent", ODD.values(), ids=ODD)
def test_h9_what_nobody_asks_for_is_refused(daemon: DaemonProcess, sent: bytes) -> None:
    assert refused(daemon, sent).status in (400, 404, 405, 421)


UPGRADES = {"H9 h2c": "h2c", "H9 a websocket": "websocket", "H9 TLS": "TLS/1.0", "H9 what there is not": "x" * 1000}


@pytest.mark.parametrize("protocol", UPGRADES.values(), ids=UPGRADES)
def test_h9_nothing_is_upgraded(daemon: DaemonProcess, protocol: str) -> None:
    """The answer is the same as without, and what follows is no other protocol."""
    asked = head("GET /healthz HTTP/1.1", "Host: localhost", "Connection: Upgrade", f"Upgrade: {protocol}")
    with connected(daemon) as line:
        line.sendall(asked)
        first = line.recv(2**16)
        line.sendall(f"GET /healthz HTTP/1.1\r\n{HEAD}\r\n".encode())
        second = line.recv(2**16)

    assert [reply_of(said).status for said in (first, second)] == [200, 200]


PATHS = {
    "H10 two slashes": "//v1/models",
    "H10 two slashes inside": "/v1//models",
    "H10 dots": "/v1/../v1/models/..",
    "H10 dots, encoded": "/%2e%2e/etc/passwd",
    "H10 dots, encoded twice": "/v1/%252e%252e/models",
    "H10 a slash, encoded": "/v1%2fmodels",
    "H10 a backslash": "/v1\\models",
    "H10 a semicolon": "/v1/models;x=1",
    "H10 a dot behind": "/v1/models.",
    "H10 a slash behind": "/v1/models/",
    "H10 capital letters": "/V1/Models",
    "H10 NUL": "/v1/models%00",
    "H10 a line break": "/v1/models%0d%0aX: 1",
    "H10 invalid UTF-8": "/v1/models%ff",
    "H10 half an escape": "/v1/models%",
    "H10 an owner's path, encoded": "/%65dged/v1/status",
    "H10 a file of the page's folder": "/../edged/daemon.py",
    "H10 a file of the machine": "/vendor/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "H10 with an address": "http://localhost/v1/models",
    "H10 with somebody's address": "http://evil.example/v1/models",
    "H10 without a slash": "v1/models",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_h10_another_way_to_write_a_path_is_the_same_path_or_none(daemon: DaemonProcess, path: str) -> None:
    reply = reply_of(raw(daemon, f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode("latin-1")))

    if reply.status == 200:  # a path is compared after it was decoded, and everything is judged after that
        same = {"list": daemon.get("/v1/models")["data"], "status": daemon.status()["residents"]}
        found = json.loads(reply.body)
        assert (found.get("data") or found.get("residents")) in list(same.values())
    else:
        assert reply.status in (400, 404, 421)
        assert b"root:" not in reply.body
        assert reply.error["code"]


async def test_h11_an_exception_in_any_handler_is_a_500_with_an_id_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        raise RuntimeError("the secret of /root/insides.py")

    table = server.routes

    def broken(exposed: Exposed) -> list[Route]:
        return [replace(route, handler=failing) for route in table(exposed)]

    monkeypatch.setattr(server, "routes", broken)
    exposed = exposed_without_sockets(tmp_path)
    app = server.build_app(exposed)
    all_routes = [route for route in table(exposed) if route.method != "HEAD"]  # whose answers have no body
    async with (
        listening.serving(app, "127.0.0.1", 0, tmp_path / "sock") as addresses,
        aiohttp.ClientSession(addresses[0]) as client,
    ):
        for route in all_routes:
            async with client.request(route.method, route.path.replace("{", "").replace("}", "")) as response:
                text, id = await response.text(), response.headers["X-Edged-Request-Id"]
                assert (route.path, response.status) == (route.path, 500)
                assert id in text
                assert not [trace for trace in (*TRACES, "secret", "RuntimeError") if trace in text]
    assert len(caplog.records) == len(all_routes), "each is in the log, once"


def test_after_all_of_it_nothing_stays(daemon: DaemonProcess) -> None:
    def all_of_it() -> None:
        for sent in (*TOO_MUCH.values(), *AMBIGUOUS.values(), *BAD_CHUNKS.values(), *ODD.values()):
            raw(daemon, sent)

    all_of_it()
    with nothing_stays(daemon), somebody_listening(daemon) as listener:
        longest_s, usual_s = longest_pause(listener, all_of_it)

    assert longest_s < max(1.0, 200 * usual_s)
    assert "Traceback" not in daemon.log()
    with client_of(daemon) as client, streamed(client, "And now?", model="tiny", max_tokens=8) as stream:
        assert first_words(stream)
