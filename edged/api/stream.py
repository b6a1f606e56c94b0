"""Answers onto sockets: a whole body, or a stream that never ends without saying why, in whatever dialect.

A stream holds its status back until there is something to say, so that an early failure is still a real status code and
the headers name who really answers. After ten seconds it commits to 200 and sends the dialect's heartbeats, where there
are any. Once words are out, a failure is told in the stream.

A client that goes away cancels its handler (aiohttp's `handler_cancellation`); leaving the `async with` closes the
completion, and that frees the slot. So does a client that does not read (`connection.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web

from edged.api.answer import Answer, Choice
from edged.api.connection import Write, keeping_up
from edged.api.errors import defect
from edged.api.replay import Stops, Tape
from edged.chat import ChatRequest
from edged.completion import Admission, Event, Finish
from edged.errors import EdgedError
from edged.observe import Observed, Recorded

log = logging.getLogger(__name__)

# Proxies and phones drop a silent connection after 30 s and more; the contract promises 15 at most.
_HEARTBEAT_S = 10.0

Result = TypeVar("Result")


async def respond(backend: Observed, wanted: ChatRequest, answer: Answer, stops: Stops) -> web.Response:
    """The whole answer at once. Raises what admission or generation raises: nothing was sent yet."""
    choices = [Choice() for _ in range(wanted.choices)]
    async with stops.stoppable(wanted.id, wanted.caller.account), await backend.complete(wanted) as completion:
        async for event in completion:
            choices[event.choice].add(event)
        body = answer.whole(completion.exchange, choices)
        return web.json_response(body, headers=origin_headers(completion.admission))


async def stream(
    http_request: web.Request,
    backend: Observed,
    wanted: ChatRequest,
    answer: Answer,
    stops: Stops,
    hold_status_s: float,
) -> web.StreamResponse:
    """The answer as it arrives. Raises what happens before the first word, unless the status had to be sent."""
    response = _response(answer.content_type, wanted.id)
    write = keeping_up(http_request, response.write)
    beating = _beat(write, answer.heartbeat, lambda: response.prepared)
    async with _beginning(backend, wanted) as beginning, _running(beating):
        try:
            async with stops.stoppable(wanted.id, wanted.caller.account):
                await asyncio.wait([beginning], timeout=hold_status_s)
                if beginning.done():
                    response.headers.update(origin_headers(beginning.result()[0].admission))
                else:
                    response.headers["X-Edged-Served-By"] = "pending"
                await response.prepare(http_request)
                completion, first = await beginning
                await _relay(write, completion, first, answer)
        except ConnectionError:
            return response  # the client went away between two words
        except Exception as error:
            if not response.prepared:
                raise
            with contextlib.suppress(ConnectionError):
                await response.write(answer.failure(_told(error, wanted.id)))
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
    return response


async def record(tape: Tape, backend: Observed, wanted: ChatRequest, answer: Answer, stops: Stops) -> None:
    """The answer onto a tape, whoever reads it. Raises what goes wrong."""
    beating = _beat(tape.write, answer.heartbeat, lambda: True)
    async with (
        _beginning(backend, wanted) as beginning,
        _running(beating),
        stops.stoppable(wanted.id, wanted.caller.account),
    ):
        completion, first = await beginning
        tape.open(origin_headers(completion.admission))
        await _relay(tape.write, completion, first, answer)


async def read_on(http_request: web.Request, tape: Tape, offset: int, hold_status_s: float) -> web.StreamResponse:
    """A tape from a byte on, to its end. Raises what `offset` or the answer's own beginning raise."""
    tape.check(offset)
    response = _response(tape.content_type, tape.request_id)
    try:
        async with asyncio.timeout(hold_status_s):
            await tape.opened()
        response.headers.update(tape.headers)
    except TimeoutError:
        response.headers["X-Edged-Served-By"] = "pending"
    with contextlib.suppress(ConnectionError):
        await response.prepare(http_request)
        try:
            async for data in tape.read(offset):
                await response.write(data)
        except EdgedError as error:  # a reader who was too slow
            await response.write(tape.words(error))
        await response.write_eof()
    return response


def _told(error: Exception, request_id: str) -> EdgedError:
    """What may be said of it: a defect of ours only that it is in the log."""
    if isinstance(error, EdgedError):
        return error
    log.error("request %s failed", request_id, exc_info=error)
    return defect(request_id)


def _response(content_type: str, request_id: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
    response.headers["X-Edged-Request-Id"] = request_id
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


async def _relay(write: Write, completion: Recorded, first: Event, answer: Answer) -> None:
    exchange, running = completion.exchange, answer.request.choices
    pending = answer.opening(exchange)
    async for event in _with_first(first, completion):
        running -= isinstance(event, Finish)
        if data := pending + answer.event(exchange, event, is_last=running == 0):
            await write(data)
        pending = b""
    await write(answer.closing(exchange))


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


async def _beat(write: Write, heartbeat: bytes, is_open: Callable[[], bool]) -> None:
    """Signs of life on the stream once it is open, however long the next word takes."""
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        if is_open() and heartbeat:
            with contextlib.suppress(ConnectionError):
                await write(heartbeat)
