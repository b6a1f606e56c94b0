"""Who fails to prove who they are, too often: told so, while whoever has a right key never notices."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from edged.access.quota import Bucket, full
from edged.errors import RateLimited, Unauthorized

# Nobody mistypes a key that often; a program with a revoked one, which asks again and again, does.
_PER_MINUTE = 20
_PER_MINUTE_IN_ALL = 600
_MINUTE_S = 60.0
_MOST_GROUPS = 1024


class Failures:
    """Counts them, by address and in all. Only what has failed is counted, so nobody can be locked out by others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._now_s = clock
        self._of_group: OrderedDict[str, Bucket] = OrderedDict()
        self._in_all = full(_PER_MINUTE_IN_ALL, _MINUTE_S, clock())

    def refusal(self, address: str, sentence: str) -> Unauthorized | RateLimited:
        """What somebody at `address` is told who has failed once more: `sentence`, or to come back later."""
        now_s, group = self._now_s(), group_of(address)
        bucket = self._of_group.pop(group, None) or full(_PER_MINUTE, _MINUTE_S, now_s)
        self._of_group[group] = bucket
        if len(self._of_group) > _MOST_GROUPS:
            self._of_group.popitem(last=False)
        try:
            self._of_group[group] = bucket.taken(now_s)
            self._in_all = self._in_all.taken(now_s)
        except RateLimited as refusal:
            return RateLimited(
                "Too many requests with keys that are not valid here. Mend the key, then try again.",
                retry_after_s=refusal.retry_after_s,
            )
        return Unauthorized(sentence)


def group_of(address: str) -> str:
    """Whose failures count together: an IPv4 address, or the /64 that an IPv6 host has to itself; "" is nobody's."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
