"""llama-server as somebody would run it who took the time: the best of a small grid, found anew for each scenario.

One option after another is tried with the best of those before it kept (slots, then batches, then threads, then the
cache in memory): that is not the best of all combinations, but what a patient person does. The measure is the first
value of the scenario, played once at the quick size with the same seed. Options that cut the cells into a part for each
slot must get through the whole play as well, whose prompts are longer.
"""

import asyncio
import math
import os
from collections.abc import Generator
from dataclasses import dataclass, replace

from benchmarks.peers.contenders import Model, Needs, Stage
from benchmarks.peers.scenario import FAILURES, Scenario, Size


@dataclass(frozen=True, slots=True)
class Options:
    """What is tuned. Slots share one pool of cells where `is_shared`, as the default's do."""

    slots: int
    is_shared: bool = True
    batch: int = 2048
    micro_batch: int = 512
    threads: int | None = None
    cache_mib: int | None = None

    def words(self) -> list[str]:
        """As on a command line."""
        words = ["-np", str(self.slots), "-kvu" if self.is_shared else "-no-kvu"]
        words += ["-b", str(self.batch), "-ub", str(self.micro_batch)]
        words += ["-t", str(self.threads)] if self.threads is not None else []
        return words + (["--cache-ram", str(self.cache_mib)] if self.cache_mib is not None else [])

    def __str__(self) -> str:
        return " ".join(self.words())


def first(needs: Needs) -> Options:
    """Where the search begins, and what `quick` runs take for tuned: as many slots as we have."""
    return Options(needs.slots, cache_mib=needs.cache_mib)


def rounds(best: Options, needs: Needs, cores: int) -> Generator[list[Options], Options, None]:
    """What to try next; `send` gets what is best so far. Small batches keep gaps short, large ones read quickly."""
    best = yield [replace(best, slots=needs.slots // 2), replace(best, is_shared=False)]
    best = yield [replace(best, batch=size, micro_batch=min(size, 512)) for size in (64, 128, 512)]
    if cores > 1:
        best = yield [replace(best, threads=cores // 2), replace(best, threads=cores)]
    if needs.cache_mib is None:  # else it is given: the same bytes for everybody
        yield [replace(best, cache_mib=0)]


def best(scenario: Scenario, model: Model) -> Options:
    """The best options; what each that was tried gave is printed."""
    needs = scenario.needs_at("quick")
    chosen = first(needs)
    tried = {chosen: _value(scenario, model, needs, chosen)}
    search = rounds(chosen, needs, len(os.sched_getaffinity(0)))
    step = next(search)
    while True:
        for options in step:
            if options not in tried:
                tried[options] = _value(scenario, model, needs, options)
                if not options.is_shared and chosen.is_shared and not _holds_whole(scenario, model, options):
                    tried[options] = _worst(scenario)
        chosen = (min if scenario.is_smaller_better else max)(tried, key=lambda options: tried[options])
        try:
            step = search.send(chosen)
        except StopIteration:
            return chosen


def _value(scenario: Scenario, model: Model, needs: Needs, options: Options) -> float:
    """What a play gives with these options; the worst of all values where the server does not get through it."""
    try:
        with Stage("tuned", model, needs, options.words()) as stage:
            value = asyncio.run(_played(scenario, stage, "quick"))
    except (*FAILURES, ExceptionGroup) as failure:
        print(f"  tuning {scenario.name}: {options}: {failure!r}", flush=True)
        return _worst(scenario)
    print(f"  tuning {scenario.name}: {options}: {value:.4g}", flush=True)
    return value


def _holds_whole(scenario: Scenario, model: Model, options: Options) -> bool:
    try:
        with Stage("tuned", model, scenario.needs_at("whole"), options.words()) as stage:
            asyncio.run(_played(scenario, stage, "whole"))
    except (*FAILURES, ExceptionGroup) as failure:
        print(f"  tuning {scenario.name}: {options}: too small for the whole play: {failure!r}", flush=True)
        return False
    return True


def _worst(scenario: Scenario) -> float:
    return math.inf if scenario.is_smaller_better else 0.0


async def _played(scenario: Scenario, stage: Stage, size: Size) -> float:
    async with stage.talking():
        await stage.ready()
        values = await scenario.plays[size](stage, 0)
        return values[next(iter(scenario.values))]
