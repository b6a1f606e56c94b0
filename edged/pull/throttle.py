"""The clocks of a fetch: how fast it may go, and when not at all. What is decided stands in `pace.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from edged.pull.pace import Allowance, QuietHours

# A clock may be set while somebody sleeps: nobody oversleeps the end of quiet hours by more.
_LONGEST_SLEEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how time passes."""

    now_s: Callable[[], float] = time.monotonic
    local: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Throttle:
    """Shared by everything that is fetched."""

    def __init__(self, bytes_per_s: int | None, quiet: QuietHours, clock: Clock) -> None:
        self.clock = clock
        self._quiet = quiet
        self._allowance = Allowance(bytes_per_s, at_s=clock.now_s())

    def quiet_until(self) -> datetime | None:
        """When it may go on; None where it may now."""
        return self._quiet.until(self.clock.local())

    async def spend(self, count: int) -> None:
        """So many bytes came: wait until more may."""
        self._allowance, wait_s = self._allowance.take(count, self.clock.now_s())
        if wait_s > 0:
            await self.clock.sleep(wait_s)

    async def until_loud(self, told: Callable[[str], None]) -> None:
        """Wait for the end of quiet hours; `told` hears why nothing happens."""
        while until := self.quiet_until():
            told(f"quiet hours until {until:%H:%M}")
            await self.clock.sleep(min(_LONGEST_SLEEP_S, (until - self.clock.local()).total_seconds()))
