"""The client of every scenario: streamed chats at temperature 0, with the time of every piece of text.

The models are random numbers that never end an answer by themselves (`synthetic.py`), so an answer has exactly the
tokens that were asked for, and no server needs a field of its own to ignore the end. What is sent is the same for all.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.client import prompt as words

__all__ = ["Answer", "Arrivals", "Ask", "Refused", "chat", "system", "user", "words"]

Message = dict[str, str]


class Refused(Exception):
    """A server answered with another status than 200, after `after_s`."""

    def __init__(self, status: int, body: str, after_s: float) -> None:
        super().__init__(f"answered {status}: {body[:300]}")
        self.status = status
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `caller` is the `user` field: whose turn it is where callers share fairly."""

    messages: Sequence[Message]
    tokens: int
    caller: str = ""
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; all times are on the clock of `time.perf_counter`. `arrivals_s` has one per piece of text."""

    text: str
    began_s: float
    arrivals_s: tuple[float, ...]
    ended_s: float
    tokens: int
    prompt_tokens: int | None
    cached_tokens: int | None

    @property
    def first_s(self) -> float:
        """Seconds until the first word."""
        return (self.arrivals_s[0] if self.arrivals_s else self.ended_s) - self.began_s

    @property
    def tokens_per_s(self) -> float:
        """After the first word: what a reader sees."""
        return (self.tokens - 1) / (self.ended_s - self.began_s - self.first_s)

    def message(self) -> Message:
        """The answer as the next turn quotes it."""
        return {"role": "assistant", "content": self.text}


@dataclass(slots=True)
class Arrivals:
    """When the pieces of one answer came, for somebody who watches while it runs. `end_reason` is set at its end."""

    times_s: list[float] = field(default_factory=list)
    end_reason: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self) -> None:
        self.times_s.append(time.perf_counter())
        self._changed.set()

    def end(self, reason: str) -> None:
        self.end_reason = reason
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Returns once so many pieces are there. RuntimeError when the answer ends before that."""
        while len(self.times_s) < count:
            if self.end_reason:
                raise RuntimeError(f"the answer had {len(self.times_s)} pieces, before {count}: {self.end_reason}")
            self._changed.clear()
            await self._changed.wait()

    def gaps_s(self, since_s: float = 0.0) -> list[float]:
        """Seconds between pieces, from the last one before `since_s` on."""
        before = [time_s for time_s in self.times_s if time_s <= since_s][-1:]
        after = [time_s for time_s in self.times_s if time_s > since_s]
        return [later - earlier for earlier, later in itertools.pairwise(before + after)]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(count: int, *seed: object) -> Message:
    """A turn of so many words (about as many tokens); another seed shares no beginning with it."""
    return {"role": "user", "content": words(count, random.Random(repr(seed)).getrandbits(31))}


async def chat(
    session: aiohttp.ClientSession, url: str, model: str, ask: Ask, arrivals: Arrivals | None = None
) -> Answer:
    """Ask and read to the end; `arrivals` is filled meanwhile.

    Refused for another status than 200; RuntimeError when the answer breaks off or is shorter than it should be.
    """
    arrivals = arrivals or Arrivals()
    try:
        answer = await _answer(session, f"{url}/v1/chat/completions", _body(model, ask), arrivals)
    except BaseException as failure:
        arrivals.end(f"{type(failure).__name__} {failure}")
        raise
    arrivals.end("that was all")
    return answer


async def _answer(session: aiohttp.ClientSession, url: str, body: dict[str, Any], arrivals: Arrivals) -> Answer:
    began_s = time.perf_counter()
    async with session.post(url, json=body) as response:
        if response.status != 200:
            raise Refused(response.status, await response.text(), time.perf_counter() - began_s)
        said, finish, usage = await _read(response, arrivals)
    ended_s, tokens = time.perf_counter(), body["max_tokens"]
    if finish != "length":
        raise RuntimeError(f"the answer ended with {finish!r} instead of after {tokens} tokens")
    return Answer(said, began_s, tuple(arrivals.times_s), ended_s, tokens, *_counts(usage))


async def _read(response: aiohttp.ClientResponse, arrivals: Arrivals) -> tuple[str, str, Mapping[str, Any] | None]:
    """The text, why it ended, and what the server counted."""
    said: list[str] = []
    finish, usage = "", None
    async for line in response.content:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line.removeprefix(b"data: "))
        if "error" in chunk:
            raise RuntimeError(f"{response.url} broke off after {len(said)} pieces: {chunk['error']}")
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            if text := choice["delta"].get("content"):
                arrivals.add()
                said.append(text)
            finish = choice.get("finish_reason") or finish
    return "".join(said), finish, usage


def _body(model: str, ask: Ask) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": list(ask.messages), "max_tokens": ask.tokens}
    body |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    return body | ({"user": ask.caller} if ask.caller else {}) | dict(ask.extra or {})


def _counts(usage: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """Tokens of the prompt, and how many of them came from a cache; None from a server that does not say."""
    if usage is None:
        return None, None
    return usage["prompt_tokens"], (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
