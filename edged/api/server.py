"""The route table and the one middleware stack that every request passes.

    request ─▶ attended ─▶ envelope ─▶ guard ─▶ lock ─▶ handler
               its time    id, errors   Host, Origin   who, and whether they may

A route declares its scope, and a path that is not in the table does not exist: what is forgotten is closed, not open.
"""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from edged.access.decision import Need, decide
from edged.access.door import Access
from edged.api import guard, page
from edged.api.catalogue import Catalogue
from edged.api.chats import Chats
from edged.api.claims import Claims
from edged.api.connection import attended, say_goodbye
from edged.api.connections import CONNECTIONS, Connections
from edged.api.description import Description
from edged.api.errors import defect, dialect_of, error_body, headers_of, status_of
from edged.api.exposed import REQUEST_ID, Exposed, Route
from edged.api.intake import BODIES, Bodies
from edged.api.measures import Measures
from edged.api.operation import Operation
from edged.api.patience import Deadlines
from edged.api.people import People
from edged.api.pulls import Downloads
from edged.api.scrubs import Scrubs
from edged.api.shop import Shop
from edged.api.transport import transport_of
from edged.api.trust import Trust
from edged.api.uploads import Imports
from edged.api.visitor import URL_KEYS, VISITOR, identify, set_cookie
from edged.errors import DiskFull, EdgedError, InvalidRequest, MethodNotAllowed, NotFound

log = logging.getLogger(__name__)

# For every answer that does not say otherwise, as the page's files do: it is no page, nobody may frame it or guess at
# its kind, no link from it tells where it came from, and what somebody wrote stays out of caches.
_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def routes(exposed: Exposed) -> list[Route]:
    """Everything that can be asked."""
    description = Description()
    models = (Catalogue(exposed), Shop(exposed), Downloads(exposed), Imports(exposed), Scrubs(exposed))
    who = (Claims(exposed), People(exposed), Trust(exposed))
    parts = (Chats(exposed), Measures(exposed), *models, *who, Operation(exposed), description)
    description.described = [route for part in parts for route in part.routes()]
    pages = [Route("GET", path, "shell", partial(_page, asset=asset), None) for path, asset in page.assets().items()]
    return [*description.described, *pages]


async def _page(request: web.Request, asset: page.Asset) -> web.StreamResponse:
    return page.respond(request, asset)


def build_app(exposed: Exposed, deadlines: Deadlines | None = None) -> web.Application:
    """The application: table, middlewares, limits; `deadlines` where clients are to have others than the usual."""
    http = exposed.config.http
    names = guard.own_names() | {name.lower() for name in http.allowed_hosts}
    table = routes(exposed)
    # What a program with the scope chat asks is found behind its key as well, for programs that take only an address.
    table += [replace(route, path=URL_KEYS + route.path) for route in table if route.scope == "chat"]
    needs = {(route.method, route.path): route.scope for route in table}
    origins = frozenset(origin.lower() for origin in exposed.config.access.origins)
    app = web.Application(
        middlewares=[attended, _envelope, _guard(names, needs, origins), _lock(needs, exposed.access)]
    )
    deadlines = deadlines or Deadlines()
    app[BODIES] = Bodies(http.body_bytes, deadlines)
    app[CONNECTIONS] = Connections(http.connections, http.connections_per_address, deadlines, exposed.journal.tell)
    exposed.metrics.door = app[CONNECTIONS]
    for route in table:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, expect_handler=_expected)  # answers HEAD as well
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=_expected)
    app.on_response_prepare.append(partial(_tell, origins))
    app.on_response_prepare.append(say_goodbye)
    app.on_shutdown.append(exposed.close)
    return app


async def _expected(request: web.Request) -> None:
    """What a client wants to hear before it sends its body. Raises `InvalidRequest` for all but the one thing."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise InvalidRequest("Nothing but 100-continue can be expected.")
    if request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # this was no answer yet


async def _tell(origins: frozenset[str], request: web.Request, response: web.StreamResponse) -> None:
    """What browsers are to know of every answer."""
    response.headers.extend(guard.cross_origin_headers(request.headers, origins))
    for name, value in _ALWAYS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and every failure its shape: the one place where an exception becomes a response."""
    request[REQUEST_ID] = uuid.uuid4().hex
    try:
        response = await handler(request)
    except EdgedError as error:
        response = _error_response(error, request)
    except web.HTTPException as error:
        response = _error_response(_translate(error, request), request)
    except Exception:
        log.exception("request %s failed", request[REQUEST_ID])
        response = _error_response(defect(request[REQUEST_ID]), request)
    if not response.prepared:
        response.headers["X-Edged-Request-Id"] = request[REQUEST_ID]
        if dialect_of(request.path) == "anthropic":
            response.headers["request-id"] = request[REQUEST_ID]  # where Anthropic's client looks for it
    return response


def _guard(names: frozenset[str], needs: Mapping[tuple[str, str], Need], origins: frozenset[str]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        guard.check_host(host, names)
        guard.check_origin(request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), host, origins)
        if request.method == "OPTIONS" and guard.is_welcome(request.headers.get("Origin"), origins):
            return web.Response(status=204, headers=guard.preflight_headers(request.headers))
        if request.match_info.route.resource is not None and _need_of(request, needs) is None:
            raise NotFound(f"{request.method} {_shown(request)} declares no scope.")
        return await handler(request)

    return middleware


def _lock(needs: Mapping[tuple[str, str], Need], access: Access) -> Middleware:
    """Nobody gets past who may not; what does not exist is for those alone to find out who may look around."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        need = _need_of(request, needs) or "public"
        visitor = request[VISITOR] = identify(request, access)
        decide(need, visitor, transport_of(request), access.situation)
        if need == "chat" and request.method == "POST" and visitor.key:
            access.meter.admit(visitor.key)
        response = await handler(request)
        # On a stream it is too late for a cookie, and a full disk shuts nobody out: a later answer brings it.
        if visitor.session and not response.prepared and access.renewed(visitor.session):
            with contextlib.suppress(DiskFull):
                if issued := await access.renew(visitor.session):
                    set_cookie(request, response, issued)
        return response

    return middleware


def _need_of(request: web.Request, needs: Mapping[tuple[str, str], Need]) -> Need | None:
    """What the table says that it takes; None for what the table does not have."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    found = needs.get((request.method, path))
    return needs.get(("GET", path)) if found is None and request.method == "HEAD" else found


def _error_response(error: EdgedError, request: web.Request) -> web.Response:
    body = error_body(error, dialect_of(request.path), request[REQUEST_ID])
    return web.json_response(body, status=status_of(error), headers=headers_of(error))


def _shown(request: web.Request) -> str:
    """The path as it may be told and logged: without a key in it."""
    return re.sub(r"^/k/[^/]*", "/k/…", request.path)


def _translate(error: web.HTTPException, request: web.Request) -> EdgedError:
    """aiohttp's own refusals, in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = tuple(sorted(error.allowed_methods))
        return MethodNotAllowed(f"{_shown(request)} takes {', '.join(allowed)}, not {request.method}.", allowed=allowed)
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"There is nothing at {_shown(request)}.")
    return InvalidRequest(f"The request was refused: {error.reason}.")
