"""The handlers that tell how the daemon does: alive, ready, status, metrics, requests, events."""

from __future__ import annotations

import asyncio

from aiohttp import web

from edged.api.errors import headers_of
from edged.api.exposed import Exposed, Route, Told
from edged.api.ops import exchange_body, happening_body, health_body, readiness_body, status_body, unready
from edged.errors import EdgedError


class Operation:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("GET", "/healthz", "shell", self.healthz, Told({200: "Alive"})),
            Route("GET", "/readyz", "public", self.readyz, Told({200: "Ready", 503: "Ready"})),
            Route("GET", "/health", "public", self.health, Told({200: "Health", 503: "Health"})),
            Route("GET", "/metrics", "metrics", self.prometheus, Told({200: "Metrics"}, content_type="text/plain")),
            Route("GET", "/edged/v1/status", "owner", self.status, Told({200: "Status"})),
            Route("GET", "/edged/v1/requests", "owner", self.requests, Told({200: "Requests"})),
            Route("GET", "/edged/v1/events", "owner", self.events, Told({200: "Events"})),
        ]

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Alive: the loop turns. Says nothing about models."""
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Ready: a chat sent now would be admitted."""
        error = self._unready()
        headers = headers_of(error) if error else {}
        return web.json_response(readiness_body(error), status=503 if error else 200, headers=headers)

    async def health(self, _request: web.Request) -> web.StreamResponse:
        """The same in llama-server's words."""
        error = self._unready()
        return web.json_response(health_body(error), status=503 if error else 200)

    async def prometheus(self, _request: web.Request) -> web.StreamResponse:
        """What Prometheus reads."""
        return web.Response(body=self._exposed.metrics.render(), content_type="text/plain", charset="utf-8")

    async def status(self, _request: web.Request) -> web.StreamResponse:
        """What the daemon is doing now."""
        exposed = self._exposed
        default, installed = await asyncio.to_thread(lambda: (exposed.default_model(), exposed.local.models()))
        cards = {card.name: card for card in installed}
        body = status_body(exposed.pool, exposed.journal, exposed.started_s, default, exposed.addresses, cards)
        return web.json_response(body)

    async def requests(self, _request: web.Request) -> web.StreamResponse:
        """The last requests, newest first."""
        exchanges = reversed(self._exposed.journal.exchanges)
        return web.json_response({"requests": [exchange_body(exchange) for exchange in exchanges]})

    async def events(self, _request: web.Request) -> web.StreamResponse:
        """The last events, oldest first."""
        happenings = self._exposed.journal.happenings
        return web.json_response({"events": [happening_body(happening) for happening in happenings]})

    def _unready(self) -> EdgedError | None:
        return unready(self._exposed.pool)
