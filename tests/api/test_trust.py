"""What a device tells of its https, and how it knows in which way somebody has come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edged.api import listening
from edged.api.connections import CONNECTIONS, Connections
from edged.api.listening import Secured
from edged.api.patience import Deadlines
from edged.api.server import build_app
from edged.api.transport import transport_of
from edged.api.trust import install_url, trust_body
from edged.config import Config, Http
from edged.tls.context import Facts, Tls
from edged.tls.device import DeviceCertificate
from edged.tls.names import names_of
from tests.api.test_server import exposed_without_sockets
from tests.fakes import until

FORGED = {"X-Forwarded-Proto": "https", "Forwarded": "proto=https", "X-Forwarded-For": "127.0.0.1"}
GIVEN = Facts(("box.example",), datetime(2027, 1, 1, tzinfo=UTC))


@asynccontextmanager
async def serving(
    folder: Path, deadlines: Deadlines | None = None, http: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[str, str, str]]:
    """All routes, and one that says how a request has come: the addresses for http and https, and the authority."""
    exposed = exposed_without_sockets(folder)
    exposed.config = Config(http=Http.model_validate(http or {}))
    async with Tls(DeviceCertificate(folder / "tls", lambda: names_of(["kitchen"], [])), exposed.journal.tell) as tls:
        exposed.certified = lambda: tls.facts
        secured = Secured(listening.listen("127.0.0.1", 0), tls.context)
        async with listening.serving(
            build_app(exposed, deadlines), "127.0.0.1", 0, folder / "sock", secured
        ) as addresses:
            exposed.addresses = addresses
            plain, encrypted = addresses
            assert tls.facts.authority is not None
            yield plain, encrypted, tls.facts.authority.pem


@asynccontextmanager
async def telling_how(folder: Path) -> AsyncIterator[tuple[str, str, ssl.SSLContext]]:
    """The same sockets in front of one route: how a request has come."""

    async def how(request: web.Request) -> web.Response:
        return web.Response(text=transport_of(request))

    app = web.Application()
    app[CONNECTIONS] = Connections(8, 8, Deadlines())
    app.router.add_get("/", how)
    async with Tls(DeviceCertificate(folder / "tls", lambda: names_of([], [])), lambda *_, **__: None) as tls:
        secured = Secured(listening.listen("127.0.0.1", 0), tls.context)
        async with listening.serving(app, "127.0.0.1", 0, folder / "sock", secured) as addresses:
            assert tls.facts.authority is not None
            yield *addresses, ssl.create_default_context(cadata=tls.facts.authority.pem)  # type: ignore[misc]


async def test_each_way_is_known_by_its_socket_and_not_by_what_is_said(tmp_path: Path) -> None:
    async with (
        telling_how(tmp_path) as (plain, encrypted, trusting),
        aiohttp.ClientSession() as outside,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "sock"))) as inside,
    ):
        for client, address, expected in (
            (outside, plain, "plain"),
            (outside, encrypted, "tls"),
            (inside, "http://localhost", "socket"),
        ):
            async with client.get(address, headers=FORGED, ssl=trusting) as response:
                assert await response.text() == expected


async def test_the_authority_is_fetched_without_it_and_then_trusted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plain, encrypted, authority), aiohttp.ClientSession() as client:
        async with client.get(f"{plain}/ca.crt") as response:
            assert response.content_type == "application/x-x509-ca-cert"
            assert await response.text() == authority
        trusting = ssl.create_default_context(cadata=authority)
        async with client.get(f"{encrypted}/edged/v1/trust", ssl=trusting) as response:
            body = await response.json()
        assert body["https"] == [encrypted]
        assert body["authority"]["url"] == f"{plain}/ca.crt"
        assert body["authority"]["certificate"] == authority
        assert body["names"][:2] == ["kitchen", "localhost"]


async def test_a_device_without_https_says_so(tmp_path: Path) -> None:
    exposed = exposed_without_sockets(tmp_path)
    exposed.certified = lambda: None
    async with (
        listening.serving(build_app(exposed), "127.0.0.1", 0, tmp_path / "sock") as (address,),
        aiohttp.ClientSession(address) as client,
    ):
        for path in ("/ca.crt", "/edged/v1/trust"):
            async with client.get(path) as response:
                assert response.status == 404
                assert "[tls] enabled" in (await response.json())["error"]["message"]


async def test_a_certificate_of_the_owners_has_no_authority_to_install(tmp_path: Path) -> None:
    exposed = exposed_without_sockets(tmp_path)
    exposed.certified = lambda: GIVEN
    async with (
        listening.serving(build_app(exposed), "127.0.0.1", 0, tmp_path / "sock") as addresses,
        aiohttp.ClientSession(addresses[0]) as client,
    ):
        async with client.get("/ca.crt") as response:
            assert response.status == 404
        async with client.get("/edged/v1/trust") as response:
            assert (await response.json())["authority"] is None


async def test_who_begins_a_handshake_and_stops_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path, Deadlines(handshake_s=0.05)) as (_, encrypted, _authority):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(encrypted.rpartition(":")[2]))
        writer.write(b"\x16\x03\x01\x02\x00")  # the head of a ClientHello, and nothing behind it
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_who_begins_a_handshake_and_stops_loses_the_place_to_a_newcomer(tmp_path: Path) -> None:
    deadlines = Deadlines(handshake_s=60, silent_s=0.05)
    async with serving(tmp_path, deadlines, {"connections": 8}) as (_, encrypted, authority):
        port = int(encrypted.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in silent:
            writer.write(b"\x16\x03\x01\x02\x00")
        await asyncio.sleep(4 * deadlines.silent_s)
        trusting = ssl.create_default_context(cadata=authority)
        async with aiohttp.ClientSession() as client, client.get(f"{encrypted}/healthz", ssl=trusting) as response:
            assert response.status == 200
            await until(lambda: sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent) == 1)
        for _, writer in silent:
            writer.close()


async def test_who_comes_when_every_place_is_taken_is_told_nothing_that_is_no_tls(tmp_path: Path) -> None:
    async with serving(tmp_path, Deadlines(silent_s=60), {"connections": 8}) as (_, encrypted, _authority):
        port = int(encrypted.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        for _, one in (*silent, (reader, writer)):
            one.close()


async def test_plain_http_on_the_port_for_https_gets_no_answer_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as (_, encrypted, _authority), aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(encrypted.replace("https", "http") + "/healthz")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("http://kitchen:80", "http://192.168.1.5:80", "https://192.168.1.5:8443"), "http://192.168.1.5:80/ca.crt"),
        (("http://kitchen:80",), "http://kitchen:80/ca.crt"),
        (("http://127.0.0.1:8080", "https://127.0.0.1:8443"), "http://127.0.0.1:8080/ca.crt"),
        (("http://[fd00::7]:8080",), "http://[fd00::7]:8080/ca.crt"),
    ],
)
def test_a_phone_is_sent_to_an_address(addresses: tuple[str, ...], expected: str) -> None:
    assert install_url(addresses) == expected


def test_the_day_is_what_is_told() -> None:
    assert trust_body(GIVEN, ("http://a:1",))["expires"] == "2027-01-01"
