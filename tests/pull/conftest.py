"""What the tests of pulls share: a hub, a store, and pulls that know no patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edged.config import Downloads
from edged.pull.finder import Hubs
from edged.pull.pace import Patience
from edged.pull.progress import Progress
from edged.pull.queue import Pulls
from edged.pull.throttle import Clock
from edged.store import Record, Store
from tests.hub import Hub, running

SHORT = Patience(
    stall_s=0.3,
    window_s=0.4,
    least_bytes_per_s=1024,
    attempts=3,
    backoff_s=0.01,
    unreachable_factor=1.0,
    progress_bytes=2**16,
    answer_s=2.0,
)
SAFE_EVERY_BYTES = 2**18


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """On two ports of loopback, for one test."""
    async with running() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    store.ready()
    return store


@dataclass
class Bench:
    """What it takes to pull from a hub."""

    hub: Hub
    store: Store
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    catalogue: Callable[[str], str | None] = lambda _: None

    def settings(self, **more: Any) -> Downloads:
        """The hub in place of all hubs, its other host named as well, and no reserve."""
        values: dict[str, Any] = {
            "huggingface": self.hub.hub_url,
            "modelscope": self.hub.hub_url,
            "ollama": self.hub.hub_url,
            "hosts": (urlsplit(self.hub.files_url).netloc,),
            "reserve_bytes": 0,
        }
        return Downloads(**(values | more))

    @asynccontextmanager
    async def pulls(self, patience: Patience = SHORT, clock: Clock | None = None, **more: Any) -> AsyncIterator[Pulls]:
        """A daemon's life."""
        settings = self.settings(**more)
        made = Pulls(
            self.store,
            settings,
            await asyncio.to_thread(Hubs.of, settings, self.environ),
            lambda event, **facts: self.events.append((event, facts)),
            self.catalogue,
            clock=clock,
            patience=patience,
            safe_every_bytes=SAFE_EVERY_BYTES,
        )
        async with made as pulls:
            yield pulls

    async def pull(self, text: str, *, patience: Patience = SHORT, **more: Any) -> Progress:
        """One pull to its end, in a life of its own."""
        asked = {name: more.pop(name) for name in ("sha256", "name") if name in more}
        async with self.pulls(patience, **more) as pulls:
            return await ended(pulls, pulls.submit(text, **asked).id)

    async def records(self) -> list[Record]:
        """What is installed."""
        return await asyncio.to_thread(self.store.records)

    def partials(self) -> list[Path]:
        """What lies about of files on their way."""
        return sorted(path for path in self.store.partials.iterdir() if path.suffix == ".part")


@pytest.fixture
def bench(hub: Hub, store: Store) -> Bench:
    return Bench(hub, store)


async def ended(pulls: Pulls, id: str, within_s: float = 20.0) -> Progress:
    """The last that is said of a pull."""
    async with asyncio.timeout(within_s):
        last: Progress | None = None
        async for progress in pulls.follow(id):
            last = progress
    assert last is not None
    return last


async def until(pulls: Pulls, id: str, look: Callable[[Progress], bool], within_s: float = 20.0) -> Progress:
    """The first that `look` likes."""
    async with asyncio.timeout(within_s):
        async for progress in pulls.follow(id):
            if look(progress):
                return progress
    raise AssertionError(f"pull {id} ended before")
