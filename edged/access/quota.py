"""How much a key may use, and how often one may fail to prove who one is: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edged.access.people import Quota
from edged.errors import RateLimited

DAY_S = 86_400.0
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many at once, and as many again in `refill_s`; `level` is what is left at `at_s`."""

    most: int
    refill_s: float
    level: float
    at_s: float

    def taken(self, now_s: float) -> Bucket:
        """What is left when one is taken. Raises `RateLimited` where there is none, with when there will be."""
        per_s = self.most / self.refill_s
        # A clock that was set back tells nothing of how long it was; nobody is locked out until it has caught up.
        elapsed_s = now_s - self.at_s if now_s >= self.at_s else self.refill_s
        level = min(self.most, self.level + elapsed_s * per_s)
        if level < 1:
            raise RateLimited(f"More than {self.most} in {self.refill_s:.0f} s.", retry_after_s=(1 - level) / per_s)
        return replace(self, level=level - 1, at_s=now_s)


def full(most: int, refill_s: float, now_s: float) -> Bucket:
    """A bucket from which nothing was taken yet."""
    return Bucket(most, refill_s, most, now_s)


@dataclass(frozen=True, slots=True)
class Used:
    """What a key has used on `day`, counted from the epoch, and in the last minute."""

    day: int = 0
    requests: int = 0
    tokens: int = 0
    minute: Bucket | None = None


def admitted(quota: Quota, used: Used, now_s: float) -> Used:
    """What is used once one more request is admitted. Raises `RateLimited` with the limit and when it ends."""
    today = _today(used, now_s)
    midnight_s = (today.day + 1) * DAY_S - now_s
    if quota.requests_per_day is not None and today.requests >= quota.requests_per_day:
        raise RateLimited(
            f"This key may send {quota.requests_per_day} requests a day, and has.", retry_after_s=midnight_s
        )
    if quota.tokens_per_day is not None and today.tokens >= quota.tokens_per_day:
        raise RateLimited(
            f"This key may use {quota.tokens_per_day} tokens a day, and has used {today.tokens}.",
            retry_after_s=midnight_s,
        )
    minute = used.minute
    if (most := quota.requests_per_minute) is not None:
        if minute is None or minute.most != most:
            minute = full(most, _MINUTE_S, now_s)
        try:
            minute = minute.taken(now_s)
        except RateLimited as refusal:
            raise RateLimited(
                f"This key may send {most} requests a minute.", retry_after_s=refusal.retry_after_s
            ) from None
    return replace(today, requests=today.requests + 1, minute=minute)


def charged(used: Used, tokens: int, now_s: float) -> Used:
    """What is used once an answer has cost `tokens`, those of the prompt included."""
    today = _today(used, now_s)
    return replace(today, tokens=today.tokens + tokens)


def _today(used: Used, now_s: float) -> Used:
    """A clock that is set back begins no new day: what was used stays used."""
    day = max(used.day, int(now_s // DAY_S))
    return used if day == used.day else Used(day, minute=used.minute)
