"""How a request has come: what may be said on it, and whom it can be told apart from."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Literal, TypeAlias

from aiohttp import web

Transport: TypeAlias = Literal["socket", "tls", "plain"]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


# The networks of the owner's own proxies ([http] proxies): what they say of who asks is believed.
PROXIES: web.AppKey[Sequence[Network]] = web.AppKey("proxies")


def transport_of(request: web.Request) -> Transport:
    """`socket`: the control socket, which is its owner's; `tls`: encrypted; `plain`: anything else.

    What a request says of itself is not asked, unless one of the owner's proxies has said it: no header makes it
    another's. One whose connection is gone is `plain`.
    """
    if _is_from_proxy(request):
        # Those in front of it have said theirs first; its own word is the last.
        said = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
        return "tls" if said == "https" else "plain"
    if request.transport is None:
        return "plain"
    if request.transport.get_extra_info("sslcontext") is not None:
        return "tls"
    connection = request.transport.get_extra_info("socket")
    return "socket" if connection is not None and connection.family == socket.AF_UNIX else "plain"


def address_of(request: web.Request) -> str:
    """Who asks: the address at the other end of the connection. Behind proxies of the owner's, whom the first of them
    has seen (`X-Forwarded-For`, to which each appends); what stands left of that may be invented.
    """
    peer = request.remote or ""
    if not _is_from_proxy(request):
        return peer
    return behind(peer, ",".join(request.headers.getall("X-Forwarded-For", [])), request.app[PROXIES])


def behind(proxy: str, forwarded_for: str, proxies: Sequence[Network]) -> str:
    """The last address of the header that is no proxy's; `proxy` itself where it says nothing of the kind."""
    nearest = proxy
    for said in reversed(forwarded_for.split(",")):
        address = ip_of(said.strip())
        if address is None:
            break
        nearest = str(address)
        if not is_within(nearest, proxies):
            break
    return nearest


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    ip = ip_of(address)
    return ip is not None and any(ip in network for network in networks)


def ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that is meant, with an IPv4 address that is dressed as IPv6 as itself; None for anything else."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_from_proxy(request: web.Request) -> bool:
    return is_within(request.remote or "", request.app.get(PROXIES, ()))
