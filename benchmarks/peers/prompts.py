"""Prompts: read alone, read while somebody else's answer runs, and read by twelve callers who share most of theirs.

Reading is bound by arithmetic: as many tokens per second as the kernels give, for everybody alike. What differs is who
waits meanwhile, and what is read twice.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.peers import bench
from benchmarks.peers.chats import Arrivals, Ask, system, user, words
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Size, Values


@dataclass(frozen=True, slots=True)
class Reading:
    """Prompts of these lengths, each alone; the speed counts everything until the first word."""

    lengths_words: dict[str, int]

    async def __call__(self, stage: Stage, seed: int) -> Values:
        values = {}
        for name, length in self.lengths_words.items():
            before = await stage.resident() if stage.kind == "edged" else {}
            answer = await stage.chat(Ask([user(length, "reading", seed, name)], 1))
            tokens = answer.prompt_tokens or length
            values[name] = tokens / answer.first_s
            if before:
                after = await stage.resident()
                values[f"{name}, own loop"] = tokens / (after["decode_s"] - before["decode_s"])
        return values


def _bench_reading(model: Path, size: Size) -> Values:
    threads = len(os.sched_getaffinity(0))
    lengths = {"whole": (512, 2048), "quick": (256, 512), "nano": (32, 64)}[size]
    return {
        f"{name} prompt, own loop": bench.tokens_per_s(model, prompt=length, threads=threads)
        for name, length in zip(("short", "long"), lengths, strict=True)
    }


def _lengths(short: int, long: int) -> dict[str, int]:
    return {"short prompt": short, "long prompt": long}


PREFILL = Scenario(
    name="prefill",
    what="prompts of 512 and of 2,048 tokens, alone",
    values={f"{name} prompt{loop}": "tokens/s" for loop in ("", ", own loop") for name in ("short", "long")},
    # The template adds some 30 tokens; the speed is of what the server says that it read.
    plays={
        "whole": Reading(_lengths(482, 2018)),
        "quick": Reading(_lengths(226, 482)),
        "nano": Reading(_lengths(20, 40)),
    },
    promises=tuple(
        promise
        for name in ("short prompt", "long prompt")
        for promise in (
            Promise(name, "llama-server", least=0.97),
            Promise(name, "tuned", least=0.97),
            Promise(f"{name}, own loop", "llama-bench", least=0.97),
        )
    ),
    needs=Needs(),
    peers=("llama-server", "tuned"),
    bench=_bench_reading,
    is_smaller_better=False,
)


@dataclass(frozen=True, slots=True)
class Beside:
    """An answer that runs while another's prompt is read, and is broken off after it; then such a prompt alone."""

    length_words: int
    undisturbed_pieces: int
    answer_tokens: int = 4096  # more than anybody says while 4,000 tokens are read

    async def __call__(self, stage: Stage, seed: int) -> Values:
        arrivals = Arrivals()
        ask = Ask([user(16, "beside", seed)], self.answer_tokens, "listener")
        listening = asyncio.create_task(stage.chat(ask, arrivals))
        try:
            await arrivals.reach(self.undisturbed_pieces)
            undisturbed_s = median(arrivals.gaps_s())
            beside = await stage.chat(Ask([user(self.length_words, "beside", seed)], 1, "reader"))
            await arrivals.reach(len(arrivals.times_s) + 2)  # a gap that is still open counts
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        longest_s = max(arrivals.gaps_s(since_s=beside.began_s))
        values = {"longest gap": longest_s, "longest gap / undisturbed": longest_s / undisturbed_s}
        if stage.kind == "edged":  # promised of us alone, and half of the time
            alone = await stage.chat(Ask([user(self.length_words, "alone", seed)], 1, "reader"))
            values["first word beside / alone"] = beside.first_s / alone.first_s
        return values


def _beside(name: str, tokens: int, most_gap: float, most_first: float) -> Scenario:
    return Scenario(
        name=name,
        what=f"a running stream while another's {tokens:,}-token prompt is read",
        values={"longest gap": "s", "longest gap / undisturbed": "", "first word beside / alone": ""},
        plays={"whole": Beside(tokens - 30, 24), "quick": Beside(tokens // 5, 12), "nano": Beside(60, 4, 2000)},
        promises=(
            Promise("longest gap", "llama-server", most=0.02),
            Promise("longest gap", "tuned", most=0.5),
            Promise("longest gap / undisturbed", most=most_gap),
            Promise("first word beside / alone", most=most_first),
        ),
        # The stream may run to its limit beside the prompt.
        needs=Needs(context_tokens=16_384),
        peers=("llama-server", "tuned"),
        nano_shape="tiny",
    )


BESIDE_1500 = _beside("beside-1500", 1500, 6.5, 1.4)
BESIDE_4000 = _beside("beside-4000", 4000, 8.0, 1.6)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Callers who arrive together with the same system prompt and different questions."""

    shared: str
    callers: int
    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        async with asyncio.TaskGroup() as group:
            answering = [group.create_task(stage.chat(self._ask(seed, caller))) for caller in range(self.callers)]
        answers = [task.result() for task in answering]
        began_s = min(answer.began_s for answer in answers)
        return {"all have their first word": max(answer.began_s + answer.first_s for answer in answers) - began_s}

    def _ask(self, seed: int, caller: int) -> Ask:
        return Ask([system(self.shared), user(20, "crowd", seed, caller)], self.tokens, f"caller {caller}")


_CROWD_PROMPTS: dict[Size, str] = {"whole": words(1480, 7), "quick": words(280, 7), "nano": words(60, 7)}

CROWD = Scenario(
    name="crowd",
    what="12 callers at once with one 1,500-token system prompt of the owner, 8 slots",
    values={"all have their first word": "s"},
    plays={
        "whole": Crowd(_CROWD_PROMPTS["whole"], 12, 16),
        "quick": Crowd(_CROWD_PROMPTS["quick"], 12, 4),
        "nano": Crowd(_CROWD_PROMPTS["nano"], 12, 2),
    },
    promises=(
        Promise("all have their first word", "llama-server", most=0.15),
        Promise("all have their first word", "tuned", most=0.5),
    ),
    # Every round is the first after a start: later ones would find the prompt in every slot. What a server reads before
    # anybody asks, because its owner said that it will be needed, it need not read when they come.
    needs=Needs(context_tokens=16_384, is_fresh=True),
    shared_prompts=_CROWD_PROMPTS,
    peers=("llama-server", "tuned"),
)
