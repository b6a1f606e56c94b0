"""A request as a worker is asked for it, the answers as they arrive, and what a worker's refusals are called here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

from edged.chat import ChatRequest, Lane
from edged.completion import Event, Finish
from edged.errors import (
    CapabilityMissing,
    EdgedError,
    GrammarInvalid,
    InvalidRequest,
    QueueFull,
    RequestError,
    Unavailable,
)
from edged.local.manner import Manner
from edged.template_wire import Span
from edged.wire import Accepted, FailureCode, Generate

FAILURES: dict[FailureCode, type[RequestError | Unavailable]] = {
    "grammar_invalid": GrammarInvalid,
    "capability_missing": CapabilityMissing,
    "invalid_request": InvalidRequest,
    "queue_full": QueueFull,
}


def frame_of(
    id: int, request: ChatRequest, prompt: tuple[Span, ...], max_tokens: int, manner: Manner | None
) -> Generate:
    """What to ask of a worker for the answers `id`, `id` + 1 … to `prompt`, whose replies are read as `manner` says."""
    return Generate(
        id,
        prompt,
        max_tokens,
        request.sampling,
        request.stop,
        request.n,
        request.logprobs,
        request.constraint,
        request.caller.account,
        request.lane,
        request.prediction,
        manner.markers if manner else (),
        request.raw_prompt if isinstance(request.raw_prompt, tuple) else (),
        request.tells_progress,
        manner.thoughts(request) if manner else None,
    )


News: TypeAlias = Event | Accepted | EdgedError


@dataclass(slots=True, eq=False)
class Answers:
    """The `n` answers to one request as they arrive; `accepted` is known before the first of them says anything."""

    ids: range
    lane: Lane = "interactive"
    accepted: Accepted | None = None
    _news: asyncio.Queue[News] = field(default_factory=asyncio.Queue)

    def put(self, news: News) -> None:
        """Something happened; an error is the end of all of them."""
        if isinstance(news, Accepted) and self.accepted is None:
            self.accepted = news
        self._news.put_nowait(news)

    async def admitted(self) -> Accepted:
        """Wait until the worker has accepted: how long the prompt is, and what of it was in memory. Raises why not."""
        news = await self._news.get()
        if isinstance(news, EdgedError):
            raise news
        assert isinstance(news, Accepted)
        return news

    async def events(self) -> AsyncIterator[Event]:
        """Deltas and finishes until every choice has finished; raises the error that ended them instead."""
        running = len(self.ids)
        while running:
            news = await self._news.get()
            if isinstance(news, EdgedError):
                raise news
            if isinstance(news, Accepted):
                continue  # the same prompt, accepted for a further choice
            running -= isinstance(news, Finish)
            yield news
