"""The handlers of the models on this device and of those that could be: listed, deleted, judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Reversible
from dataclasses import asdict
from typing import Any

from aiohttp import web

from edged.advice.adviser import Circumstances
from edged.api.exposed import Exposed, Route, Told
from edged.chat import ModelCard
from edged.errors import ModelTooLarge
from edged.local.fit import Fit
from edged.local.needs import context_of
from edged.local.resident import taken_bytes
from edged.observe import Happening
from edged.store import ModelFile

# Whoever looks at the page waits for it; what the hub has not said by then it says the next time.
_HUB_S = 4.0
# Below this a download says nothing of the line.
_TELLING_BYTES = 8 * 2**20


class Shop:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("GET", "/edged/v1/models", "owner", self.models, Told({200: "Installed"})),
            Route("DELETE", "/edged/v1/models/{name}", "owner", self.delete, Told({200: "Deleted"}, fails=(400, 422))),
            Route("GET", "/edged/v1/catalogue", "owner", self.catalogue, Told({200: "Catalogue"})),
        ]

    async def models(self, _request: web.Request) -> web.StreamResponse:
        """The installed models with all that is known of them, and how they fit now, the default one first."""
        return web.json_response({"models": await asyncio.to_thread(self._listed)})

    def _listed(self) -> list[dict[str, Any]]:
        way_of = self._exposed.pool.memory.ways()
        return [{**model_body(card, file), "fit": fit_body(file, way_of)} for card, file in self._exposed.installed()]

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """A model is deleted: from the disk at once, from memory as soon as nobody uses it."""
        name = request.match_info["name"]
        return web.json_response({"name": name, "size_bytes": await self._exposed.delete(name)})

    async def catalogue(self, _request: web.Request) -> web.StreamResponse:
        """The models that can be fetched by name, judged for this device: what fits, how fast, which is the best."""
        return web.json_response(await self._exposed.adviser.advise(await self._now(), _HUB_S))

    async def _now(self) -> Circumstances:
        exposed = self._exposed
        return Circumstances(
            installed={file.record.origin for _, file in await asyncio.to_thread(exposed.installed) if file.record},
            resident_bytes=taken_bytes(exposed.pool.residents.values()),
            line_bytes_per_s=line_bytes_per_s(exposed.journal.happenings),
            may_measure=exposed.journal.running == 0,
        )


def fit_body(file: ModelFile, way_of: Callable[[ModelFile], Fit]) -> dict[str, Any] | None:
    """Whether a model fits into memory and how it would run; None where nobody can say: it cannot be loaded, or nobody
    has looked into it yet."""
    if file.header is None or file.problem:
        return None
    try:
        found = way_of(file)
    except ModelTooLarge as error:
        nothing = {"context_tokens": None, "sequences": None, "kv_type": None, "lowered": None}
        return {"fits": False, **nothing, "needed_bytes": error.needed_bytes, "reason": str(error)}
    return {
        "fits": True,
        "context_tokens": context_of(file.header, found.way),
        "sequences": found.way.sequences,
        "kv_type": found.way.kv_type,
        "lowered": found.lowered or None,
        "needed_bytes": found.needs.total_bytes,
        "reason": None,
    }


def line_bytes_per_s(happenings: Reversible[Happening]) -> float | None:
    """How fast the last download came that was large enough to tell; None where there was none lately."""
    for happening in reversed(happenings):
        if speed := _speed(happening):
            return speed
    return None


def _speed(happening: Happening) -> float | None:
    size_bytes, duration_s = happening.facts.get("size_bytes"), happening.facts.get("duration_s")
    if happening.event != "pull_done" or not isinstance(size_bytes, int) or not isinstance(duration_s, float):
        return None
    return size_bytes / duration_s if size_bytes >= _TELLING_BYTES and duration_s > 0 else None


def model_body(card: ModelCard, file: ModelFile) -> dict[str, Any]:
    """One entry of `GET /edged/v1/models`."""
    return {
        "name": card.name,
        "size_bytes": file.size_bytes,
        "modified_s": file.modified_s,
        "made_for": file.made_for,
        "abilities": list(card.abilities),
        "context_tokens": card.context_tokens,
        "longest_context_tokens": card.longest_context_tokens,
        "resident": card.is_resident,
        "problem": file.problem or None,
        "record": asdict(file.record) if file.record else None,
    }
