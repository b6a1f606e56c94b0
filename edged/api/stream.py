"""Answers onto sockets: a whole body, or a stream that never ends without saying why, in whatever dialect.

A stream holds its status back until there is something to say, so that an early failure is still a real status code and
the headers name who really answers. After ten seconds it commits to 200 and sends the dialect's heartbeats, where there
are any. Once words are out, a failure is told in the stream.

A client that goes away cancels its handler (aiohttp's `handler_cancellation`); leaving the `async with` closes the
completion, and that frees the slot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web

from edged.api.answer import Answer, Choice
from edged.chat import Admission, ChatRequest, Event, Finish
from edged.errors import EdgedError
from edged.observe import Observed, Recorded

# Proxies and phones drop a silent connection after 30 s and more; the contract promises 15 at most.
_HEARTBEAT_S = 10.0

Result = TypeVar("Result")


async def respond(backend: Observed, wanted: ChatRequest, answer: Answer) -> web.Response:
    """The whole answer at once. Raises what admission or generation raises: nothing was sent yet."""
    choices = [Choice() for _ in range(wanted.choices)]
    async with await backend.complete(wanted) as completion:
        async for event in completion:
            choices[event.choice].add(event)
        body = answer.whole(completion.exchange, choices)
        return web.json_response(body, headers=origin_headers(completion.admission))


async def stream(
    http_request: web.Request, backend: Observed, wanted: ChatRequest, answer: Answer, hold_status_s: float
) -> web.StreamResponse:
    """The answer as it arrives. Raises what happens before the first word, unless the status had to be sent."""
    response = web.StreamResponse(headers={"Content-Type": answer.content_type, "Cache-Control": "no-store"})
    response.headers["X-Edged-Request-Id"] = wanted.id
    async with _beginning(backend, wanted) as beginning, _running(_beat(response, answer.heartbeat)):
        await asyncio.wait([beginning], timeout=hold_status_s)
        if beginning.done():
            completion, first = beginning.result()
            response.headers.update(origin_headers(completion.admission))
        else:
            response.headers["X-Edged-Served-By"] = "pending"
        try:
            await response.prepare(http_request)
            completion, first = await beginning
            await _relay(response, completion, first, answer)
        except EdgedError as error:
            await response.write(answer.failure(error))
        except ConnectionError:
            return response  # the client went away between two words
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
    return response


def origin_headers(admission: Admission) -> dict[str, str]:
    """Who answers, and why."""
    dropped = {"X-Edged-Dropped-Messages": str(admission.dropped_messages)} if admission.dropped_messages else {}
    return dropped | {
        "X-Edged-Served-By": admission.served_by,
        "X-Edged-Model": admission.model,
        "X-Edged-Route": admission.route,
        "X-Edged-Attempts": str(admission.attempts),
    }


@asynccontextmanager
async def _beginning(backend: Observed, wanted: ChatRequest) -> AsyncIterator[asyncio.Task[tuple[Recorded, Event]]]:
    """Admission and the first event as a task; leaving closes what it opened, wherever it had got to."""
    async with AsyncExitStack() as opened:

        async def begin() -> tuple[Recorded, Event]:
            completion = await backend.complete(wanted)
            opened.push_async_callback(completion.aclose)
            return completion, await anext(aiter(completion))

        async with _running(begin()) as task:
            yield task


async def _relay(response: web.StreamResponse, completion: Recorded, first: Event, answer: Answer) -> None:
    exchange, running = completion.exchange, answer.request.choices
    pending = answer.opening(exchange)
    async for event in _with_first(first, completion):
        running -= isinstance(event, Finish)
        await response.write(pending + answer.event(exchange, event, is_last=running == 0))
        pending = b""
    await response.write(answer.closing(exchange))


async def _with_first(first: Event, rest: Recorded) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, Result]) -> AsyncIterator[asyncio.Task[Result]]:
    """`work` as a task that does not outlive the block."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _beat(response: web.StreamResponse, heartbeat: bytes) -> None:
    """Signs of life on the stream once it is open, however long the next word takes."""
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        if response.prepared and heartbeat:
            with contextlib.suppress(ConnectionError):
                await response.write(heartbeat)
