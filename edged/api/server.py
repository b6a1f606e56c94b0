"""The route table and the one middleware stack that every request passes.

    request ─▶ attended ─▶ envelope ─▶ guard ─▶ handler
               its time    id, errors   Host, Origin, scope

A route declares its scope, and a path that is not in the table does not exist: what is forgotten is closed, not open.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from functools import partial

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from edged.api import guard, page
from edged.api.catalogue import Catalogue
from edged.api.chats import Chats
from edged.api.connection import attended, say_goodbye
from edged.api.connections import CONNECTIONS, Connections
from edged.api.description import Description
from edged.api.errors import defect, dialect_of, error_body, headers_of, status_of
from edged.api.exposed import REQUEST_ID, Exposed, Route, Scope
from edged.api.intake import BODIES, Bodies
from edged.api.measures import Measures
from edged.api.operation import Operation
from edged.api.patience import Deadlines
from edged.api.pulls import Downloads
from edged.api.scrubs import Scrubs
from edged.api.shop import Shop
from edged.api.trust import Trust
from edged.api.uploads import Imports
from edged.errors import EdgedError, InvalidRequest, MethodNotAllowed, NotFound

log = logging.getLogger(__name__)


def routes(exposed: Exposed) -> list[Route]:
    """Everything that can be asked."""
    description = Description()
    models = (Catalogue(exposed), Shop(exposed), Downloads(exposed), Imports(exposed), Scrubs(exposed))
    parts = (Chats(exposed), Measures(exposed), *models, Operation(exposed), Trust(exposed), description)
    description.described = [route for part in parts for route in part.routes()]
    pages = [Route("GET", path, "public", partial(_page, asset=asset), None) for path, asset in page.assets().items()]
    return [*description.described, *pages]


async def _page(request: web.Request, asset: page.Asset) -> web.StreamResponse:
    return page.respond(request, asset)


def build_app(exposed: Exposed, deadlines: Deadlines | None = None) -> web.Application:
    """The application: table, middlewares, limits; `deadlines` where clients are to have others than the usual."""
    http = exposed.config.http
    names = guard.own_names() | {name.lower() for name in http.allowed_hosts}
    table = routes(exposed)
    scopes = {(route.method, route.path): route.scope for route in table}
    app = web.Application(middlewares=[attended, _envelope, _guard(names, scopes)])
    deadlines = deadlines or Deadlines()
    app[BODIES] = Bodies(http.body_bytes, deadlines)
    app[CONNECTIONS] = Connections(http.connections, http.connections_per_address, deadlines, exposed.journal.tell)
    exposed.metrics.door = app[CONNECTIONS]
    for route in table:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, expect_handler=_expected)  # answers HEAD as well
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=_expected)
    app.on_response_prepare.append(_tell_windows)
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


async def _tell_windows(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.extend(guard.cross_origin_headers(request.headers))


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


def _guard(names: frozenset[str], scopes: Mapping[tuple[str, str], Scope]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        guard.check_host(host, names)
        guard.check_origin(request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), host)
        if request.method == "OPTIONS" and guard.is_program(request.headers.get("Origin")):
            return web.Response(status=204, headers=guard.preflight_headers(request.headers))
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        if resource is not None and (method, resource.canonical) not in scopes:
            raise NotFound(f"{request.method} {request.path} declares no scope.")
        return await handler(request)

    return middleware


def _error_response(error: EdgedError, request: web.Request) -> web.Response:
    body = error_body(error, dialect_of(request.path), request[REQUEST_ID])
    return web.json_response(body, status=status_of(error), headers=headers_of(error))


def _translate(error: web.HTTPException, request: web.Request) -> EdgedError:
    """aiohttp's own refusals, in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = tuple(sorted(error.allowed_methods))
        return MethodNotAllowed(f"{request.path} takes {', '.join(allowed)}, not {request.method}.", allowed=allowed)
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"There is nothing at {request.path}.")
    return InvalidRequest(f"The request was refused: {error.reason}.")
