"""Asking other people's servers, over HTTP, without becoming their tool.

Redirects are followed by hand, because each hop is judged by itself: https unless the owner named the host, a public
address unless he did, a token only for the origin that it was given for. A name is looked up once per connection and
the addresses that were found are checked before they are connected to, so a second look-up cannot bring another one.
Proxies from the environment are not used: a proxy would look names up where nobody checks them; a device that reaches
the world through something else names a mirror (`[downloads]`). Bodies are taken as they are sent: whatever is
compressed is refused, for its length would be unknown.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

import edged
from edged.errors import Forbidden, ModelNotFound, ProviderAuth, ProviderUnavailable
from edged.plain import plain
from edged.pull.hosts import Named, Origin, is_public, origin_of
from edged.pull.pace import Patience, backoff_s
from edged.redaction import redacted
from edged.secret import Secret

_MOST_HOPS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
# What may be over when it is asked again (huggingface_hub, utils/_http.py: `_DEFAULT_RETRY_ON_STATUS_CODES`).
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MOST_JSON_BYTES = 16 * 2**20  # a repository of some thousand files
_SHOWN_URL, _SHOWN_REASON = 160, 200  # characters
_LINKED_ETAG = "X-Linked-Etag"  # huggingface_hub, constants.py: of the file that a redirect leads to


class Retryable(ProviderUnavailable):
    """It may be otherwise in a moment. `asked_s` is how long the server wants to be left alone, where it said so."""

    def __init__(self, message: str, *, asked_s: float = 0.0, is_unreachable: bool = False) -> None:
        super().__init__(message, retry_after_s=asked_s)
        self.asked_s = asked_s
        self.is_unreachable = is_unreachable

    def wait_s(self, patience: Patience, failures: int) -> float:
        """How long to wait after it came for the `failures`-th time in a row."""
        return backoff_s(patience, failures, self.asked_s, is_unreachable=self.is_unreachable)


@dataclass(frozen=True, slots=True)
class Opened:
    """The last answer of a chain of redirects, its body not read; `linked_etag` is what a hop said of the file."""

    response: ClientResponse
    url: str
    linked_etag: str | None

    @property
    def host(self) -> str:
        """Who answered, for people."""
        return origin_of(self.url).host


class Web:
    """The connections. An async context; `tokens` are bearer tokens by the origin that may see them."""

    def __init__(self, named: Named, tokens: Mapping[Origin, Secret], patience: Patience) -> None:
        self.named = named
        self._tokens = dict(tokens)
        self._patience = patience
        self._life = AsyncExitStack()
        self._public: ClientSession
        self._owners: ClientSession

    async def __aenter__(self) -> Web:
        guarded = TCPConnector(resolver=_PublicResolver(), socket_factory=_public_socket)
        self._public = await self._life.enter_async_context(self._session(guarded))
        self._owners = await self._life.enter_async_context(self._session(TCPConnector()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Opened]:
        """The answer to GET, 2xx or 416, after redirects; `Retryable`, `ProviderUnavailable` and so on for all else."""
        linked: str | None = None
        for _ in range(_MOST_HOPS):
            async with self._ask(url, headers or {}) as response:
                linked = response.headers.get(_LINKED_ETAG) or linked
                if response.status not in _REDIRECTS:
                    _check_status(response, url)
                    yield Opened(response, url, linked)
                    return
                url = _target(url, response)
        raise ProviderUnavailable(f"{origin_of(url).host} redirects more than {_MOST_HOPS} times.")

    async def body(self, url: str, accept: str, most_bytes: int) -> bytes:
        """A short body. Raises what `get` raises, and `ProviderUnavailable` where it does not end."""
        body = bytearray()
        async with self.get(url, {"Accept": accept}) as opened, reading(self._patience.answer_s, opened.host):
            async for piece in opened.response.content.iter_any():
                body += piece
                if len(body) > most_bytes:
                    raise ProviderUnavailable(f"{opened.host} answers with more than {most_bytes} bytes of text.")
        return bytes(body)

    async def json(self, url: str, accept: str = "application/json") -> Any:
        """A JSON body. Raises what `body` raises, and `ProviderUnavailable` where it is no JSON."""
        try:
            return json.loads(await self.body(url, accept, _MOST_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise ProviderUnavailable(f"{_origin(url).host} answers with what is no JSON.") from error

    def _session(self, connector: TCPConnector) -> ClientSession:
        return ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=self._patience.answer_s),
            auto_decompress=False,
            headers={"User-Agent": f"edged/{edged.__version__}", "Accept-Encoding": "identity"},
        )

    @asynccontextmanager
    async def _ask(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        """One hop."""
        origin, is_named = _origin(url), self.named.has(url)
        _check(origin, is_named=is_named)
        sent = dict(headers)
        if token := self._tokens.get(origin):
            sent["Authorization"] = f"Bearer {token.reveal()}"
        session = self._owners if is_named else self._public
        async with AsyncExitStack() as life:
            async with reading(self._patience.answer_s, origin.host):
                # What is a URL already stays as it is: a signature is made of its very characters.
                plain = url.isascii() and url.isprintable() and " " not in url
                request = session.get(URL(url, encoded=plain), headers=sent, allow_redirects=False)
                response = await life.enter_async_context(request)
            yield response


@asynccontextmanager
async def reading(within_s: float, host: str) -> AsyncIterator[None]:
    """Whatever can go wrong on the way, within so many seconds, as one error that may be over in a moment."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        raise Retryable(f"{host} said nothing for {within_s:.0f} s.") from error
    except ClientConnectorError as error:
        if isinstance(error.os_error, _NotPublic):
            raise _private(host) from error
        why = plain(str(error.os_error.strerror or error))
        raise Retryable(f"{host} cannot be connected to: {why}.", is_unreachable=True) from error
    except (InvalidURL, ValueError) as error:
        raise ProviderUnavailable(f"{host} is no host that can be asked: {plain(str(error))}.") from error
    except (ClientError, OSError) as error:
        why = plain(str(error)) or type(error).__name__
        raise Retryable(f"The connection to {host} failed: {why}.") from error


def _origin(url: str) -> Origin:
    try:
        return origin_of(url)
    except ValueError as error:
        raise ProviderUnavailable(f"{error}.") from None


def _check(origin: Origin, *, is_named: bool) -> None:
    if is_named:
        return
    if origin.scheme != "https":
        raise Forbidden(f"{origin.host} is to be asked over plain http; only hosts in [downloads] hosts may be.")
    try:
        ipaddress.ip_address(origin.host)
    except ValueError:
        return  # a name: its addresses are checked when they are known
    if not is_public(origin.host):
        raise _private(origin.host)


def _private(host: str) -> Forbidden:
    return Forbidden(
        f"{host} is on this network or this machine and not on the internet; the owner may name it in "
        "[downloads] hosts."
    )


def _target(url: str, response: ClientResponse) -> str:
    location = response.headers.get("Location")
    if not location:
        raise ProviderUnavailable(f"{origin_of(url).host} redirects to nowhere.")
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ProviderUnavailable(
            f"{origin_of(url).host} redirects to what is no address: {plain(redacted(location), _SHOWN_URL)}."
        ) from error


def _check_status(response: ClientResponse, url: str) -> None:
    status, host = response.status, origin_of(url).host
    # What it was asked with may be repeated there.
    said = plain(redacted(response.headers.get("X-Error-Message") or response.reason or ""), _SHOWN_REASON)
    if 200 <= status < 300 or status == 416:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ProviderUnavailable(f"{host} sends what is compressed, though it was asked not to.")
        return
    if status in (401, 403):
        raise ProviderAuth(f"{host} refuses: {status} {said}.")
    if status in (404, 410):
        shown = plain(redacted(url), _SHOWN_URL)
        raise ModelNotFound(f"{host} has no such thing: {status} {said} ({shown}).", param="model")
    if status in _PASSING:
        raise Retryable(f"{host} answers {status} {said}.", asked_s=_retry_after_s(response))
    raise ProviderUnavailable(f"{host} answers {status} {said}.")


def _retry_after_s(response: ClientResponse) -> float:
    """In seconds, as hubs send it; a date is not waited for."""
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() and len(said) < 10 else 0.0


class _PublicResolver(AbstractResolver):
    """Looks names up, and gives no address that is not public."""

    def __init__(self) -> None:
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the system does. Raises `Forbidden` where one address is none of the internet's."""
        found = await self._system.resolve(host, port, family)
        if not all(is_public(result["host"]) for result in found):
            raise _private(host)
        return found

    async def close(self) -> None:
        """Nothing is kept."""
        await self._system.close()


class _NotPublic(OSError):
    """An address that is none of the internet's."""


def _public_socket(address: tuple[Any, ...]) -> socket.socket:
    """The last gate, which every connection passes: an address that came by without a look-up is refused here."""
    family, kind, protocol, _name, place = address
    if not is_public(str(place[0])):
        raise _NotPublic(errno.EACCES, f"{place[0]} is not on the internet")
    return socket.socket(family, kind, protocol)
