"""How many may be connected at once, in all and from one address: arithmetic, no sockets.

Whoever holds the last place and does nothing with it loses it to a newcomer: first those who have never asked anything,
then who has been silent longest. So a place cannot be kept from others by sitting on it, and where nobody sits, the
newcomer is refused.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edged.errors import QueueFull, RateLimited, Unavailable

Lack: TypeAlias = Literal["over_share", "full"]


@dataclass(frozen=True, slots=True)
class Sitting:
    """Somebody who has been connected for long enough to ask and asks nothing: whether ever, and since how long ago."""

    origin: str | None
    has_asked: bool
    idle_s: float


def origin_of(address: str) -> str | None:
    """Whose connections are counted together: an IPv4 address, or a network of IPv6 (whoever has one address of it has
    all 2^64). None for this machine, whose programs share one address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return None if ip.is_loopback else str(ipaddress.ip_network((ip, 64), strict=False))
        ip = ip.ipv4_mapped
    return None if ip.is_loopback else str(ip)


def room_for(connections: int, most_files: int) -> int:
    """How many connections there may be where a process may open `most_files`: workers and models need some, too."""
    return min(connections, most_files // 2)


@dataclass(slots=True)
class Places:
    """Who has one. Each `take` is followed by one `give_back`."""

    most: int
    most_per_origin: int
    _taken: Counter[str | None] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """All of them."""
        return self._taken.total()

    def lack(self, origin: str | None) -> Lack | None:
        """Why there is no place for one more from there; None where there is one."""
        if origin is not None and self._taken[origin] >= self.most_per_origin:
            return "over_share"
        return "full" if self.taken >= self.most else None

    def take(self, origin: str | None) -> None:
        """One more is connected."""
        self._taken[origin] += 1

    def give_back(self, origin: str | None) -> None:
        """One has gone."""
        self._taken[origin] -= 1
        if not self._taken[origin]:
            del self._taken[origin]  # not one entry for everybody who ever came

    def refusal(self, lack: Lack, soonest_s: float) -> Unavailable:
        """What somebody is told for whom there is no place, and will be one in `soonest_s` at the earliest."""
        if lack == "over_share":
            return RateLimited(
                f"{self.most_per_origin} connections from this address are open, as many as may be "
                "([http] connections_per_address).",
                retry_after_s=soonest_s,
            )
        return QueueFull(
            f"{self.most} connections are open, as many as may be ([http] connections).", retry_after_s=soonest_s
        )


def who_gives_way(sitting: Iterable[tuple[int, Sitting]], lack: Lack, origin: str | None) -> int | None:
    """The number of the one who loses the place to a newcomer from `origin`; None where nobody just sits."""
    candidates = [
        (one.has_asked, -one.idle_s, number) for number, one in sitting if lack == "full" or one.origin == origin
    ]
    return min(candidates)[2] if candidates else None
