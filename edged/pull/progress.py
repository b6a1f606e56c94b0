"""How far a pull is: what everybody is shown, and who waits to see it change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

State: TypeAlias = Literal["queued", "waiting", "resolving", "fetching", "verifying", "done", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_LEAST_BETWEEN_S = 0.25
_SPEED_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A pull as it stands. `reason` is why it waits, `code` and `message` why it failed.

    `verified`: all of it came now, and has the checksums that were announced.
    """

    id: str
    reference: str
    name: str
    state: State
    total_bytes: int | None = None
    done_bytes: int = 0
    bytes_per_s: float | None = None
    eta_s: float | None = None
    reason: str = ""
    code: str = ""
    message: str = ""
    verified: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Speed:
    """Bytes a second over the last few seconds, as an average in which what is older counts less and less."""

    bytes_per_s: float | None = None
    at_s: float = 0.0
    done_bytes: int = 0

    def at(self, now_s: float, done_bytes: int) -> Speed:
        """With what is here now. Nothing is said before a second has passed, nor when bytes were thrown away."""
        passed_s, came = now_s - self.at_s, done_bytes - self.done_bytes
        if self.at_s == 0.0 or came < 0:
            return Speed(None, now_s, done_bytes)
        if passed_s < 1.0:
            return self
        latest = came / passed_s
        weight = min(1.0, passed_s / _SPEED_OVER_S)
        older = latest if self.bytes_per_s is None else self.bytes_per_s
        return Speed(older + (latest - older) * weight, now_s, done_bytes)

    def eta_s(self, total_bytes: int | None) -> float | None:
        """How long the rest takes; None where that cannot be said."""
        if total_bytes is None or not self.bytes_per_s:
            return None
        return max(0.0, (total_bytes - self.done_bytes) / self.bytes_per_s)


class Watched:
    """Progress that others follow."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._changed = asyncio.Event()
        self._over = asyncio.Event()

    def change(self, **fields: object) -> None:
        """It is otherwise now; everybody who follows will see it."""
        self.progress = replace(self.progress, **fields)  # type: ignore[arg-type]
        self._changed.set()
        self._changed = asyncio.Event()
        if self.progress.has_ended:
            self._over.set()

    async def follow(self) -> AsyncIterator[Progress]:
        """As it is, then every change, four a second at most and the last one always."""
        while True:
            changed, shown = self._changed, self.progress
            yield shown
            if shown.has_ended:
                return
            if shown is self.progress:
                await changed.wait()
            with contextlib.suppress(TimeoutError):  # the end is told at once
                async with asyncio.timeout(_LEAST_BETWEEN_S):
                    await self._over.wait()
