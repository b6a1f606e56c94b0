"""The route table and the one middleware stack that every request passes.

    request ─▶ envelope ─▶ guard ─▶ handler
               id, errors   Host, Origin, scope

A route declares its scope, and a path that is not in the table does not exist: what is forgotten is closed, not open.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import psutil
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from edged.api import body, guard, ops, page, stream, wishes
from edged.api.embeddings import EmbeddingsBody, embeddings_body
from edged.api.errors import dialect_of, error_body, headers_of, status_of
from edged.api.openai import ChatBody, CompletionBody, model_body, models_body
from edged.api.openai_answer import OpenAIAnswer
from edged.api.rerank import RerankBody, rerank_body
from edged.chat import ModelCard
from edged.config import Config
from edged.errors import ConfigError, EdgedError, Internal, InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.metrics import Metrics
from edged.observe import Journal, Observed

log = logging.getLogger(__name__)

Scope: TypeAlias = Literal["public", "chat", "metrics", "admin"]
_ID = web.RequestKey("id", str)
# After the drain nothing of value runs any more; what still holds a connection is cut.
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. `scope` is what a caller needs: today everybody has all of them."""

    method: str
    path: str
    scope: Scope
    handler: Handler


@dataclass(slots=True)
class Exposed:
    """All that the routes may touch: the Backend, and the few objects that know the state of things."""

    config: Config
    backend: Observed
    local: Local
    pool: Pool
    journal: Journal
    metrics: Metrics
    default_model: Callable[[], str]
    started_s: float
    addresses: tuple[str, ...] = ()


def routes(exposed: Exposed) -> list[Route]:
    """Everything that can be asked."""
    api = Endpoints(exposed)
    table = [
        Route("POST", "/v1/chat/completions", "chat", api.chat),
        Route("POST", "/v1/completions", "chat", api.completions),
        Route("POST", "/v1/embeddings", "chat", api.embeddings),
        Route("POST", "/v1/rerank", "chat", api.rerank),
        Route("GET", "/v1/models", "chat", api.models),
        Route("GET", "/v1/models/{id}", "chat", api.model),
        Route("GET", "/healthz", "public", api.healthz),
        Route("GET", "/readyz", "public", api.readyz),
        Route("GET", "/health", "public", api.health),
        Route("GET", "/metrics", "metrics", api.prometheus),
        Route("GET", "/edged/v1/status", "admin", api.status),
        Route("GET", "/edged/v1/requests", "admin", api.requests),
        Route("GET", "/edged/v1/events", "admin", api.events),
    ]
    return table + [Route("GET", path, "public", partial(_page, asset=asset)) for path, asset in page.assets().items()]


class Endpoints:
    """The handlers. Each is a paragraph; the sentences are elsewhere."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        return await self._answer(request, await body.read(request, ChatBody), is_chat=True)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/completions`."""
        return await self._answer(request, await body.read(request, CompletionBody), is_chat=False)

    async def _answer(
        self, request: web.Request, asked: ChatBody | CompletionBody, *, is_chat: bool
    ) -> web.StreamResponse:
        config = self._exposed.config
        plain = asked.to_request(request[_ID], request.remote or "", config.limits.text_bytes)
        wanted = wishes.apply(request.headers, plain)
        if wanted.n > config.engine.sequences:
            raise InvalidRequest(
                f"n is {wanted.n}, and {config.engine.sequences} answers can advance at once ([engine] sequences).",
                param="n",
            )
        answer = OpenAIAnswer(wanted, is_chat, asked.stream_options.include_usage)
        if asked.stream:
            return await stream.stream(request, self._exposed.backend, wanted, answer, config.http.hold_status_s)
        return await stream.respond(self._exposed.backend, wanted, answer)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/embeddings`."""
        asked = await body.read(request, EmbeddingsBody)
        wanted = asked.to_request(request[_ID], request.remote or "", self._exposed.config.limits.text_bytes)
        found = await self._exposed.backend.embed(wanted)
        return web.Response(
            body=embeddings_body(found, asked.encoding_format),
            content_type="application/json",
            headers=stream.origin_headers(found.admission),
        )

    async def rerank(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/rerank`."""
        asked = await body.read(request, RerankBody)
        wanted = asked.to_request(request[_ID], request.remote or "", self._exposed.config.limits.text_bytes)
        found = await self._exposed.backend.rerank(wanted)
        return web.json_response(rerank_body(found, wanted, asked), headers=stream.origin_headers(found.admission))

    async def models(self, _request: web.Request) -> web.StreamResponse:
        """`GET /v1/models`, the default model first."""
        default = await asyncio.to_thread(self._exposed.default_model)
        cards = sorted(await self._cards(), key=lambda card: card.name != default)
        return web.json_response(models_body(cards))

    async def model(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/models/{id}`."""
        name = request.match_info["id"]
        for card in await self._cards():
            if card.name == name:
                return web.json_response(model_body(card))
        raise NotFound(f"There is no model named {name!r} here.", param="model")

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Alive: the loop turns. Says nothing about models."""
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Ready: a chat sent now would be admitted."""
        error = self._unready()
        headers = headers_of(error) if error else {}
        return web.json_response(ops.readiness_body(error), status=503 if error else 200, headers=headers)

    async def health(self, _request: web.Request) -> web.StreamResponse:
        """The same in llama-server's words."""
        error = self._unready()
        return web.json_response(ops.health_body(error), status=503 if error else 200)

    async def prometheus(self, _request: web.Request) -> web.StreamResponse:
        """`GET /metrics`."""
        return web.Response(body=self._exposed.metrics.render(), content_type="text/plain", charset="utf-8")

    async def status(self, _request: web.Request) -> web.StreamResponse:
        """What the daemon is doing now."""
        exposed = self._exposed
        default = await asyncio.to_thread(exposed.default_model)
        body = ops.status_body(exposed.pool, exposed.journal, exposed.started_s, default, exposed.addresses)
        return web.json_response(body)

    async def requests(self, _request: web.Request) -> web.StreamResponse:
        """The last requests, newest first."""
        exchanges = reversed(self._exposed.journal.exchanges)
        return web.json_response({"requests": [ops.exchange_body(exchange) for exchange in exchanges]})

    async def events(self, _request: web.Request) -> web.StreamResponse:
        """The last events, oldest first."""
        happenings = self._exposed.journal.happenings
        return web.json_response({"events": [ops.happening_body(happening) for happening in happenings]})

    async def _cards(self) -> list[ModelCard]:
        return await asyncio.to_thread(self._exposed.local.models)

    def _unready(self) -> EdgedError | None:
        return ops.unready(self._exposed.pool, time.monotonic())


async def _page(request: web.Request, asset: page.Asset) -> web.StreamResponse:
    return page.respond(request, asset)


def build_app(exposed: Exposed) -> web.Application:
    """The application: table, middlewares, limits."""
    http = exposed.config.http
    names = guard.own_names() | {name.lower() for name in http.allowed_hosts}
    table = routes(exposed)
    scopes = {(route.method, route.path): route.scope for route in table}
    app = web.Application(
        client_max_size=http.body_bytes,
        middlewares=[_envelope, _guard(names, scopes)],
    )
    for route in table:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler)  # answers HEAD as well
        else:
            app.router.add_route(route.method, route.path, route.handler)
    return app


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and every failure its shape: the one place where an exception becomes a response."""
    request[_ID] = uuid.uuid4().hex
    try:
        response = await handler(request)
    except EdgedError as error:
        response = _error_response(error, request)
    except web.HTTPException as error:
        response = _error_response(_translate(error, request), request)
    except Exception:
        log.exception("request %s failed", request[_ID])
        defect = Internal(f"Something went wrong here; the log names request {request[_ID]}.")
        response = _error_response(defect, request)
    if not response.prepared:
        response.headers["X-Edged-Request-Id"] = request[_ID]
    return response


def _guard(names: frozenset[str], scopes: Mapping[tuple[str, str], Scope]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        guard.check_host(host, names)
        guard.check_origin(request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), host)
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        if resource is not None and (method, resource.canonical) not in scopes:
            raise NotFound(f"{request.method} {request.path} declares no scope.")
        return await handler(request)

    return middleware


def _error_response(error: EdgedError, request: web.Request) -> web.Response:
    body = error_body(error, dialect_of(request.path))
    return web.json_response(body, status=status_of(error), headers=headers_of(error))


def _translate(error: web.HTTPException, request: web.Request) -> EdgedError:
    """aiohttp's own refusals, in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = tuple(sorted(error.allowed_methods))
        return MethodNotAllowed(f"{request.path} takes {', '.join(allowed)}, not {request.method}.", allowed=allowed)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PayloadTooLarge(f"The body exceeds {request._client_max_size} bytes ([http] body_bytes).")
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"There is nothing at {request.path}.")
    return InvalidRequest(f"The request was refused: {error.reason}.")


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, control: Path) -> AsyncIterator[tuple[str, ...]]:
    """Listen on TCP and on the control socket while the block runs; yields the addresses to open in a browser."""
    # A compressed body is refused in words (`api/body.py`); aiohttp would unpack it first, or answer without them.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_S, auto_decompress=False
    )
    await runner.setup()
    try:
        listener = _listen(host, port)
        await web.SockSite(runner, listener).start()
        with _owners_socket(control) as owners:
            await web.SockSite(runner, owners).start()
            yield _addresses(listener)
    finally:
        await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` with what to do."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        is_everywhere = host == "::"
        return socket.create_server(
            (host, port), family=family, dualstack_ipv6=is_everywhere and socket.has_dualstack_ipv6()
        )
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --port or --host."
        ) from error


@contextmanager
def _owners_socket(control: Path) -> Iterator[socket.socket]:
    """The control socket, for this user only. One that a killed daemon left behind is replaced.

    Raises `ConfigError`; the usual reason is a path of more than 107 bytes (unix(7)).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.unlink(missing_ok=True)
        listener.bind(str(control))
        control.chmod(0o600)
    except OSError as error:
        listener.close()
        raise ConfigError(f"The socket {control} cannot be made: {error}. Choose another --state-dir.") from error
    try:
        yield listener
    finally:
        control.unlink(missing_ok=True)


def _addresses(listener: socket.socket) -> tuple[str, ...]:
    """What to type into a browser: one address, or for an open device its name and every IPv4 address that it has."""
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host).is_unspecified:
        return (f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",)
    interfaces = psutil.net_if_addrs().values()
    own = [found.address for interface in interfaces for found in interface if found.family == socket.AF_INET]
    hosts = [socket.gethostname(), *(address for address in own if not guard.is_loopback(address))]
    return tuple(f"http://{host}:{port}" for host in hosts)
