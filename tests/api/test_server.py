"""The routes on real sockets, with a backend that plays a script."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edged import errors
from edged.api import listening
from edged.api import stream as streaming
from edged.api.errors import headers_of, openai_body, status_of
from edged.api.exposed import Exposed
from edged.api.patience import Deadlines
from edged.api.server import build_app, routes
from edged.completion import Delta, Finish
from edged.config import Config, Engine, Http, Limits
from edged.errors import EdgedError, Unavailable, WorkerCrashed
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.metrics import Metrics
from edged.observe import Journal, Observed
from edged.routing import Router
from edged.store import Store
from tests.api.shelves import owners_headers, shelves
from tests.fakes import Script, ScriptedBackend

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
WORDS = (Delta(0, "Hello"), Delta(0, " you"), Finish(0, "stop", 3))
MOST_S = 10


@dataclass
class Box:
    """A daemon without models: what is asked is answered from a script."""

    backend: ScriptedBackend
    journal: Journal
    exposed: Exposed
    app: web.Application
    client: aiohttp.ClientSession = field(init=False)
    port: int = 0

    async def ask(self, **fields: Any) -> tuple[int, dict[str, str], Any]:
        """A chat, not streamed; status, headers and JSON body."""
        async with self.client.post(CHAT, json={**ASKED, **fields}) as response:
            return response.status, dict(response.headers), await response.json()

    async def raw(self, head: str) -> tuple[int, Any]:
        """A request of which every byte is written down; status and JSON body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.replace("\n", "\r\n").encode() + b"Connection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        top, _, body = answer.partition(b"\r\n\r\n")
        return int(top.split()[1]), json.loads(body) if body.startswith(b"{") else None


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *steps: Any,
    hold_status_s: float = 60.0,
    deadlines: Deadlines | None = None,
    http: dict[str, Any] | None = None,
    **script: Any,
) -> AsyncIterator[Box]:
    backend = ScriptedBackend(Script(steps or WORDS, **script))
    settings = {"hold_status_s": hold_status_s, "allowed_hosts": ("box.lan",), "body_bytes": 2**20, **(http or {})}
    config = Config(
        http=Http.model_validate(settings),
        engine=Engine(sequences=4),
        limits=Limits(text_bytes=2**16),
    )
    store, journal = Store(tmp_path), Journal()
    pool = Pool(store, config.engine, config.limits, journal.tell)
    local, metrics = Local(pool, store, config.limits), Metrics(pool)
    journal.observers.append(metrics)
    router = Router(backend, store.models, {}, lambda _installed: "guide", lambda _able: None)
    exposed = Exposed(
        config, Observed(backend, journal), router, local, pool, store, journal, metrics,
        *shelves(store, journal), lambda: "guide", 0.0,
    )  # fmt: skip
    box = Box(backend, journal, exposed, build_app(exposed, deadlines))
    async with listening.serving(box.app, "127.0.0.1", 0, tmp_path / "sock") as addresses:
        box.port = int(addresses[0].rsplit(":", 1)[1])
        async with (
            asyncio.timeout(MOST_S),
            aiohttp.ClientSession(f"http://127.0.0.1:{box.port}", headers=owners_headers(exposed.access)) as box.client,
        ):
            yield box


def data_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n\n") if line.startswith("data: {") for line in [line[6:]]]


async def test_a_whole_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        status, headers, body = await box.ask()

        assert status == 200
        assert body["choices"][0]["message"]["content"] == "Hello you"
        assert body["usage"]["completion_tokens"] == 3
        assert body["id"] == "chatcmpl-" + headers["X-Edged-Request-Id"]
        assert [headers[f"X-Edged-{name}"] for name in ("Served-By", "Model", "Route", "Attempts")] == [
            "local", "guide", "local", "1",
        ]  # fmt: skip
        assert box.backend.closed.is_set()
        assert box.journal.running == 0


async def test_a_streamed_answer(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as box,
        box.client.post(CHAT, json={**ASKED, "stream": True, "stream_options": {"include_usage": True}}) as response,
    ):
        text = await response.text()

        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Edged-Served-By"] == "local"
        assert response.headers["Cache-Control"] == "no-store"
        assert text.endswith("data: [DONE]\n\n")
        chunks = data_lines(text)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "Hello you"
        assert (chunks[-1]["usage"]["total_tokens"], chunks[-1]["edged"]["served_by"]) == (8, "local")
        await box.backend.closed.wait()


async def test_a_browsers_new_secret_comes_with_an_answer_that_can_bring_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as box:
        access = box.exposed.access
        _user, issued = await access.add_user("Ada", "owner", "a laptop")
        id, digest = issued.credential.id, issued.credential.digest
        monkeypatch.setattr("edged.access.door._RENEW_S", 0.0)
        cookie = {"Cookie": f"edged_session={issued.text}"}
        async with aiohttp.ClientSession(str(box.client._base_url), headers=cookie) as browser:
            async with browser.post(CHAT, json={**ASKED, "stream": True}) as response:
                assert "Set-Cookie" not in response.headers
            assert access.sessions[id].digest == digest
            async with browser.post(CHAT, json=ASKED) as response:
                assert "edged_session" in response.cookies
            assert access.sessions[id].digest != digest


async def test_a_full_disk_shuts_no_browser_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as box:
        access = box.exposed.access
        _user, issued = await access.add_user("Ada", "owner", "a laptop")
        monkeypatch.setattr("edged.access.door._RENEW_S", 0.0)
        access._register._database._connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)  # as if it were full
        cookie = {"Cookie": f"edged_session={issued.text}"}
        async with (
            aiohttp.ClientSession(str(box.client._base_url), headers=cookie) as browser,
            browser.post(CHAT, json=ASKED) as response,
        ):
            assert (response.status, "Set-Cookie" in response.headers) == (200, False)


async def test_a_completion(tmp_path: Path) -> None:
    async with serving(tmp_path) as box, box.client.post("/v1/completions", json={"prompt": "Once"}) as response:
        assert (await response.json())["choices"][0]["text"] == "Hello you"
        assert box.backend.requests[0].raw_prompt == "Once"


async def test_a_completion_of_several_prompts(tmp_path: Path) -> None:
    steps = (Delta(1, "b"), Delta(0, "a"), Finish(0, "stop", 1), Finish(1, "stop", 1))
    async with serving(tmp_path, *steps) as box:
        for fields in ({}, {"stream": True}):
            asked = {"prompt": ["One", "Two"], **fields}
            async with box.client.post("/v1/completions", json=asked) as response:
                text = await response.text()
            bodies = data_lines(text) if fields else [json.loads(text)]
            told = [(choice["index"], choice["text"]) for body in bodies for choice in body["choices"]]
            assert sorted(told, key=lambda choice: choice[0]) == (
                [(0, "a"), (0, ""), (1, "b"), (1, "")] if fields else [(0, "a"), (1, "b")]
            )
            assert "edged" in bodies[-1]
        assert box.backend.requests[0].further_prompts == ("Two",)


async def test_more_answers_than_can_advance_at_once_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        status, _, body = await box.ask(n=5)

        assert (status, body["error"]["param"]) == (400, "n")
        assert box.backend.requests == []


EVERY_ERROR = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, EdgedError)]
# Design, section 3.4. What is not named there takes its parent's.
STATUS = {
    "invalid_request": 400, "unsupported_parameter": 400, "context_length_exceeded": 400, "capability_missing": 400,
    "grammar_invalid": 400,
    "unauthorized": 401, "forbidden": 403, "claim_required": 403, "cancelled": 499,
    "model_not_found": 404, "not_found": 404, "method_not_allowed": 405, "payload_too_large": 413,
    "unsupported_media_type": 415, "host_not_allowed": 421, "model_invalid": 422, "model_unsupported": 422,
    "model_quarantined": 422, "template_limit": 422,
    "rate_limited": 429, "predicted_timeout": 503,
    "internal": 500, "queue_full": 503, "model_loading": 503, "worker_crashed": 503, "worker_stalled": 503,
    "worker_oom": 503, "shutting_down": 503, "load_timeout": 504, "model_too_large": 507,
    "conflict": 409, "checksum_mismatch": 422, "provider_unavailable": 502, "provider_auth": 502, "disk_full": 507,
}  # fmt: skip


def example(kind: type[EdgedError]) -> EdgedError:
    special: dict[type[EdgedError], EdgedError] = {
        errors.ContextLengthExceeded: errors.ContextLengthExceeded(9, 8),
        errors.InputTooLong: errors.InputTooLong("Input 1", 9, 8, param="input"),
        errors.MethodNotAllowed: errors.MethodNotAllowed("no", allowed=("GET", "HEAD")),
        errors.ModelLoading: errors.ModelLoading("soon", progress=0.5, retry_after_s=2.5),
        errors.ModelTooLarge: errors.ModelTooLarge("large", needed_bytes=9, available_bytes=8),
        errors.OffsetConflict: errors.OffsetConflict("elsewhere", offset_bytes=5),
    }
    return special.get(kind) or kind("It went wrong.")


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_has_the_status_of_the_design(kind: type[EdgedError]) -> None:
    error = example(kind)
    body = openai_body(error)["error"]

    assert status_of(error) == STATUS[error.code]
    assert (body["message"], body["code"], body["src"]) == (str(error), error.code, "edged")
    assert body["type"].endswith("_error")
    assert ("Retry-After" in headers_of(error)) == (status_of(error) in (429, 502, 503, 504, 507))


def test_retry_after_is_whole_seconds_and_never_zero() -> None:
    assert headers_of(Unavailable("x", retry_after_s=0.01)) == {"Retry-After": "1"}
    assert headers_of(Unavailable("x", retry_after_s=2.1))["Retry-After"] in ("3", "4")


def test_who_was_refused_together_does_not_come_back_together() -> None:
    refusals = [Unavailable("x", retry_after_s=30) for _ in range(200)]
    told = {headers_of(refusal)["Retry-After"] for refusal in refusals}

    assert len(told) > 5
    assert {int(seconds) for seconds in told} <= set(range(30, 41))
    for refusal in refusals:
        body = openai_body(refusal)["error"]
        assert str(body["retry_after_s"]) == headers_of(refusal)["Retry-After"], "header and body say the same"


def test_an_over_long_prompt_is_told_in_llama_servers_numbers() -> None:
    body = openai_body(errors.ContextLengthExceeded(9000, 8192))["error"]

    assert (body["n_prompt_tokens"], body["n_ctx"], body["type"]) == (9000, 8192, "invalid_request_error")


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("kind", [errors.QueueFull, errors.ModelInvalid, errors.ShuttingDown, errors.InvalidRequest])
async def test_a_refusal_is_a_status_also_for_a_stream(
    kind: type[EdgedError], is_streamed: bool, tmp_path: Path
) -> None:
    error = example(kind)
    async with serving(tmp_path, admission=error) as box:
        status, headers, body = await box.ask(stream=is_streamed)

        assert (status, body["error"]["code"]) == (STATUS[error.code], error.code)
        assert ("Retry-After" in headers) == (status == 503)
        assert len(headers["X-Edged-Request-Id"]) == 32
        assert box.journal.exchanges[0].outcome == error.code


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_an_error_before_the_first_word_is_a_status(is_streamed: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, WorkerCrashed("It died.")) as box:
        status, _, body = await box.ask(stream=is_streamed)

        assert (status, body["error"]["code"]) == (503, "worker_crashed")
        assert box.backend.closed.is_set()


async def test_an_error_after_words_is_told_in_the_stream_which_then_has_no_end_mark(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, Delta(0, "Hel"), WorkerCrashed("It died.")) as box,
        box.client.post(CHAT, json={**ASKED, "stream": True}) as response,
    ):
        text = await response.text()

        assert response.status == 200
        assert "[DONE]" not in text
        assert data_lines(text)[-1]["error"] | {"message": ""} == {
            "message": "", "type": "server_error", "param": None, "code": "worker_crashed", "src": "edged",
            "retry_after_s": 1, "partial": True,
        }  # fmt: skip


async def test_an_error_after_words_of_a_whole_answer_is_a_status(tmp_path: Path) -> None:
    async with serving(tmp_path, Delta(0, "Hel"), WorkerCrashed("It died.")) as box:
        assert (await box.ask())[0] == 503


async def test_what_we_did_not_foresee_is_an_internal_error_without_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as box:
        monkeypatch.setattr(box.backend, "script", None)
        status, headers, body = await box.ask()

        assert (status, body["error"]["code"]) == (500, "internal")
        assert headers["X-Edged-Request-Id"] in body["error"]["message"]
        assert "NoneType" not in json.dumps(body)


@pytest.mark.parametrize("where", ["admission", "first word"])
async def test_a_stream_that_is_held_too_long_opens_pending_and_beats(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HEARTBEAT_S", 0.01)
    ready = asyncio.Event()
    script: dict[str, Any] = {"admission": ready} if where == "admission" else {}
    steps = WORDS if script else (ready, *WORDS)
    async with (
        serving(tmp_path, *steps, hold_status_s=0.01, **script) as box,
        box.client.post(CHAT, json={**ASKED, "stream": True}) as response,
    ):
        assert (response.status, response.headers["X-Edged-Served-By"]) == (200, "pending")
        assert await response.content.readuntil(b"\n\n") == b": still working\n\n"

        ready.set()

        text = await response.text()
        assert text.endswith("data: [DONE]\n\n")
        assert data_lines(text)[-1]["edged"]["served_by"] == "local", "the end tells what the headers could not"


async def test_a_refusal_after_the_status_was_sent_is_told_in_the_stream(tmp_path: Path) -> None:
    ready = asyncio.Event()
    async with (
        serving(tmp_path, ready, WorkerCrashed("It died."), hold_status_s=0.01) as box,
        box.client.post(CHAT, json={**ASKED, "stream": True}) as response,
    ):
        ready.set()
        text = await response.text()

        assert data_lines(text)[-1]["error"]["code"] == "worker_crashed"
        assert "[DONE]" not in text


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_who_hangs_up_in_the_queue_leaves_it(is_streamed: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, admission=asyncio.Event()) as box:
        asking = asyncio.create_task(box.ask(stream=is_streamed))
        await box.backend.asked.wait()
        asking.cancel()

        await box.backend.cancelled.wait()
        await box.journal.quiet()
        assert box.journal.exchanges[0].outcome == "cancelled"


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_who_hangs_up_before_the_first_word_frees_the_slot(is_streamed: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, asyncio.Event()) as box:
        asking = asyncio.create_task(box.ask(stream=is_streamed))
        await box.backend.asked.wait()
        asking.cancel()

        await box.backend.closed.wait()
        await box.journal.quiet()
        assert box.journal.exchanges[0].outcome == "cancelled"


async def test_who_hangs_up_after_the_status_was_sent_frees_the_slot(tmp_path: Path) -> None:
    async with serving(tmp_path, asyncio.Event(), hold_status_s=0.01) as box:
        async with box.client.post(CHAT, json={**ASKED, "stream": True}) as response:
            assert response.headers["X-Edged-Served-By"] == "pending"
            response.close()

        await box.backend.closed.wait()
        await box.journal.quiet()


async def test_who_hangs_up_in_the_middle_of_words_frees_the_slot(tmp_path: Path) -> None:
    async with serving(tmp_path, Delta(0, "Hel"), asyncio.Event()) as box:
        async with box.client.post(CHAT, json={**ASKED, "stream": True}) as response:
            await response.content.readuntil(b"Hel")
            response.close()

        await box.backend.closed.wait()
        await box.journal.quiet()
        assert box.journal.exchanges[0].outcome == "cancelled"


def test_every_route_declares_a_scope(tmp_path: Path) -> None:
    box_routes = routes(exposed_without_sockets(tmp_path))

    assert {route.scope for route in box_routes} == {"shell", "public", "chat", "metrics", "owner"}
    assert len({(route.method, route.path) for route in box_routes}) == len(box_routes)
    owners = {(route.method, route.path) for route in box_routes if route.path.startswith("/edged/")}
    owners -= {("DELETE", "/edged/v1/requests/{id}")}  # whoever asked may stop it
    owners -= {("GET", "/edged/v1/claim"), ("POST", "/edged/v1/claim")}  # who is nobody yet
    owners -= {("POST", "/edged/v1/claim/requests"), ("GET", "/edged/v1/claim/requests/{id}")}
    owners -= {("GET", "/edged/v1/trust")}  # whoever is to trust it
    owners -= {("GET", "/edged/v1/sessions"), ("DELETE", "/edged/v1/sessions/{id}")}  # one's own
    assert {route.scope for route in box_routes if (route.method, route.path) in owners} == {"owner"}
    assert {route.scope for route in box_routes if route.path.startswith("/v1/")} == {"chat"}


def exposed_without_sockets(tmp_path: Path) -> Exposed:
    store, journal, config = Store(tmp_path), Journal(), Config()
    pool = Pool(store, config.engine, config.limits, journal.tell)
    backend = ScriptedBackend()
    router = Router(backend, store.models, {}, lambda _installed: "guide", lambda _able: None)
    local = Local(pool, store, config.limits)
    observed, metrics = Observed(backend, journal), Metrics(pool)
    return Exposed(
        config, observed, router, local, pool, store, journal, metrics, *shelves(store, journal),
        lambda: "guide", 0.0,
    )  # fmt: skip


async def test_a_route_that_was_added_without_a_scope_does_not_exist(tmp_path: Path) -> None:
    async def secret(request: web.Request) -> web.Response:
        return web.json_response({"secret": 1})

    exposed = exposed_without_sockets(tmp_path)
    app = build_app(exposed)
    app.router.add_get("/forgotten", secret)
    async with (
        listening.serving(app, "127.0.0.1", 0, tmp_path / "sock") as addresses,
        aiohttp.ClientSession() as client,
        client.get(addresses[0] + "/forgotten") as response,
    ):
        assert response.status == 404
        assert "secret" not in await response.text()


PATHS = [
    "/healthz",
    "/readyz",
    "/health",
    "/v1/models",
    "/v1/models/guide",
    "/openai/models",
    "/openai/models/guide",
    "/openai/v1/models",
    "/openai/v1/models/guide",
    "/edged/v1/status",
    "/edged/v1/requests",
    "/edged/v1/events",
    "/",
]


@pytest.mark.parametrize("path", [*PATHS, "/metrics"])
async def test_every_path_answers_get_and_head(path: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        async with box.client.get(path) as response:
            assert response.status == 200
            assert response.headers["X-Edged-Request-Id"]
        async with box.client.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/nowhere", 404, "not_found"),
        ("GET", "/v1/models/nobody", 404, "not_found"),
        ("GET", "/../etc/passwd", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("OPTIONS", CHAT, 405, "method_not_allowed"),
        ("POST", CHAT, 415, "unsupported_media_type"),
    ],
)
async def test_what_does_not_exist_is_told_in_the_errors_shape(
    method: str, path: str, status: int, code: str, tmp_path: Path
) -> None:
    async with serving(tmp_path) as box, box.client.request(method, path) as response:
        body = (await response.json())["error"]

        assert (response.status, body["code"], body["src"]) == (status, code, "edged")
        assert ("Allow" in response.headers) == (status == 405)
        assert response.headers["X-Edged-Request-Id"]


async def test_a_body_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as box,
        box.client.post(CHAT, data=io.BytesIO(b"x" * 2**21), headers={"Content-Type": "application/json"}) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (413, "payload_too_large")


async def test_text_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        status, _, body = await box.ask(messages=[{"role": "user", "content": "x" * (2**16 + 1)}])

        assert (status, body["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("Host: 127.0.0.1\n", 200),
        ("Host: [::1]:8080\n", 200),
        ("Host: box.lan\n", 200),
        ("Host: BOX.LAN:99\n", 200),
        ("Host: edged.local\n", 200),
        ("", 421),
        ("Host: \n", 421),
        ("Host: evil.example\n", 421),
        ("Host: box.lan.evil.example\n", 421),
        ("Host: evil.example@127.0.0.1\n", 421),
        ("Host: 127.0.0.1@evil.example\n", 421),
        ("Host: localhost:x\n", 421),
    ],
)
async def test_only_our_names_are_answered_to(host: str, status: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        told, body = await box.raw(f"GET /v1/models HTTP/1.1\n{host}")

        assert told == status or (host == "" and told == 400)
        assert status == 200 or body is None or body["error"]["code"] in ("host_not_allowed", "invalid_request")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://["}, 403),
    ],
)
async def test_only_our_own_page_may_ask(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as box, box.client.post(CHAT, json=ASKED, headers=headers) as response:
        assert response.status == status
        assert bool(box.backend.requests) == (status == 200)


async def test_our_own_page_sends_its_origin(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        origin = {"Origin": f"http://127.0.0.1:{box.port}"}
        async with box.client.post(CHAT, json=ASKED, headers=origin) as response:
            assert response.status == 200


async def test_the_records_of_requests_hold_no_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        await box.ask(messages=[{"role": "user", "content": "my secret"}], model="gpt-x")
        async with box.client.get("/edged/v1/requests") as response:
            text = await response.text()

        assert "secret" not in text
        assert "Hello" not in text
        (record,) = json.loads(text)["requests"]
        assert (record["outcome"], record["completion_tokens"], record["requested_model"]) == ("stop", 3, "gpt-x")


async def test_the_default_model_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    async with serving(tmp_path) as box, box.client.get("/v1/models") as response:
        assert [model["id"] for model in (await response.json())["data"]] == ["guide", "a"]


async def test_the_owner_may_ask_through_the_control_socket(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600
        connector = aiohttp.UnixConnector(str(tmp_path / "sock"))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as client,
            client.get("/healthz") as response,
        ):
            assert await response.json() == {"status": "alive"}


async def test_a_port_that_is_taken_is_a_configuration_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        with pytest.raises(errors.ConfigError, match=f"Cannot listen on 127.0.0.1 port {box.port}.*--port"):
            async with listening.serving(build_app(box.exposed), "127.0.0.1", box.port, tmp_path / "other"):
                raise AssertionError("two cannot listen")


WINDOW = {"Origin": "app://obsidian.md", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"messages": []}], ids=["whole", "streamed", "an error"])
async def test_the_window_of_an_installed_program_may_read_the_answer(tmp_path: Path, fields: Any) -> None:
    async with serving(tmp_path) as box, box.client.post(CHAT, json={**ASKED, **fields}, headers=WINDOW) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "app://obsidian.md"
        assert response.headers["Vary"] == "Origin"
        assert response.status == (400 if fields.get("messages") == [] else 200)


async def test_the_window_of_an_installed_program_may_ask_what_it_may_send(tmp_path: Path) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    async with serving(tmp_path) as box, box.client.options(CHAT, headers={**WINDOW, **wanted}) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert response.headers["Access-Control-Allow-Origin"] == "app://obsidian.md"
        assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Access-Control-Allow-Private-Network" not in response.headers


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
async def test_the_page_of_another_site_may_neither(tmp_path: Path, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with serving(tmp_path) as box, box.client.request(method, CHAT, json=ASKED, headers=headers) as response:
        assert response.status == 403
        assert not any(name.startswith("Access-Control") for name in response.headers)


async def test_a_program_without_a_window_is_told_nothing_of_windows(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        _, headers, _ = await box.ask()

        assert not any(name.startswith("Access-Control") for name in headers)
        assert "Vary" not in headers
