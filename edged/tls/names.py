"""What a device is called and which addresses it has, as far as a certificate of its own can say so.

An authority that phones and laptops trust must not be able to speak for anybody else, so the addresses are those that
are nobody's in particular. A device with a public address is reached under its name, or has a certificate of its
owner's.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

import psutil

Address: TypeAlias = IPv4Address | IPv6Address

# RFC 1918, 3927, 6598 (the range of carriers, which Tailscale uses as well), 4193, 4291, and this machine itself.
PRIVATE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "fc00::/7",
            "fe80::/10",
            "::1/128",
        ),
    )
)
_SELF = "localhost"
_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
# RFC 1123, and the underscore that some hosts have all the same.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Names:
    """Names in lower case, the device's own first, and private addresses."""

    dns: tuple[str, ...]
    addresses: tuple[Address, ...] = _LOOPBACK

    def __str__(self) -> str:
        return " ".join([*self.dns, *map(str, self.addresses)])

    def beyond(self, other: Names) -> Names:
        """What of this is not in `other`."""
        return Names(
            tuple(name for name in self.dns if name not in other.dns),
            tuple(address for address in self.addresses if address not in other.addresses),
        )

    def __bool__(self) -> bool:
        return bool(self.dns or self.addresses)


def of_this_device(called: Iterable[str]) -> Names:
    """What this machine is called: its host name, then `called`; and its addresses at this moment."""
    interfaces = psutil.net_if_addrs().values()
    return names_of([socket.gethostname(), *sorted(called)], (at.address for found in interfaces for at in found))


def names_of(called: Iterable[str], found: Iterable[str]) -> Names:
    """Those of `called` that can be host names, and those addresses in `found` that can stand in a certificate.

    Always what every machine is to itself. Not the link-local ones of IPv6: nobody types them, and they come and go
    with every container.
    """
    dns = dict.fromkeys([*filter(is_host_name, (name.lower().rstrip(".") for name in called)), _SELF])
    addresses = dict.fromkeys([*_LOOPBACK, *sorted(map(_parsed, filter(_is_private, found)), key=str)])
    return Names(tuple(dns), tuple(addresses))


def is_host_name(name: str) -> bool:
    """Whether `name`, in lower case, can be a host's name; an IP literal is none."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()


def _is_private(found: str) -> bool:
    """Whether this is an IP address, maybe with a zone, of a private range. Interfaces have other addresses as well."""
    try:
        address = _parsed(found)
    except ValueError:
        return False
    if address.version == 6 and address.is_link_local:
        return False
    return any(address.version == network.version and address in network for network in PRIVATE)


def _parsed(found: str) -> Address:
    return ip_address(found.partition("%")[0])
