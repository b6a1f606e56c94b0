"""Who asks: what a request shows of it, and the cookie that a browser gets.

A key may stand in any of the places where programs put one. A cookie counts only for what our own page asks: a window
of another origin, welcome or not, must bring a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from edged.access.credential import Issued
from edged.access.door import Access
from edged.access.people import CONSOLE, Visitor
from edged.api.transport import transport_of
from edged.chat import Caller, ChatRequest, EmbedRequest, RerankRequest
from edged.errors import NotFound

Wanted = TypeVar("Wanted", ChatRequest, EmbedRequest, RerankRequest)
VISITOR = web.RequestKey("visitor", Visitor)
# Where programs that take nothing but an address have their key: http://BOX/k/KEY/v1.
URL_KEYS = "/k/{key}"
_KEY_HEADERS = ("x-api-key", "api-key")
# Browsers keep one with this prefix only if it came over TLS, and let nothing that came without replace it
# (RFC 6265bis, 4.1.3.2): a device asked both ways has two.
_SECURE_COOKIE = "__Host-edged_session"
_COOKIE = "edged_session"
# Longer than any session lives; when it really ends is known here.
_COOKIE_S = 400 * 86_400


def identify(request: web.Request, access: Access) -> Visitor:
    """Who asks. Raises `Unauthorized`, `RateLimited`; `NotFound` for a key in the address that may not be there."""
    transport = transport_of(request)
    if transport == "socket":
        return CONSOLE
    shown = presented(request.headers)
    in_url = request.match_info.get("key") if is_url_key(request) else None
    if in_url is not None:
        shown = [*shown, in_url]
    is_foreign = "Origin" in request.headers and not _is_own(request)
    cookie = None if is_foreign else request.cookies.get(_SECURE_COOKIE if transport == "tls" else _COOKIE)
    visitor = access.identify(shown, cookie, request.remote or "")
    if in_url is not None:
        is_harmless = visitor.key is not None and visitor.key.scopes == {"chat"}
        if not (access.chosen("url_keys") and is_harmless):
            raise NotFound(
                "Keys in addresses are for keys with the scope chat alone, and only where the owner lets them "
                "([access] url_keys)."
            )
    return visitor


def presented(headers: Mapping[str, str]) -> list[str]:
    """The keys in a request's headers, in the ways of OpenAI, Anthropic and Azure; empty ones are none."""
    found = [headers.get(name, "") for name in _KEY_HEADERS]
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    found.append(token if scheme.lower() == "bearer" else "")
    return [key for key in map(str.strip, found) if key]


def is_url_key(request: web.Request) -> bool:
    """Whether this request was meant to bring its key in the address."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical.startswith(URL_KEYS)


def visitor_of(request: web.Request) -> Visitor:
    """Who was let in."""
    return request[VISITOR]


def owned(request: web.Request, wanted: Wanted) -> Wanted:
    """What is wanted, as a matter of whoever asks: the dialects know no accounts."""
    return replace(wanted, caller=caller_of(request, wanted.caller))


def caller_of(request: web.Request, caller: Caller) -> Caller:
    """`caller` with the account that what it asks for belongs to."""
    return replace(caller, account=visitor_of(request).account)


def account_of(request: web.Request) -> str:
    """Whose streams and answers a request may touch."""
    return visitor_of(request).account


def set_cookie(request: web.Request, response: web.StreamResponse, issued: Issued) -> None:
    """Have the browser keep its session: out of scripts' reach, and sent to nobody who was led here from elsewhere."""
    is_secure = transport_of(request) == "tls"
    response.set_cookie(
        _SECURE_COOKIE if is_secure else _COOKIE,
        issued.text,
        max_age=_COOKIE_S,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="Strict",
    )


def clear_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Have the browser forget it."""
    is_secure = transport_of(request) == "tls"
    name = _SECURE_COOKIE if is_secure else _COOKIE
    response.del_cookie(name, path="/", secure=is_secure, httponly=True, samesite="Strict")


def _is_own(request: web.Request) -> bool:
    return request.headers["Origin"].partition("://")[2].lower() == request.headers.get("Host", "").lower()
