"""The handlers that tell which models there are, and change it, in OpenAI's, Anthropic's and Ollama's words."""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

from aiohttp import web

from edged.api import anthropic_models, body
from edged.api.exposed import Exposed, Route, Told
from edged.api.ollama_models import (
    REFUSED,
    CopyBody,
    DeleteBody,
    Running,
    ShowBody,
    ps_body,
    show_body,
    tags_body,
    version_body,
)
from edged.api.openai import model_body, models_body
from edged.chat import ModelCard
from edged.errors import NotFound
from edged.gguf.header import Gguf
from edged.store import ModelFile
from edged.wire import Loaded

_NAMED = {"model": "guide"}
_COPY = Told({200: ""}, CopyBody, {"source": "small", "destination": "mine"})


class Catalogue:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("GET", "/v1/models", "chat", self.models, Told({200: "Models"})),
            Route("GET", "/v1/models/{id}", "chat", self.model, Told({200: "Model"})),
            Route("GET", "/openai/models", "chat", self.models, Told({200: "Models"})),
            Route("GET", "/openai/models/{id}", "chat", self.model, Told({200: "Model"})),
            Route("GET", "/openai/v1/models", "chat", self.models, Told({200: "Models"})),
            Route("GET", "/openai/v1/models/{id}", "chat", self.model, Told({200: "Model"})),
            Route("GET", "/api/tags", "chat", self.tags, Told({200: "OllamaModels"})),
            Route("GET", "/api/ps", "chat", self.ps, Told({200: "OllamaModels"})),
            Route("POST", "/api/show", "chat", self.show, Told({200: "OllamaModel"}, ShowBody, _NAMED)),
            Route("GET", "/api/version", "public", self.version, Told({200: "Version"})),
            Route("POST", "/api/copy", "owner", self.copy, _COPY),
            Route("DELETE", "/api/delete", "owner", self.delete, Told({200: ""}, DeleteBody, {"model": "mine"})),
            *(Route(method, path, "owner", self.refuse, None) for method, path in REFUSED),
        ]

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The installed models, the default one first; OpenAI and Anthropic have the same path for it."""
        describe = anthropic_models.models_body if anthropic_models.is_meant(request.headers) else models_body
        return web.json_response(describe([card for card, _ in await self._installed()]))

    async def model(self, request: web.Request) -> web.StreamResponse:
        """One installed model."""
        name = request.match_info["id"]
        describe = anthropic_models.model_body if anthropic_models.is_meant(request.headers) else model_body
        for card, _ in await self._installed():
            if card.name == name:
                return web.json_response(describe(card))
        raise NotFound(f"There is no model named {name!r} here.", param="model")

    async def tags(self, _request: web.Request) -> web.StreamResponse:
        """The installed models, for Ollama's clients."""
        installed = await self._installed()
        return web.json_response(tags_body([card for card, _ in installed], _headers(installed)))

    async def ps(self, _request: web.Request) -> web.StreamResponse:
        """The models in memory."""
        installed = await self._installed()
        residents = self._exposed.pool.residents
        running = [
            Running(card, loaded.model_bytes, _gpu_bytes(loaded), self._exposed.pool.memory.leaves_s(card.name))
            for card, _ in installed
            if card.name in residents and (loaded := residents[card.name].process.card) is not None
        ]
        return web.json_response(ps_body(running, _headers(installed), time.time()))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """What is known of a model."""
        asked = await body.read(request, ShowBody)
        asked.check()
        installed = await self._installed()
        name = asked.found([card.name for card, _ in installed])
        card, file = next(found for found in installed if found[0].name == name)
        return web.json_response(show_body(card, file.header))

    async def copy(self, request: web.Request) -> web.StreamResponse:
        """A second name for a model."""
        asked = await body.read(request, CopyBody)
        source, name = asked.names([card.name for card, _ in await self._installed()])
        await asyncio.to_thread(self._exposed.store.copy, source, name)
        return web.Response()

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """A model is deleted: from the disk at once, from memory as soon as nobody uses it."""
        asked = await body.read(request, DeleteBody)
        installed = [card.name for card, _ in await self._installed()]
        await self._exposed.delete(asked.found([*installed, *self._exposed.pool.residents]))
        return web.Response()

    async def version(self, _request: web.Request) -> web.StreamResponse:
        """Which version of Ollama's API this is."""
        return web.json_response(version_body())

    async def refuse(self, request: web.Request) -> NoReturn:
        """What Ollama can and edged does not."""
        assert request.match_info.route.resource is not None
        raise NotFound(REFUSED[request.method, request.match_info.route.resource.canonical])

    async def _installed(self) -> list[tuple[ModelCard, ModelFile]]:
        return await asyncio.to_thread(self._exposed.installed)


def _gpu_bytes(loaded: Loaded) -> int:
    """What of the model lies on a GPU, as far as its layers are of one size."""
    return loaded.model_bytes * loaded.gpu_layers // max(1, loaded.layers)


def _headers(installed: list[tuple[ModelCard, ModelFile]]) -> dict[str, Gguf | None]:
    return {file.name: file.header for _, file in installed}
