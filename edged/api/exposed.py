"""What the handlers share: all that a route may touch, and what a route is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from edged.api.replay import Stops, Tapes
from edged.chat import ModelCard
from edged.config import Config
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.metrics import Metrics
from edged.observe import Journal, Observed
from edged.routing import Router
from edged.store import ModelFile, Store

Scope: TypeAlias = Literal["public", "chat", "metrics", "admin"]
REQUEST_ID = web.RequestKey("id", str)


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. `scope` is what a caller needs: today everybody has all of them."""

    method: str
    path: str
    scope: Scope
    handler: Handler


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
    default_model: Callable[[], str]
    started_s: float
    addresses: tuple[str, ...] = ()
    stops: Stops = field(default_factory=Stops)
    tapes: Tapes = field(init=False)

    def __post_init__(self) -> None:
        self.tapes = Tapes(self.stops)

    async def close(self, _app: web.Application) -> None:
        """Nobody can read any more."""
        await self.tapes.aclose()

    def installed(self) -> list[tuple[ModelCard, ModelFile]]:
        """Every model's card with its file, the default model first; reads the disk."""
        default = self.default_model()
        files = {file.name: file for file in self.store.models()}
        cards = sorted(self.local.models(), key=lambda card: card.name != default)
        return [(card, files[card.name]) for card in cards if card.name in files]
