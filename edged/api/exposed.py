"""What the handlers share: all that a route may touch, and what a route is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from edged.access.claiming import Claiming
from edged.access.decision import Need
from edged.access.door import Access
from edged.advice.adviser import Adviser
from edged.api.replay import Stops, Tapes
from edged.chat import ModelCard
from edged.config import Config
from edged.errors import ModelNotFound
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.metrics import Metrics
from edged.observe import Journal, Observed
from edged.pull.queue import Pulls
from edged.pull.scrubbing import Scrubbing
from edged.routing import Router
from edged.store import ModelFile, Store
from edged.store.uploads import Uploads
from edged.tls.context import Facts

REQUEST_ID = web.RequestKey("id", str)


JSON, SSE, NDJSON = "application/json", "text/event-stream", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Told:
    """What can be told of a route, beside the first line of its handler's docstring.

    `answers` names the shape (`shapes.py`) of an answer by its status; an empty name is an answer without a body.
    `streams` is the content type of an answer in pieces, for bodies with a `stream` that says so; without such a body
    it is always one. A route that `asks` a model can fail in all the ways in which that can fail; `fails` has
    what else can go wrong. `example` is a body that means something; a route with a `body` has one.
    """

    answers: Mapping[int, str]
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    params: tuple[str, ...] = ()
    content_type: str = JSON
    streams: str = ""
    asks: bool = False
    fails: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. `scope` is what a caller needs (`access/decision.py`).

    What is `told` of it makes the description; None: it is a file of the page, or there only to refuse.
    """

    method: str
    path: str
    scope: Need
    handler: Handler
    told: Told | None


@dataclass(slots=True)
class Exposed:
    """The Backend, and the few objects that know the state of things."""

    config: Config
    backend: Observed
    router: Router
    local: Local
    pool: Pool
    store: Store
    journal: Journal
    metrics: Metrics
    pulls: Pulls
    uploads: Uploads
    scrubbing: Scrubbing
    adviser: Adviser
    access: Access
    claiming: Claiming
    default_model: Callable[[], str]
    started_s: float
    addresses: tuple[str, ...] = ()
    certified: Callable[[], Facts | None] = lambda: None
    stops: Stops = field(default_factory=Stops)
    tapes: Tapes = field(init=False)

    def __post_init__(self) -> None:
        self.tapes = Tapes(self.stops)

    async def close(self, _app: web.Application) -> None:
        """Nobody can read any more."""
        await self.tapes.aclose()

    async def delete(self, name: str) -> int:
        """Have a model gone: from the disk at once, from memory as soon as nobody uses it; what the disk got back.

        One that is only in memory, because its file went otherwise, leaves that all the same. Raises what
        `Store.remove` raises.
        """
        try:
            size_bytes = (await asyncio.to_thread(self.store.find, name)).size_bytes
            await asyncio.to_thread(self.store.remove, name)
        except ModelNotFound:
            if name not in self.pool.residents:
                raise
            size_bytes = 0
        self.pool.memory.forget(name)
        self.journal.tell("model_deleted", model=name, size_bytes=size_bytes)
        return size_bytes

    async def let_go(self, wanted: str | None) -> str:
        """Have the model that `wanted` means leave memory when nobody uses it, whatever became of its file; its name.

        Raises `ModelNotFound`.
        """
        model = await self.router.meant(wanted, tuple(self.pool.residents))
        self.pool.keep(model, 0)
        return model

    def installed(self) -> list[tuple[ModelCard, ModelFile]]:
        """Every model's card with its file, the default model first; reads the disk."""
        default = self.default_model()
        files = {file.name: file for file in self.store.models()}
        cards = sorted(self.local.models(), key=lambda card: card.name != default)
        return [(card, files[card.name]) for card in cards if card.name in files]
