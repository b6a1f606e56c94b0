"""The client that all servers are measured with: streamed chats at temperature 0, one after another or together."""

import asyncio
import json
import random
import time
from collections.abc import Sequence

import aiohttp

# Common enough to be one or two tokens each in every vocabulary.
_WORDS = (
    "the a of and to in is was for on with as by at from water light house river morning garden letter market table "
    "window paper street summer winter music number person machine answer question small large quiet early open green "
    "walks brings carries finds keeps leaves opens writes under over between after before"
)

# Eight answers from a slow board: 64 tokens each at one token per second.
_TIMEOUT = aiohttp.ClientTimeout(total=600)


def vocabulary_words() -> list[str]:
    """The words that prompts are made of."""
    return _WORDS.split()


def prompt(words: int, seed: int) -> str:
    """A text of so many words; another seed shares no beginning with it that a cache could use."""
    return " ".join(random.Random(seed).choices(_WORDS.split(), k=words))


async def together(url: str, model: str, prompts: Sequence[str], tokens: int) -> tuple[list[str], float]:
    """All at once: the texts in the order of `prompts`, and the seconds until the last has ended."""
    async with aiohttp.ClientSession(url, timeout=_TIMEOUT) as session:
        began = time.perf_counter()
        answers = await asyncio.gather(*(_chat(session, model, text, tokens) for text in prompts))
        return answers, time.perf_counter() - began


async def one_by_one(url: str, model: str, prompts: Sequence[str], tokens: int) -> tuple[list[str], float]:
    """Each after the one before has ended."""
    async with aiohttp.ClientSession(url, timeout=_TIMEOUT) as session:
        began = time.perf_counter()
        answers = [await _chat(session, model, text, tokens) for text in prompts]
        return answers, time.perf_counter() - began


async def _chat(session: aiohttp.ClientSession, model: str, text: str, tokens: int) -> str:
    """RuntimeError when the server refuses, or does not say as much as it was asked to."""
    request = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
    }
    said: list[str] = []
    finish = ""
    async with session.post("/v1/chat/completions", json=request) as response:
        if response.status != 200:
            raise RuntimeError(f"{response.url} answered {response.status}: {await response.text()}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            if "error" in chunk:
                raise RuntimeError(f"{response.url} broke off after {len(said)} chunks: {chunk['error']}")
            for choice in chunk["choices"]:
                said.append(choice["delta"].get("content") or "")
                finish = choice.get("finish_reason") or finish
    if finish != "length":
        raise RuntimeError(f"the answer ended with {finish!r} instead of after {tokens} tokens")
    return "".join(said)
