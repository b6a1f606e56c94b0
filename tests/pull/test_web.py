"""Nobody is reached on somebody's behalf whom the owner has not named: not by a link, a redirect or a name server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from aiohttp import ThreadedResolver
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import Forbidden, InvalidRequest
from edged.pull.hosts import Named, is_public, origin_of
from edged.pull.web import Web
from tests.hub import Fault, Hub, model
from tests.pull.conftest import SHORT, Bench

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:192.168.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::192.168.1.1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b:1::7f00:1",
    "fec0::1",
    "nonsense",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_this_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_it_is_written(address: ipaddress.IPv4Address) -> None:
    assert is_public(str(address)) == is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}")


def test_the_owner_names_hosts_with_and_without_ports() -> None:
    named = Named.of(["nas.local", "10.0.0.5:8000", "[fd00::1]:80", "fd00::2"], ["http://mirror:9000/hf"])

    for url in ("http://nas.local/x", "https://NAS.local:1/x", "http://10.0.0.5:8000/x", "http://[fd00::1]/x"):
        assert named.has(url), url
    assert named.has("http://mirror:9000/other")
    assert named.has("https://[fd00::2]:99/x")
    for url in ("http://10.0.0.5/x", "http://mirror/x", "https://mirror:9000/x", "http://nas.local.evil.org/x"):
        assert not named.has(url), url


def test_an_origin_has_a_port_even_where_none_is_written() -> None:
    assert origin_of("https://a.b/x") == origin_of("https://A.b:443/y")
    for bad in ("ftp://a/", "https:///x", "https://a:x/", "nothing"):
        with pytest.raises(ValueError, match=r".+"):
            origin_of(bad)


LINKS = [
    "https://127.0.0.1:{port}/small.gguf",
    "https://localhost:{port}/small.gguf",
    "https://127.1:{port}/small.gguf",
    "https://2130706433:{port}/small.gguf",
    "https://0x7f000001:{port}/small.gguf",
    "https://017700000001:{port}/small.gguf",
    "https://[::1]:{port}/small.gguf",
    "https://[::ffff:127.0.0.1]:{port}/small.gguf",
    "https://169.254.169.254/latest/meta-data/x.gguf",
]


@pytest.mark.parametrize("link", LINKS)
async def test_a_link_reaches_nobody_on_this_network(link: str, bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    failed = await bench.pull(link.format(port=origin_of(bench.hub.files_url).port), hosts=())

    assert (failed.state, bench.hub.seen) == ("failed", []), failed
    assert failed.code == "forbidden" or "canonical" in failed.message, failed


async def test_plain_http_is_for_hosts_that_the_owner_named(bench: Bench) -> None:
    async with bench.pulls(hosts=()) as pulls:
        with pytest.raises(Forbidden, match="is plain http"):
            pulls.submit(f"{bench.hub.files_url}/small.gguf")
        with pytest.raises(InvalidRequest, match="a name and a password"):
            pulls.submit("https://user:word@example.org/a.gguf")


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1:1/x.gguf",
        "http://127.0.0.1:1/x.gguf",
        "https://localhost:1/x.gguf",
        "https://[::1]:1/x.gguf",
        "http://93.184.216.34/x.gguf",
        "//127.0.0.1:1/x.gguf",
        "https://192.168.0.1/x.gguf",
    ],
)
async def test_no_redirect_reaches_anybody_on_this_network_or_by_plain_http(target: str, bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(redirect=target)]

    failed = await bench.pull(f"{bench.hub.files_url}/small.gguf")
    assert (failed.state, failed.code) == ("failed", "forbidden"), failed
    assert len(bench.hub.fetched) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "https://", "http://[::1/x"])
async def test_a_redirect_to_what_is_no_web_address_is_refused(target: str, bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(redirect=target)]

    failed = await bench.pull(f"{bench.hub.files_url}/small.gguf")
    assert (failed.state, failed.code) == ("failed", "provider_unavailable"), failed


ESCAPED = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202egone"


@pytest.mark.parametrize("fault", [
    Fault(status=404, headers={"X-Error-Message": ESCAPED}),
    Fault(status=400, headers={"X-Error-Message": ESCAPED * 99}),
    Fault(redirect=f"https://[{ESCAPED}/x.gguf"), Fault(redirect=f"https://{ESCAPED}/x.gguf"),
    Fault(redirect=f"https://127.0.0.1:1/{ESCAPED * 99}.gguf"), Fault(status=302),
])  # fmt: skip
async def test_what_a_server_says_tells_a_terminal_nothing(fault: Fault, bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [fault] * 9

    failed = await bench.pull(f"{bench.hub.files_url}/small.gguf")

    assert failed.state == "failed"
    assert failed.message.isprintable(), failed
    assert len(failed.message) <= 1000


@pytest.mark.parametrize(("said", "told"), [
    (f"mit{ESCAPED}", "mit ]0;mine  [2J 31m gone"), (["mit", "x\ny"], "mit, x y"), ("  \n mit\nand so on", "mit"),
    ("m" * 4000, "m" * 99 + "…"), (None, ""), ([], ""),
])  # fmt: skip
async def test_a_licence_is_kept_as_it_may_be_shown(said: Any, told: str, bench: Bench) -> None:
    bench.hub.repositories["maker/Small-GGUF"] = {"small-Q4_K_M.gguf": model(10)}
    bench.hub.license = said

    assert (await bench.pull("hf.co/maker/Small-GGUF")).state == "done"
    assert (await bench.records())[0].license == told


async def test_what_a_repository_or_a_registry_lists_is_told_in_bounds(bench: Bench) -> None:
    bench.hub.repositories["maker/Small-GGUF"] = {
        **{f"{'n' * 200}{number}.gguf": model(10) for number in range(50)}, "x" * 600 + "-Q4_K_M.gguf": model(10),
    }  # fmt: skip
    bench.hub.registry["library/small:1b"] = [("x" * 150 + str(number), b"") for number in range(50)]

    for text in ("hf.co/maker/Small-GGUF:Q4_K_M", "small:1b"):
        failed = await bench.pull(text)
        assert failed.state == "failed"
        assert 400 < len(failed.message) <= 1000
    bench.hub.registry["library/small:1b"].append(("model", model(10)))
    assert (await bench.pull("small:1b")).state == "done"
    (left,) = [facts["left"] for event, facts in bench.events if event == "pull_started"]
    assert len(left) <= 400


async def test_a_name_server_that_changes_its_mind_leads_nowhere_else(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses that were looked up are those that are connected to: there is no second look-up."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    connected: list[Any] = []

    async def resolve(_self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": next(answers), "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        ]

    async def connect(_self: Any, sock: socket.socket, address: Any) -> None:
        connected.append(address)
        raise OSError(111, "nobody is there")

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", connect)
    async with Web(Named(), {}, SHORT) as web:
        with pytest.raises(Exception, match="nobody is there"):
            await web.json("https://rebinding.example/x")
        with pytest.raises(Forbidden, match=r"rebinding2\.example is on this network"):
            await web.json("https://rebinding2.example/x")
    assert connected == [("93.184.216.34", 443)]
    assert hub.seen == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": found, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for found in ("93.184.216.34", "192.168.0.1")
        ]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    async with Web(Named(), {}, SHORT) as web:
        with pytest.raises(Forbidden):
            await web.json("https://both.example/x")


async def test_the_last_gate_holds_where_the_first_ones_are_open(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else goes wrong, no socket of the public session is opened to a private address."""
    monkeypatch.setattr("edged.pull.web._check", lambda *_, **__: None)
    async with Web(Named(), {}, SHORT) as web:
        with pytest.raises(Exception, match="on this network or this machine"):
            await web.json(f"{hub.hub_url}/api/models/a/b")
    assert hub.seen == []
