"""How fast this device is, for its owner: a minute of measuring, on the running daemon or without one.

    decode         tokens per second of one answer
    first token    until the first word of an answer to a short prompt, and to one of about 500 tokens
    reading        prompt tokens per second of the latter
    bandwidth      share of what a plain copy gets out of the memory that decoding uses: the ceiling is near 1

`default` is the same model as llama.cpp would run it by itself: as many threads as cores, always. Medians of a few
runs; every prompt is another, so that nothing is remembered from the last one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

from edged.chat import ChatRequest
from edged.completion import Delta, Finish
from edged.config import Config, Engine, cache_dir, control_socket, models_dir
from edged.host import bandwidth, cpu, hardware, memory
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.local.tuning import Tuning
from edged.sampling import Sampling
from edged.store import ModelFile, Store

_RUNS = 3
_ANSWER_TOKENS = 64
_SHORT_WORDS, _LONG_WORDS = 8, 170  # a word here is about three tokens


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: when its first and last words came, and how many tokens each side had."""

    first_s: float
    last_s: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What the runs come to."""

    decode_tokens_per_s: float
    first_token_s: float
    long_first_token_s: float
    long_prompt_tokens: int
    reading_tokens_per_s: float


Ask: TypeAlias = Callable[[str, int], Awaitable[Answered]]


async def measure(config: Config, state: Path, model: ModelFile, *, is_running: bool) -> dict[str, Any]:
    """The figures of `model` on this machine, as `edged bench --json` prints them; a daemon that runs is asked."""
    copy_bytes_per_s = bandwidth.copy_bytes_per_s()
    opened = _daemon(control_socket(state), model.name) if is_running else _alone(config, config.engine, state, model)
    async with opened as ask:
        ours = await speed(ask)
    return {
        "model": model.name,
        "machine": hardware.identity(),
        "through": "the running daemon" if is_running else "a worker of its own",
        "ours": asdict(ours),
        "default": await _default(config, state, model),
        "copy_bytes_per_s": copy_bytes_per_s,
        "bandwidth_share": ours.decode_tokens_per_s * model.size_bytes / copy_bytes_per_s,
    }


async def speed(ask: Ask) -> Speed:
    """Ask a few times and take medians; the first answer warms the model up and does not count."""
    await ask(_prompt(_SHORT_WORDS), _ANSWER_TOKENS)
    short = [await ask(_prompt(_SHORT_WORDS), _ANSWER_TOKENS) for _ in range(_RUNS)]
    long = [await ask(_prompt(_LONG_WORDS), 1) for _ in range(_RUNS)]
    rates = [(run.completion_tokens - 1) / (run.last_s - run.first_s) for run in short if run.last_s > run.first_s]
    return Speed(
        decode_tokens_per_s=median(rates or [0.0]),
        first_token_s=median(run.first_s for run in short),
        long_first_token_s=median(run.first_s for run in long),
        long_prompt_tokens=long[0].prompt_tokens,
        reading_tokens_per_s=median(run.prompt_tokens / run.first_s for run in long),
    )


def _prompt(words: int) -> str:
    return " ".join(secrets.token_hex(2) for _ in range(words))


async def _default(config: Config, state: Path, model: ModelFile) -> dict[str, Any] | None:
    """The same without our threads and guesses; None where memory has no room for a second copy of the model."""
    if memory.available_bytes() < 1.5 * model.size_bytes:
        return None
    defaults = {"threads": config.engine.threads or cpu.usable_cores(), "follow_neighbours": False, "lookup": False}
    plain = config.engine.model_copy(update=defaults)
    async with _alone(config, plain, state, model) as ask:
        return asdict(await speed(ask))


@asynccontextmanager
async def _alone(config: Config, engine: Engine, state: Path, model: ModelFile) -> AsyncIterator[Ask]:
    """A worker for this measurement."""
    store = Store(models_dir(state))
    tuning = Tuning(cache_dir(state) / "tuning.json", hardware.identity())
    async with Pool(store, engine, config.limits, lambda event, **facts: None, tuning) as pool:
        local = Local(pool, store, config.limits)

        async def ask(prompt: str, tokens: int) -> Answered:
            request = ChatRequest(
                "bench", model.name, raw_prompt=prompt, max_tokens=tokens, sampling=Sampling(temperature=0.0)
            )
            began, moments, drawn = perf_counter(), [], 0
            async with await local.complete(request) as completion:
                async for event in completion:
                    moments.append(perf_counter() - began)
                    drawn += event.tokens if isinstance(event, Delta) else 0
                    drawn = event.completion_tokens if isinstance(event, Finish) else drawn
                return Answered(moments[0], moments[-1], completion.admission.prompt_tokens, drawn)

        yield ask


@asynccontextmanager
async def _daemon(control: Path, model: str) -> AsyncIterator[Ask]:
    """The daemon that runs, over its own socket."""
    import aiohttp  # only here: a bench without a daemon needs no web client

    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(control))) as session:

        async def ask(prompt: str, tokens: int) -> Answered:
            body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
            body["stream_options"] = {"include_usage": True}
            usage: dict[str, int] = {}
            began, moments = perf_counter(), []
            async with session.post("http://localhost/v1/completions", json=body, raise_for_status=True) as answer:
                async for line in answer.content:
                    if not line.startswith(b"data: {"):
                        continue
                    chunk = json.loads(line.removeprefix(b"data: "))
                    usage = chunk.get("usage") or usage
                    if any(choice.get("text") for choice in chunk.get("choices", ())):
                        moments.append(perf_counter() - began)
            return Answered(moments[0], moments[-1], usage["prompt_tokens"], usage["completion_tokens"])

        yield ask
