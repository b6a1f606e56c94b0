"""Rounds by turns, and what may be published of them.

Everybody is started, then every round everybody plays once with the seed of the round, each time another one first: a
machine that becomes warmer, or a neighbour that comes and goes, meets all alike. Servers that wait for their turn do
nothing. A ratio is the median over the rounds of our value divided by theirs in the same round.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.peers import machine, tuning
from benchmarks.peers.contenders import Kind, Model, Stage
from benchmarks.peers.scenario import FAILURES, Promise, Scenario, Size, Unsupported, Values, first_of
from benchmarks.report import Fact, Figure, Line
from benchmarks.spread import Runs, steady

_BENCH = "llama-bench"


@dataclass(frozen=True, slots=True)
class Plan:
    """One scenario with one model. `is_tuned` asks for a search of llama-server's options first."""

    scenario: Scenario
    model: Model
    size: Size
    rounds: int
    kinds: tuple[Kind, ...]
    is_tuned: bool = True

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.model}"


@dataclass(slots=True)
class Results:
    """Values by contender, one per round; and why somebody gave none."""

    values: dict[str, list[Values]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def runs(self, who: str, value: str) -> Runs | None:
        """All values of one name, None where there is none."""
        found = [values[value] for values in self.values.get(who, []) if value in values]
        return Runs(found) if found else None


def run(plan: Plan, options: tuning.Options) -> Figure:
    """Start, play all rounds, judge. `options` are those of the tuned server."""
    needs = plan.scenario.needs_at(plan.size)
    conditions: dict[str, Fact] = {"scenario": plan.scenario.what, "size": plan.size, "rounds": plan.rounds}
    conditions |= {"context_tokens": needs.context_tokens, "slots": needs.slots}
    conditions |= {"copy_GB_per_s": round(machine.copy_bytes_per_s() / 1e9, 1)}
    conditions |= {"tuned_llama-server": str(options)} if "tuned" in plan.kinds else {}

    before = machine.condition()
    results = _play(plan, options)
    disturbed = machine.disturbance(before, machine.condition())
    return Figure(f"peers: {plan}", tuple(lines(plan.scenario, results, disturbed)), conditions, plan.size != "whole")


def _play(plan: Plan, options: tuning.Options) -> Results:
    results = Results()
    needs = plan.scenario.needs_at(plan.size)
    stages = {kind: Stage(kind, plan.model, needs, options.words() if kind == "tuned" else ()) for kind in plan.kinds}
    with contextlib.ExitStack() as life:
        for kind, stage in stages.items():
            if not needs.is_fresh:
                with _excused(results, kind, "at the start"):
                    asyncio.run(_ready(life.enter_context(stage)))
        for number in range(plan.rounds):
            for kind in _rotated(plan.kinds, number):
                if kind not in results.absent:
                    _play_once(plan, stages[kind], number, results)
            _bench(plan, number, results)
    return results


def _rotated(kinds: Sequence[Kind], number: int) -> Iterator[Kind]:
    for place in range(len(kinds)):
        yield kinds[(place + number) % len(kinds)]


def _play_once(plan: Plan, stage: Stage, number: int, results: Results) -> None:
    with _excused(results, stage.kind, f"in round {number + 1}"):
        with stage if stage.needs.is_fresh else contextlib.nullcontext():
            values = asyncio.run(_one(plan, stage, number))
        results.values.setdefault(stage.kind, []).append(values)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"  {plan.scenario.name} {number + 1}/{plan.rounds} {stage.kind}: {shown}", flush=True)


@contextlib.contextmanager
def _excused(results: Results, who: str, when: str) -> Iterator[None]:
    """Notes why somebody drops out, so that the others can go on."""
    try:
        yield
    except Unsupported as reason:
        results.absent[who] = f"skipped: {reason}"
    except FAILURES as failure:
        results.absent[who] = f"failed {when}: {type(failure).__name__} {failure}"
    except ExceptionGroup as failures:
        expected, unexpected = failures.split(FAILURES)
        if expected is None or unexpected is not None:
            raise
        first = first_of(expected)
        results.absent[who] = f"failed {when}: {type(first).__name__} {first}"


async def _one(plan: Plan, stage: Stage, number: int) -> Values:
    async with stage.talking():
        if stage.needs.is_fresh:
            await stage.ready()
        return await plan.scenario.plays[plan.size](stage, number)


async def _ready(stage: Stage) -> None:
    async with stage.talking():
        await stage.ready()


def _bench(plan: Plan, number: int, results: Results) -> None:
    """llama-bench plays last in each round, when no server works."""
    is_asked = {"llama-server", "tuned"} & set(plan.kinds)
    if plan.scenario.bench is not None and is_asked and _BENCH not in results.absent:
        with _excused(results, _BENCH, f"in round {number + 1}"):
            results.values.setdefault(_BENCH, []).append(plan.scenario.bench(plan.model.path, plan.size))


def lines(scenario: Scenario, results: Results, disturbed: str) -> Iterator[Line]:
    """Promises first, then the values of everybody. `disturbed` says why nothing is published, if so."""
    for promise in scenario.promises:
        yield _judged(promise, scenario, results, disturbed)
    for who in [*scenario.kinds, _BENCH]:
        for name, unit in scenario.values.items():
            if runs := results.runs(who, name):
                yield Line(f"{name}, {who}", runs.median, unit, note=str(runs))
    for who, reason in results.absent.items():
        yield Line(who, None, "", note=reason)


def _judged(promise: Promise, scenario: Scenario, results: Results, disturbed: str) -> Line:
    what = f"{promise.value}: edged" + (f" / {promise.against}" if promise.against else "")
    unit = "" if promise.against else scenario.values[promise.value]
    value, note = _value(promise, results)
    if disturbed and value is not None:
        value, note = None, f"{disturbed}; it would be {value:.3g}"
    return Line(what, value, unit, promise.most, note, promise.least)


def _value(promise: Promise, results: Results) -> tuple[float | None, str]:
    """What may be published, and a sentence about it."""
    ours = results.runs("edged", promise.value)
    if ours is None:
        return None, results.absent.get("edged", "no value")
    if promise.against is None:
        return steady(ours)
    theirs = results.runs(promise.against, promise.value)
    if theirs is None:
        return None, results.absent.get(promise.against, "did not take part")
    # A round in which one of them gave nothing ends its part: what is there is the same rounds for both.
    pairs = zip(ours.values, theirs.values, strict=False)
    return steady(Runs([mine / other for mine, other in pairs]))
