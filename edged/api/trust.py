"""The handlers that tell whom to trust: the device's own authority as a file to install, and what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from edged.api import guard
from edged.api.exposed import Exposed, Route, Told
from edged.errors import NotFound
from edged.tls.context import Facts

_FILE = "/ca.crt"
# The type by which browsers and phones know what is to be installed.
_CERTIFICATE = "application/x-x509-ca-cert"


class Trust:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        told = Told({200: "Authority"}, content_type=_CERTIFICATE, fails=(404,))
        return [
            Route("GET", _FILE, "shell", self.authority, told),
            Route("GET", "/edged/v1/trust", "public", self.trust, Told({200: "Trust"}, fails=(404,))),
        ]

    async def authority(self, _request: web.Request) -> web.StreamResponse:
        """This device's own authority, to be installed where its https is to be trusted."""
        trusted = self._facts().authority
        if trusted is None:
            raise NotFound(
                "This device has no authority of its own: its owner gave it a certificate ([tls] certificate)."
            )
        return web.Response(body=trusted.pem.encode(), content_type=_CERTIFICATE)

    async def trust(self, _request: web.Request) -> web.StreamResponse:
        """What this device's https is good for: names, addresses, fingerprint, and how long."""
        return web.json_response(trust_body(self._facts(), self._exposed.addresses))

    def _facts(self) -> Facts:
        facts = self._exposed.certified()
        if facts is None:
            raise NotFound(
                "This device speaks no https: it listens to this machine alone, or [tls] enabled is false, or its port "
                "was taken when it started (see its log)."
            )
        return facts


def trust_body(facts: Facts, addresses: Sequence[str]) -> dict[str, Any]:
    """`/edged/v1/trust`."""
    trusted = facts.authority
    return {
        "https": [address for address in addresses if address.startswith("https:")],
        "names": list(facts.names),
        "left_out": list(facts.left_out),
        "expires": _day(facts.ends),
        "authority": trusted
        and {
            "url": install_url(addresses),
            "certificate": trusted.pem,
            "fingerprint_sha256": trusted.fingerprint,
            "expires": _day(trusted.ends),
        },
    }


def install_url(addresses: Sequence[str]) -> str:
    """Where others fetch the authority: at an address if there is one, because not every phone looks names up here."""
    plain = [address for address in addresses if address.startswith("http:")]
    return next((address for address in plain if _reaches_beyond(address)), plain[0]) + _FILE


def _reaches_beyond(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return guard.is_ip(host) and not guard.is_loopback(host)


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"
