"""Claiming, people, browsers and keys over HTTP, on a device that others can reach."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest

from edged.access.claiming import Claiming
from edged.access.people import Quota
from edged.api import listening, openapi
from edged.api.exposed import Exposed
from edged.api.server import build_app, routes
from edged.observe import Observed
from tests.api.shelves import reached_by_others
from tests.api.test_server import WORDS, exposed_without_sockets
from tests.fakes import Script, ScriptedBackend

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "Hello"}]}
MOST_S = 20
QUOTA = Quota()


class Browser:
    """A browser, or a program with `key`."""

    def __init__(self, client: aiohttp.ClientSession, document: dict[str, Any], key: str = "") -> None:
        self.client = client
        self._document = document
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and body; what is described must be so."""
        sent = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, json=body, headers=sent) as response:
            told = await response.json() if response.content_type == "application/json" else None
            self._check(method, path, response.status, told)
            return response.status, told

    def _check(self, method: str, path: str, status: int, told: Any) -> None:
        for template, methods in self._document["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in methods:
                described = methods[method.lower()]["responses"]
                assert str(status) in described, (method, path, status, told)
                if told is not None and "content" in described[str(status)]:
                    schema = described[str(status)]["content"]["application/json"]["schema"]
                    whole = schema | {"components": self._document["components"]}
                    jsonschema.validate(told, whole, cls=jsonschema.Draft202012Validator)
                return


class Device:
    """A device on the network, with whoever comes to it."""

    def __init__(self, exposed: Exposed, address: str, clients: list[aiohttp.ClientSession]) -> None:
        self.exposed = exposed
        self.address = address
        self._clients = clients
        self._document = openapi.document(routes(exposed))

    def browser(self, key: str = "") -> Browser:
        jar = aiohttp.CookieJar(unsafe=True)  # also for addresses that are numbers
        client = aiohttp.ClientSession(self.address, cookie_jar=jar)
        self._clients.append(client)
        return Browser(client, self._document, key)

    async def owner(self) -> Browser:
        """The browser of who claims it."""
        found = self.browser()
        code = self.exposed.claiming.new_code("owner")
        assert (await found.ask("POST", "/edged/v1/claim", {"code": code}))[0] == 200
        return found


@asynccontextmanager
async def device(folder: Path) -> AsyncIterator[Device]:
    exposed = exposed_without_sockets(folder)
    exposed.access = reached_by_others(exposed.journal)
    exposed.claiming = Claiming(exposed.access, None, None)
    exposed.backend = Observed(ScriptedBackend(Script(WORDS)), exposed.journal)
    clients: list[aiohttp.ClientSession] = []
    async with (
        asyncio.timeout(MOST_S),
        listening.serving(build_app(exposed), "127.0.0.1", 0, folder / "sock") as addresses,
    ):
        try:
            yield Device(exposed, addresses[0], clients)
        finally:
            for client in clients:
                await client.close()


async def test_nobody_is_served_before_it_is_claimed(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        stranger = box.browser()
        served = {
            route.path
            for route in routes(box.exposed)
            if route.method == "GET"
            and (await stranger.ask("GET", route.path.replace("{id}", "x")))[0] not in (401, 403)
        }
        closed = {path for path in served if not path.endswith((".js", ".css", ".svg", ".html"))}
        assert closed == {"/", "/claim", "/people", "/edged/v1/claim", "/healthz", "/ca.crt"}
        status, told = await stranger.ask("POST", CHAT, ASKED)
        assert (status, told["error"]["code"]) == (403, "claim_required")


async def test_of_all_who_have_the_code_one_becomes_the_owner(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        code = box.exposed.claiming.new_code("owner")
        several = [box.browser() for _ in range(8)]
        answers = await asyncio.gather(*(one.ask("POST", "/edged/v1/claim", {"code": code}) for one in several))

        assert sorted(status for status, _ in answers) in ([200, *[403] * 7], [200, *[403] * 5, *[429] * 2])
        assert [user.role for user in box.exposed.access.users.values()] == ["owner"]
        winner = several[[status for status, _ in answers].index(200)]
        assert (await winner.ask("GET", "/edged/v1/users"))[0] == 200
        assert (await winner.ask("POST", CHAT, ASKED))[0] == 200


async def test_five_wrong_codes_and_even_the_right_one_waits(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        code, guesser = box.exposed.claiming.new_code("owner"), box.browser()
        for _ in range(5):
            assert (await guesser.ask("POST", "/edged/v1/claim", {"code": "0000-0000"}))[0] == 403
        status, told = await box.browser().ask("POST", "/edged/v1/claim", {"code": code})
        assert (status, told["error"]["code"]) == (429, "rate_limited")
        assert 50 <= told["error"]["retry_after_s"] <= 90


async def test_a_browser_that_knocks_is_let_in_by_its_number(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner, phone = await box.owner(), box.browser()
        assert (await phone.ask("POST", CHAT, ASKED))[0] == 401
        _, knock = await phone.ask("POST", "/edged/v1/claim/requests", {"label": "Phone"})
        assert (await phone.ask("GET", f"/edged/v1/claim/requests/{knock['id']}"))[0] == 202
        _, waiting = await owner.ask("GET", "/edged/v1/claim/requests")
        assert [one["number"] for one in waiting["requests"]] == [knock["number"]]
        assert knock["id"] not in str(waiting)
        answer = {"number": knock["number"], "role": "member", "name": "Ana"}
        assert (await phone.ask("POST", "/edged/v1/claim/requests/answers", answer))[0] == 401
        assert (await owner.ask("POST", "/edged/v1/claim/requests/answers", answer))[0] == 204

        status, told = await phone.ask("GET", f"/edged/v1/claim/requests/{knock['id']}")
        assert (status, told["you"]["role"], told["you"]["name"]) == (200, "member", "Ana")
        assert (await phone.ask("POST", CHAT, ASKED))[0] == 200
        assert (await phone.ask("GET", "/edged/v1/users"))[0] == 403
        assert (await box.browser().ask("GET", f"/edged/v1/claim/requests/{knock['id']}"))[0] == 404


async def test_whoever_is_signed_out_or_removed_is_out_at_once(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner, member = await box.owner(), box.browser()
        _, invitation = await owner.ask("POST", "/edged/v1/users/invitations", {"role": "member", "name": "Ana"})
        assert invitation["url"].endswith(f"/claim#{invitation['code']}")
        _, claimed = await member.ask("POST", "/edged/v1/claim", {"code": invitation["code"]})
        _, mine = await member.ask("GET", "/edged/v1/sessions")
        assert [session["user"]["name"] for session in mine["sessions"]] == ["Ana"]
        _, everybodys = await owner.ask("GET", "/edged/v1/sessions")
        assert len(everybodys["sessions"]) == 2
        (theirs,) = [one["id"] for one in everybodys["sessions"] if one["user"]["role"] == "owner"]
        assert (await member.ask("DELETE", f"/edged/v1/sessions/{theirs}"))[0] == 404
        assert (await member.ask("POST", CHAT, ASKED))[0] == 200

        assert (await owner.ask("DELETE", f"/edged/v1/users/{claimed['you']['id']}"))[0] == 204
        assert (await member.ask("POST", CHAT, ASKED))[0] == 401
        (me,) = [user["id"] for user in (await owner.ask("GET", "/edged/v1/users"))[1]["users"]]
        assert (await owner.ask("DELETE", f"/edged/v1/users/{me}"))[0] == 409
        assert (await owner.ask("DELETE", "/edged/v1/sessions/current"))[0] == 204
        assert (await owner.ask("GET", "/edged/v1/users"))[0] == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner = await box.owner()
        (cookie,) = owner.client.cookie_jar
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert (await owner.ask("GET", "/edged/v1/users", Origin="app://obsidian.md"))[0] == 401
        assert (await owner.ask("GET", "/edged/v1/users", Origin="http://evil.example"))[0] == 403
        assert (await owner.ask("POST", CHAT, ASKED, Sec_Fetch_Site="cross-site"))[0] == 403


async def test_a_key_does_what_it_is_for_until_it_is_revoked(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner = await box.owner()
        asked = {"name": "Home Assistant", "quota": {"requests_per_day": 2}}
        status, made = await owner.ask("POST", "/edged/v1/keys", asked)
        assert status == 201
        program = box.browser(made["key"])
        assert (await program.ask("POST", CHAT, ASKED))[0] == 200
        assert (await box.browser().ask("POST", CHAT, ASKED, x_api_key=made["key"]))[0] == 200
        status, told = await program.ask("POST", CHAT, ASKED)
        assert (status, told["error"]["code"]) == (429, "rate_limited")
        assert (await program.ask("GET", "/edged/v1/users"))[0] == 403
        _, listed = await owner.ask("GET", "/edged/v1/keys")
        assert made["key"] not in str(listed)
        assert [key["used"]["requests"] for key in listed["keys"]] == [2]

        assert (await owner.ask("DELETE", f"/edged/v1/keys/{made['id']}"))[0] == 204
        assert (await program.ask("POST", CHAT, ASKED))[0] == 401


async def test_a_key_that_may_do_more_than_chat_is_not_made_where_others_listen(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner = await box.owner()
        for scope in ("admin", "cloud"):
            status, told = await owner.ask("POST", "/edged/v1/keys", {"name": "x", "scopes": [scope]})
            assert (status, told["error"]["code"]) == (403, "forbidden")
            assert "https" in told["error"]["message"]


async def test_the_owner_can_let_everybody_chat_and_nothing_else(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner, stranger = await box.owner(), box.browser()
        assert (await stranger.ask("POST", CHAT, ASKED))[0] == 401
        _, told = await owner.ask("PATCH", "/edged/v1/settings", {"access": {"lan_chat": True}})
        assert told["access"]["lan_chat"] == {"value": True, "locked": False}
        assert (await stranger.ask("POST", CHAT, ASKED))[0] == 200
        assert (await box.browser("sk-somebody-elses").ask("POST", CHAT, ASKED))[0] == 200
        assert (await box.browser("edk_" + "0" * 16 + "_" + "0" * 48).ask("POST", CHAT, ASKED))[0] == 401
        for path in ("/edged/v1/users", "/edged/v1/status", "/metrics", "/edged/v1/keys"):
            assert (await stranger.ask("GET", path))[0] == 401


async def test_a_key_in_the_address_is_for_chatting_and_for_owners_who_want_it(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner = await box.owner()
        key = (await owner.ask("POST", "/edged/v1/keys", {"name": "radio"}))[1]["key"]
        assert (await box.browser().ask("POST", f"/k/{key}{CHAT}", ASKED))[0] == 404
        await owner.ask("PATCH", "/edged/v1/settings", {"access": {"url_keys": True}})
        assert (await box.browser().ask("POST", f"/k/{key}{CHAT}", ASKED))[0] == 200
        status, told = await box.browser().ask("GET", f"/k/{key}/edged/v1/users")
        assert status == 404
        assert key not in str(told)
        admin, issued = await box.exposed.access.add_key("a", frozenset({"chat", "admin"}), None, QUOTA, "cloud")
        assert admin.scopes == {"chat", "admin"}
        assert (await box.browser().ask("POST", f"/k/{issued.text}{CHAT}", ASKED))[0] == 404


@pytest.mark.parametrize("name", ["X-Nothing", "X-Forwarded-For", "X-Real-IP", "X-Client-IP"])
async def test_no_header_makes_a_stranger_somebody_on_any_route(name: str, tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        owner = await box.owner()
        key = (await owner.ask("POST", "/edged/v1/keys", {"name": "x"}))[1]
        await owner.ask("DELETE", f"/edged/v1/keys/{key['id']}")
        wrong = [
            {}, {"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {key['key']}"},
            {"Authorization": f"Bearer {key['key'][:-1]}"}, {"x-api-key": key["key"]}, {"api-key": "edk_"},
            {"Authorization": f"Basic {key['key']}"}, {"Cookie": f"edged_session={key['key']}"},
        ]  # fmt: skip
        stranger = box.browser()
        let_in = [
            (route.method, route.path, proof)
            for route in routes(box.exposed)
            if route.scope not in ("shell", "public")
            for proof in wrong
            if (
                await stranger.ask(
                    route.method, re.sub(r"{\w+}", "x", route.path), ASKED if route.method == "POST" else None,
                    **(proof | {name: "127.0.0.1"}),
                )
            )[0] not in (401, 429)
        ]  # fmt: skip
        assert let_in == []
