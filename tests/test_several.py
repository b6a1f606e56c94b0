"""Several prompts are one answer: every choice in its place, every error told, every place given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from edged.chat import ChatRequest, EmbedRequest, RerankRequest
from edged.completion import Admission, Completion, Counted, Delta, Embeddings, Event, Finish, Ranking
from edged.errors import QueueFull, WorkerCrashed
from edged.several import Several
from tests.fakes import until


@dataclass
class Places:
    """A backend with a few places, which repeats each prompt and finishes when it is let go."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    go: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: str = ""
    fails: str = ""
    asked: list[ChatRequest] = field(default_factory=list)
    held: int = 0

    async def complete(self, request: ChatRequest) -> Completion:
        """Wait for a place; an answer holds it until it is closed."""
        assert not request.further_prompts, "one prompt at a time"
        self.asked.append(request)
        if request.raw_prompt == self.refuses:
            raise QueueFull("The line is full.")
        await self.free.acquire()
        self.held += 1
        resources = AsyncExitStack()
        resources.callback(self._give_back)
        prompt = str(request.raw_prompt)
        admission = Admission("guide", "local", len(prompt), queue_s=1.0, cached_tokens=1)
        return Completion(admission, self._events(prompt, request.n), resources)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """None: nobody asks here."""
        raise NotImplementedError

    async def rerank(self, request: RerankRequest) -> Ranking:
        """None: nobody asks here."""
        raise NotImplementedError

    async def count(self, request: ChatRequest) -> Counted:
        """None: nobody asks here."""
        raise NotImplementedError

    def _give_back(self) -> None:
        self.held -= 1
        self.free.release()

    async def _events(self, prompt: str, n: int) -> AsyncIterator[Event]:
        for choice in range(n):
            yield Delta(choice, f"{prompt}{choice}")
        await self.go.wait()
        if prompt == self.fails:
            raise WorkerCrashed("It died.")
        for choice in range(n):
            yield Finish(choice, "stop", 2)


def request(*prompts: str, n: int = 1) -> ChatRequest:
    return ChatRequest("id", n=n, raw_prompt=prompts[0], further_prompts=prompts[1:], deadline_s=5.0)


async def test_choices_are_numbered_prompt_by_prompt() -> None:
    places = Places(asyncio.Semaphore(3))
    places.go.set()

    async with await Several(places).complete(request("a", "bb", "ccc", n=2)) as completion:
        events = [event async for event in completion]

    assert {event.choice: event.text for event in events if isinstance(event, Delta)} == {
        0: "a0", 1: "a1", 2: "bb0", 3: "bb1", 4: "ccc0", 5: "ccc1",
    }  # fmt: skip
    assert sorted(event.choice for event in events if isinstance(event, Finish)) == list(range(6))
    assert isinstance(events[-1], Finish)
    assert (completion.admission.prompt_tokens, completion.admission.cached_tokens) == (6, 3)
    assert places.held == 0


async def test_a_single_prompt_goes_through_as_it_is() -> None:
    places = Places()
    places.go.set()

    async with await Several(places).complete(request("a")) as completion:
        assert [event async for event in completion] == [Delta(0, "a0"), Finish(0, "stop", 2)]
    assert places.asked == [request("a")]


async def test_more_prompts_than_places_do_not_wait_for_each_other_for_ever() -> None:
    places = Places(asyncio.Semaphore(1))
    places.go.set()

    async with await Several(places).complete(request(*"abcd")) as completion:
        texts = [event.text async for event in completion if isinstance(event, Delta)]

    assert texts == ["a0", "b0", "c0", "d0"]
    assert places.held == 0


async def test_one_request_stands_in_line_once_and_waits_for_itself_in_patience() -> None:
    places = Places(asyncio.Semaphore(1))
    asking = asyncio.create_task(Several(places).complete(request(*"abc")))

    await until(lambda: len(places.asked) == 2)
    assert places.held == 1
    places.go.set()
    await (await asking).aclose()

    assert [one.deadline_s for one in places.asked] == [5.0, 3600.0, 3600.0]


async def test_a_prompt_that_is_refused_refuses_the_request_and_gives_all_places_back() -> None:
    places = Places(asyncio.Semaphore(3), refuses="c")

    with pytest.raises(QueueFull):
        await Several(places).complete(request(*"abc"))
    assert places.held == 0


async def test_whoever_gives_up_in_line_gives_all_places_back() -> None:
    places = Places(asyncio.Semaphore(2))
    asking = asyncio.create_task(Several(places).complete(request(*"abc")))
    await until(lambda: len(places.asked) == 3)

    asking.cancel()
    await asyncio.wait([asking])

    assert places.held == 0


async def test_closing_ends_all_answers() -> None:
    places = Places(asyncio.Semaphore(3))
    completion = await Several(places).complete(request(*"abc"))

    await completion.aclose()
    await completion.aclose()

    assert places.held == 0


async def test_the_failure_of_one_is_the_end_of_all() -> None:
    places = Places(asyncio.Semaphore(3), fails="b")
    told: list[Event] = []

    async def read() -> None:
        async with await Several(places).complete(request(*"abc")) as completion:
            async for event in completion:
                told.append(event)
                places.go.set()

    with pytest.raises(WorkerCrashed, match="It died"):
        await read()
    assert [event.choice for event in told if isinstance(event, Delta)] == [0, 1, 2]
    assert places.held == 0
