"""Answers: one stream, and eight at once.

A token of one stream reads every weight once, so its speed is bound by memory bandwidth whoever serves it; what can be
lost lies between two steps. Eight streams share the reading, and then arithmetic and attention count.

The engine's own loop is compared with llama-bench, which decodes without drawing and without a server: our loop is
counted by the worker from the first word on, drawing included.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import bench, machine
from benchmarks.peers.chats import Arrivals, Ask, user
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Size, Values


@dataclass(frozen=True, slots=True)
class Decode:
    """One answer after a short question."""

    tokens: int
    words: int = 16

    async def __call__(self, stage: Stage, seed: int) -> Values:
        ask = Ask([user(self.words, "decode", seed)], self.tokens)
        if stage.kind == "edged":
            return await self._with_loop(stage, ask)
        return {"decode": (await stage.chat(ask)).tokens_per_s}

    async def _with_loop(self, stage: Stage, ask: Ask) -> Values:
        arrivals = Arrivals()
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(stage.chat(ask, arrivals))
            await arrivals.reach(1)
            before = await stage.resident()
        answer, after = answering.result(), await stage.resident()
        tokens, loop_s = (after[name] - before[name] for name in ("completion_tokens", "step_s"))
        read_bytes_per_s = answer.tokens_per_s * stage.model.size_bytes
        values = {
            "decode": answer.tokens_per_s,
            "share of bandwidth": 100 * read_bytes_per_s / machine.copy_bytes_per_s(),
        }
        # An answer that was over before anybody could look leaves nothing to count.
        return values | {"own loop": tokens / loop_s} if loop_s > 0 else values


@dataclass(frozen=True, slots=True)
class Together:
    """Several answers at once."""

    tokens: int
    streams: int = 8
    words: int = 16

    async def __call__(self, stage: Stage, seed: int) -> Values:
        asks = [
            Ask([user(self.words, "together", seed, stream)], self.tokens, f"caller {stream}")
            for stream in range(self.streams)
        ]
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for ask in asks:
                group.create_task(stage.chat(ask))
        return {"all streams": self.streams * self.tokens / (time.perf_counter() - began_s)}


def _bench_decode(model: Path, size: Size) -> Values:
    tokens = {"whole": 128, "quick": 32, "nano": 8}[size]
    return {"own loop": bench.tokens_per_s(model, generated=tokens, threads=len(os.sched_getaffinity(0)))}


DECODE = Scenario(
    name="decode",
    what="one stream through HTTP",
    values={"decode": "tokens/s", "own loop": "tokens/s", "share of bandwidth": "%"},
    plays={"whole": Decode(128), "quick": Decode(48), "nano": Decode(256)},
    promises=(
        Promise("decode", "llama-server", least=0.99),
        Promise("decode", "tuned", least=0.98),
        Promise("own loop", "llama-bench", least=0.98),
    ),
    needs=Needs(),
    peers=("llama-server", "tuned"),
    bench=_bench_decode,
    is_smaller_better=False,
)

EIGHT = Scenario(
    name="eight",
    what="8 streams at once",
    values={"all streams": "tokens/s"},
    plays={"whole": Together(64), "quick": Together(16), "nano": Together(4)},
    promises=(
        Promise("all streams", "llama-server", least=0.99),
        Promise("all streams", "tuned", least=0.98),
    ),
    needs=Needs(),
    peers=("llama-server", "tuned"),
    is_smaller_better=False,
)
