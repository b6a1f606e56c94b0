"""One request with several prompts becomes several requests, and their answers one.

    prompt 0 ── complete ─▶ admitted ─▶ choices 0 … n-1  ─┐
    prompt 1 ──────── complete ─▶ admitted ─▶ n … 2n-1   ─┼─▶ one completion
    …                                                    ─┘

Admitted is who has all prompts admitted: until then every error is still a status code, and what the prompts have is
known for the usage. They stand in line one at a time, so that one request is never more than one in the line; each is
answered and gives its place back whether or not the others have one yet, so that they cannot wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from edged.chat import ChatRequest, EmbedRequest, RerankRequest
from edged.completion import Admission, Backend, Completion, Counted, Embeddings, Event, Finish, Ranking

# How long a prompt behind the first waits for its first word: mostly for its own neighbours. An hour is the longest
# that anybody may wait (`wishes.py`).
_PATIENCE_S = 3600.0
_News: TypeAlias = "asyncio.Queue[Event | BaseException]"


@dataclass(frozen=True, slots=True)
class Several:
    """A Backend in front of another that knows one prompt at a time."""

    inner: Backend

    async def complete(self, request: ChatRequest) -> Completion:
        """As the inner backend, once for every prompt. Closing the completion closes all of them."""
        if not request.further_prompts:
            return await self.inner.complete(request)
        news: _News = asyncio.Queue()
        admissions: list[Admission] = []
        async with AsyncExitStack() as stack:
            for index, part in enumerate(_parts(request)):
                completion = await self.inner.complete(part)
                await stack.enter_async_context(_passing_on(completion, index * request.n, news))
                admissions.append(completion.admission)
            return Completion(_sum(admissions), _until_finished(news, request.choices), stack.pop_all())
        raise AssertionError("unreachable: the block above returns or raises")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """As the inner backend."""
        return await self.inner.embed(request)

    async def count(self, request: ChatRequest) -> Counted:
        """As the inner backend: only conversations are counted."""
        return await self.inner.count(request)

    async def rerank(self, request: RerankRequest) -> Ranking:
        """As the inner backend."""
        return await self.inner.rerank(request)


def _parts(request: ChatRequest) -> list[ChatRequest]:
    first = replace(request, further_prompts=())
    return [first, *(replace(first, raw_prompt=prompt, deadline_s=_PATIENCE_S) for prompt in request.further_prompts)]


def _sum(admissions: Sequence[Admission]) -> Admission:
    """What is known of all: the first one's word for who answers, and what they cost together."""
    return replace(
        admissions[0],
        prompt_tokens=sum(admission.prompt_tokens for admission in admissions),
        cached_tokens=sum(admission.cached_tokens for admission in admissions),
    )


@asynccontextmanager
async def _passing_on(completion: Completion, first_choice: int, news: _News) -> AsyncIterator[None]:
    """While the block runs, `completion` is read into `news`, at once and to its end; then it is closed."""

    async def read() -> None:
        async with completion:
            async for event in completion:
                news.put_nowait(replace(event, choice=event.choice + first_choice))

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            news.put_nowait(error)

    task = asyncio.ensure_future(read())
    task.add_done_callback(tell)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        await completion.aclose()  # a task that was cancelled before it began has closed nothing


async def _until_finished(news: _News, running: int) -> AsyncIterator[Event]:
    while running:
        told = await news.get()
        if isinstance(told, BaseException):
            raise told
        running -= isinstance(told, Finish)
        yield told
