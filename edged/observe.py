"""What happened: one record per request, one line per event, both in memory and bounded.

`Observed` is the outermost Backend, so that it sees every outcome of a request, and the only one that looks at the
clock for the owner's sake. Metrics listen here; nothing here knows how they are counted. No record holds a prompt or an
answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from edged.chat import ChatRequest, EmbedRequest, Lane, RerankRequest
from edged.completion import (
    Admission,
    Backend,
    Completion,
    Counted,
    Embeddings,
    Event,
    Finish,
    Progress,
    Ranking,
    Thought,
    Usage,
)
from edged.errors import EdgedError
from edged.redaction import redacted

log = logging.getLogger(__name__)

# "running", a finish reason, "cancelled", or the code of the error that ended it.
Outcome: TypeAlias = str
# Enough to see what just went wrong on a screen or two; a few hundred kilobytes at most.
_KEPT_REQUESTS = 256
_KEPT_EVENTS = 256


@dataclass(slots=True, eq=False)
class Exchange:
    """One request from admission to its end. Times are seconds since it began; `began_s` is Unix time."""

    id: str
    dialect: str
    account: str
    requested_model: str | None
    lane: Lane = "interactive"
    began_s: float = field(default_factory=time.time)
    admission: Admission | None = None
    outcome: Outcome = "running"
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    first_token_s: float | None = None
    last_token_s: float | None = None
    duration_s: float | None = None
    _clock_s: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it began, by the monotonic clock."""
        return time.monotonic() - self._clock_s

    @property
    def usage(self) -> Usage:
        """What it has cost so far."""
        admission = self.admission
        prompt_tokens, cached = (admission.prompt_tokens, admission.cached_tokens) if admission else (0, 0)
        return Usage(prompt_tokens, self.completion_tokens, cached, self.reasoning_tokens)


class Observer:
    """Hears of every token and every end. The base class hears and does nothing."""

    def on_delta(self, exchange: Exchange, gap_s: float | None, tokens: int = 1) -> None:
        """A piece of text made of `tokens` arrived, `gap_s` after the one before it; None for the first."""

    def on_end(self, exchange: Exchange) -> None:
        """The exchange is over; `outcome` says how."""

    def on_event(self, happening: Happening) -> None:
        """Something happened to the daemon itself."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something an owner may want to know tomorrow."""

    number: int
    time_s: float
    event: str
    facts: dict[str, object]


class Journal:
    """The last requests and events, and who else wants to hear of them."""

    def __init__(self) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=_KEPT_REQUESTS)
        self.happenings: deque[Happening] = deque(maxlen=_KEPT_EVENTS)
        self.observers: list[Observer] = []
        self._numbers = itertools.count(1)
        self._running: set[Exchange] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def running(self) -> int:
        """Requests that have not ended."""
        return len(self._running)

    async def quiet(self) -> None:
        """Wait until no request is running."""
        await self._quiet.wait()

    def tell(self, event: str, **facts: object) -> None:
        """Record and log an event. No fact holds a secret."""
        told = {name: redacted(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
        happening = Happening(next(self._numbers), time.time(), event, told)
        self.happenings.append(happening)
        log.info("%s %s", event, " ".join(f"{name}={value}" for name, value in told.items()))
        for observer in self.observers:
            observer.on_event(happening)

    def begin(self, exchange: Exchange) -> None:
        """A request has come in."""
        self.exchanges.append(exchange)
        self._running.add(exchange)
        self._quiet.clear()

    def end(self, exchange: Exchange, outcome: Outcome) -> None:
        """It is over; a second end is ignored, because closing follows every end."""
        if exchange not in self._running:
            return
        exchange.outcome, exchange.duration_s = outcome, exchange.age_s
        self._running.discard(exchange)
        if not self._running:
            self._quiet.set()
        for observer in self.observers:
            observer.on_end(exchange)


@dataclass(slots=True)
class Recorded(Completion):
    """A completion together with the record of it."""

    exchange: Exchange = field(kw_only=True)


class Observed:
    """Wraps a Backend and keeps the journal's record of everything it answers."""

    def __init__(self, inner: Backend, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal

    async def complete(self, request: ChatRequest) -> Recorded:
        """As the inner backend; the exchange is filled while the answer is iterated, and ended with it."""
        exchange = self._begin(request)
        with self._failing(exchange):
            completion = await self._inner.complete(request)
        exchange.admission = completion.admission
        resources = AsyncExitStack()
        resources.callback(self._journal.end, exchange, "cancelled")
        resources.push_async_callback(completion.aclose)
        return Recorded(completion.admission, self._watch(completion, exchange), resources, exchange=exchange)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """As the inner backend; one exchange per request, however many texts it has."""
        exchange = self._begin(request)
        with self._failing(exchange):
            found = await self._inner.embed(request)
        exchange.admission = found.admission
        self._journal.end(exchange, "stop")
        return found

    async def rerank(self, request: RerankRequest) -> Ranking:
        """As the inner backend; one exchange per request, however many documents it has."""
        exchange = self._begin(request)
        with self._failing(exchange):
            found = await self._inner.rerank(request)
        exchange.admission = found.admission
        self._journal.end(exchange, "stop")
        return found

    async def count(self, request: ChatRequest) -> Counted:
        """As the inner backend; one exchange per request, in which nothing is answered."""
        exchange = self._begin(request)
        with self._failing(exchange):
            found = await self._inner.count(request)
        exchange.admission = found.admission
        self._journal.end(exchange, "stop")
        return found

    def _begin(self, request: ChatRequest | EmbedRequest | RerankRequest) -> Exchange:
        lane: Lane = request.lane if isinstance(request, ChatRequest) else "background"
        exchange = Exchange(request.id, request.caller.dialect, request.caller.account, request.model, lane)
        self._journal.begin(exchange)
        return exchange

    @contextmanager
    def _failing(self, exchange: Exchange) -> Iterator[None]:
        """Whatever leaves the block by force ends the exchange."""
        try:
            yield
        except BaseException as error:
            self._journal.end(exchange, error.code if isinstance(error, EdgedError) else "cancelled")
            raise

    async def _watch(self, completion: Completion, exchange: Exchange) -> AsyncIterator[Event]:
        outcome: Outcome = "stop"
        counted: dict[int, int] = {}
        try:
            async for event in completion:
                if isinstance(event, Finish):
                    exchange.completion_tokens += event.completion_tokens - counted.get(event.choice, 0)
                    outcome = event.reason
                elif not isinstance(event, Progress):
                    counted[event.choice] = counted.get(event.choice, 0) + event.tokens
                    exchange.completion_tokens += event.tokens
                    exchange.reasoning_tokens += event.tokens if isinstance(event, Thought) else 0
                    self._note_delta(exchange, event.tokens)
                yield event
        except EdgedError as error:
            self._journal.end(exchange, error.code)
            raise
        self._journal.end(exchange, outcome)

    def _note_delta(self, exchange: Exchange, tokens: int) -> None:
        now_s = exchange.age_s
        gap_s = None if exchange.last_token_s is None else now_s - exchange.last_token_s
        if exchange.first_token_s is None:
            exchange.first_token_s = now_s
        exchange.last_token_s = now_s
        for observer in self._journal.observers:
            observer.on_delta(exchange, gap_s, tokens)
