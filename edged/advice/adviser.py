"""What an owner is told who asks which model to take: facts gathered, the hub asked, entries judged, as JSON.

The daemon asks it for the page and for programs, and the command line where no daemon runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, get_args

from edged.advice import device, verified
from edged.advice.choice import Device, Found, Judged, chosen, judge
from edged.catalogue import Purpose, entries

Asking: TypeAlias = Callable[[], AbstractAsyncContextManager[verified.Look]]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the asker knows of this moment. `may_measure` is false while answers would suffer from it."""

    installed: Collection[str] = ()
    resident_bytes: int = 0
    line_bytes_per_s: float | None = None
    may_measure: bool = True


class Adviser:
    """Knows where things are remembered and whom to ask: `asking` opens the way to the hubs."""

    def __init__(self, cache: Path, models: Path, reserve_bytes: int | None, asking: Asking) -> None:
        self._cache = cache
        self._found_file = cache / "catalogue.json"
        self._models = models
        self._reserve_bytes = reserve_bytes
        self._asking = asking
        self._one_at_a_time = asyncio.Lock()

    async def advise(self, now: Circumstances, within_s: float) -> dict[str, Any]:
        """Every entry judged for this device. The hub has `within_s` to answer; after that what is known counts."""
        found = await self._found(within_s)
        here = await asyncio.to_thread(self._device, now)
        return body(judge(entries(), found, here, now.installed), here)

    async def _found(self, within_s: float) -> dict[str, Found]:
        async with self._one_at_a_time:
            known = await asyncio.to_thread(verified.read, self._found_file)
            today = datetime.now(UTC).date()
            if not verified.due(entries(), known, today):
                return known
            async with self._asking() as look:
                found = await verified.verify(entries(), known, look, today, within_s)
            if found != known:
                await asyncio.to_thread(verified.write, self._found_file, found)
            return found

    def _device(self, now: Circumstances) -> Device:
        measure = device.measured if now.may_measure else device.known
        return device.device(
            self._models, measure(self._cache), now.resident_bytes, self._reserve_bytes, now.line_bytes_per_s
        )


def body(judged: Collection[Judged], here: Device) -> dict[str, Any]:
    """`GET /edged/v1/catalogue`, and `edged models --recommend --json`."""
    best = {purpose: one.entry.name if (one := chosen(judged, purpose)) else None for purpose in get_args(Purpose)}
    return {"device": asdict(here), "best": best, "models": [_judged_body(one) for one in judged]}


def _judged_body(one: Judged) -> dict[str, Any]:
    return {
        **one.entry.model_dump(),
        "reference": one.entry.reference,
        "size_bytes": one.size_bytes,
        "checked": one.checked or None,
        "tokens_per_s": one.tokens_per_s,
        "download_s": one.download_s,
        "installed": one.is_installed,
        "fits": one.fits,
        "verdict": one.verdict,
        "reason": one.reason,
    }
