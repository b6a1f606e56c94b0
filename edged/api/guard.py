"""Whom the daemon listens to: a Host allow-list and an Origin check, the same on every bind.

A web page anywhere can make a visitor's browser send requests to this device, and with a name of its own that resolves
to our address (DNS rebinding) even read the answers. The Host header unmasks the second, the Origin and Sec-Fetch-Site
headers the first. Programs that are not browsers send neither header and are not affected.

Programs whose windows are pages send them, too: Obsidian says `app://obsidian.md`. Their schemes are their own, no page
of the web can have such an origin, so they may ask, and are told so as their engines want it ("CORS protocol" in
fetch.spec.whatwg.org). The schemes are those of Ollama's default (`AllowedOrigins` in its envconfig/config.go), without
`file`, which any page is that somebody has saved.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from edged.errors import Forbidden, HostNotAllowed

_PROGRAMS = frozenset({"app", "tauri", "vscode-file", "vscode-webview"})
_METHODS = "GET, HEAD, POST, PATCH, DELETE"
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


def own_names() -> frozenset[str]:
    """What this machine is called, with and without mDNS's `.local`."""
    name = socket.gethostname().lower().removesuffix(".local")
    return _LOOPBACK_NAMES | {name, f"{name}.local", "edged.local"}


def check_host(host_header: str, names: frozenset[str]) -> None:
    """Raises `HostNotAllowed` unless the header is an IP literal or one of `names`, with or without a port."""
    host = _hostname(host_header)
    if host is None or not (host in names or is_ip(host)):
        raise HostNotAllowed(
            f"This device is not called {host_header!r}. If it should be, list the name in [http] allowed_hosts."
        )


def is_welcome(origin: str | None, origins: Collection[str]) -> bool:
    """Whether a window of this origin may ask: an installed program's, or one of the pages that the owner lists."""
    return is_program(origin) or (origin is not None and origin.lower() in origins)


def is_program(origin: str | None) -> bool:
    """Whether this is the window of an installed program, and no page of the web."""
    scheme, separator, _ = (origin or "").partition("://")
    return bool(separator) and scheme in _PROGRAMS


def cross_origin_headers(asked: Mapping[str, str], origins: Collection[str] = ()) -> dict[str, str]:
    """What an answer says to a welcome window that asked with these headers; nothing to anybody else.

    Credentials are never allowed (fetch.spec.whatwg.org): such a window brings a key, and no cookie of our page's.
    """
    origin = asked.get("Origin")
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin and is_welcome(origin, origins) else {}


def preflight_headers(asked: Mapping[str, str]) -> dict[str, str]:
    """What such a window is told that asks beforehand what it may send. It is no more than any other program may."""
    told = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": "600"}
    if wanted := asked.get("Access-Control-Request-Headers"):
        told["Access-Control-Allow-Headers"] = wanted
    if "Access-Control-Request-Private-Network" in asked:
        told["Access-Control-Allow-Private-Network"] = "true"
    return told


def check_origin(origin: str | None, fetch_site: str | None, host_header: str, origins: Collection[str] = ()) -> None:
    """Raises `Forbidden` for a request that a page of another origin caused."""
    if is_welcome(origin, origins):
        return
    if origin is not None and origin.partition("://")[2].lower() != host_header.lower():
        raise Forbidden(f"A page on {origin!r} may not use this device.")
    if fetch_site in ("cross-site", "same-site"):
        raise Forbidden("A page on another site may not use this device.")


def _hostname(header: str) -> str | None:
    if any(character in header for character in "@/\\ ,#?"):
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises for anything but digits
    except ValueError:
        return None
    return parts.hostname.lower() if parts.hostname else None


def is_ip(host: str) -> bool:
    """Whether this is an IP literal."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether listening on `host` reaches no further than this machine."""
    return host in _LOOPBACK_NAMES or (is_ip(host) and ipaddress.ip_address(host).is_loopback)
