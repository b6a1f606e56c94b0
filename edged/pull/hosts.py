"""Which hosts may be asked, and which addresses they may have. Pure.

Whoever may ask this device for a model must not make it ask the router, a neighbour's printer or a cloud's metadata
service on his behalf. So a host that only a request, a hub's answer or a redirect has named is spoken to over https and
at a public address; the owner's own hosts may be anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
# RFC 6052: an IPv4 address written as an IPv6 one, which a network without IPv4 translates back.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
# IANA's registry of the IPv6 address space: all that is given out of it for machines to be reached at.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a secret belongs to."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Of a complete URL. Raises `ValueError` where it has no host or a port that is none."""
    parts = urlsplit(url)
    host = parts.hostname
    # A host is told to people, on terminals.
    if not host or not host.isprintable() or parts.scheme not in _PORTS:
        raise ValueError(f"{url[:160]!r} is no http or https address")
    return Origin(parts.scheme, host.rstrip("."), parts.port or _PORTS[parts.scheme])


@dataclass(frozen=True, slots=True)
class Named:
    """The hosts that the owner has named: `host`, `host:port`, or as part of an endpoint's URL."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[Origin] = frozenset()

    @classmethod
    def of(cls, hosts: Iterable[str], endpoints: Iterable[str]) -> Named:
        """From what the configuration says."""
        return cls(frozenset(host.strip().lower().rstrip(".") for host in hosts), frozenset(map(origin_of, endpoints)))

    def has(self, url: str) -> bool:
        """Whether `url` leads to one of them."""
        origin = origin_of(url)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        return origin in self.origins or bool({origin.host, host, f"{host}:{origin.port}"} & self.hosts)


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet and not to this machine, this network or nobody."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found not in _GLOBAL_UNICAST:
            return False
        if found.sixtofour is not None or found.teredo is not None:
            return False  # tunnels, which nobody serves files through
    return found.is_global and not found.is_multicast
