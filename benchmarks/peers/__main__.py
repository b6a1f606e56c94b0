"""The engine against its peers, one command.

    python -m benchmarks.peers                       everything that is promised (up to three hours)
    python -m benchmarks.peers --quick               one small round of every scenario (ten minutes)
    python -m benchmarks.peers office crowd          these
    python -m benchmarks.peers decode --model qwen2.5-1.5b:Q4_K_M
    python -m benchmarks.peers --list                what there is

Run with the project's Python on a machine that does nothing else. The first run compiles llama-server and llama-bench
from the engine's own source (`scripts/engine-peers`: some 15 minutes on two cores) and builds the models. Progress goes
to stdout as it comes; then a table per scenario, and as the very last line one JSON document. `--log` appends to
`benchmarks/LOG.md`.

A ratio is published of five or more alternating pairs whose middle half lies within 8 %, and not at all when the
machine was throttled meanwhile. Unpublished ones say what they would be, so that a disturbed run can be understood.

Exit code 1 means that a contender failed in some scenario. A missed promise is a result, not a failure.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator

from benchmarks import report
from benchmarks.engine import QUANTS
from benchmarks.peers import race, tuning
from benchmarks.peers.company import OFFICE, ONE_NEIGHBOUR, TWO_NEIGHBOURS
from benchmarks.peers.contenders import Kind, Model, model
from benchmarks.peers.conversations import (
    RESTARTED,
    ROUND_ROBIN,
    SECOND_TURN,
    SECOND_TURN_HYBRID,
    SECOND_TURN_WINDOW,
)
from benchmarks.peers.drafting import DRAFTING
from benchmarks.peers.load import OVERLOAD
from benchmarks.peers.prompts import BESIDE_1500, BESIDE_4000, CROWD, PREFILL
from benchmarks.peers.quoting import GUIDE, QUOTING
from benchmarks.peers.scenario import Scenario
from benchmarks.peers.streaming import DECODE, EIGHT
from benchmarks.peers.tasks import EMBEDDING, MEMORY, SCHEMA
from benchmarks.peers.tuning import Options
from benchmarks.shapes import SHAPES

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        DECODE,
        PREFILL,
        EIGHT,
        OFFICE,
        BESIDE_1500,
        BESIDE_4000,
        CROWD,
        ROUND_ROBIN,
        SECOND_TURN,
        SECOND_TURN_WINDOW,
        SECOND_TURN_HYBRID,
        RESTARTED,
        ONE_NEIGHBOUR,
        TWO_NEIGHBOURS,
        OVERLOAD,
        MEMORY,
        EMBEDDING,
        SCHEMA,
        QUOTING,
        GUIDE,
        DRAFTING,
    )
}

_ROUNDS = 5
_MAIN = ("qwen2.5-0.5b", "Q4_0")
_LARGER = ("qwen2.5-1.5b", "Q4_0")
# What is bound by the kernels is measured with other sizes and quantisations as well.
_KERNEL_BOUND = ("decode", "prefill")
_OTHER_MODELS = (("qwen2.5-0.5b", "Q4_K_M"), _LARGER, ("qwen2.5-1.5b", "Q4_K_M"))
_HOURS = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Measure, show, and keep what was asked for."""
    chosen = _parser().parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{name:20} {scenario.what}" for name, scenario in SCENARIOS.items()))
        return 0
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # servers end with this
    began_s, figures = time.monotonic(), []
    found: dict[str, Options] = {}
    for plan in _plans(chosen):
        passed_s = time.monotonic() - began_s
        if passed_s > 3600 * chosen.hours:
            print(f"not measured, because {chosen.hours:g} hours are over: {plan}", flush=True)
            continue
        print(f"{passed_s / 60:.0f} min: {plan}", flush=True)
        figures.append(race.run(plan, _options(plan, found)))
        if chosen.log:
            report.log(figures[-1:])
    report.show(figures)
    return int(any(line.note.startswith("failed") for figure in figures for line in figure.lines))


def _options(plan: race.Plan, found: dict[str, Options]) -> Options:
    """Those of the tuned server: what was found for the scenario with its first model, else where a search begins."""
    name = plan.scenario.name
    if plan.is_tuned and "tuned" in plan.kinds and name not in found:
        found[name] = tuning.best(plan.scenario, plan.model)
    return found.get(name) or tuning.first(plan.scenario.needs_at(plan.size))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help="what to measure (default: everything)")
    parser.add_argument("--quick", action="store_true", help="one small round, llama-server not tuned")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="pairs of each scenario (default: %(default)s)")
    parser.add_argument("--model", type=_named_model, help="SHAPE:QUANT in place of the promised ones")
    parser.add_argument("--untuned", action="store_true", help="do not search llama-server's options")
    parser.add_argument("--without", action="append", default=[], metavar="PEER", help="leave a peer out")
    parser.add_argument("--hours", type=float, default=_HOURS, help="begin nothing later (default: %(default)g)")
    parser.add_argument("--log", action="store_true", help="append each result to benchmarks/LOG.md")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    return parser


def _named_model(text: str) -> tuple[str, str]:
    shape, _, quant = text.partition(":")
    if shape not in SHAPES or quant not in QUANTS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not SHAPE:QUANT; shapes are {', '.join(SHAPES)}, quantisations {', '.join(QUANTS)}"
        )
    return shape, quant


def _plans(chosen: argparse.Namespace) -> Iterator[race.Plan]:
    """In the order of their weight: what is promised first, the other models after it."""
    if unknown := set(chosen.scenario) - set(SCENARIOS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(SCENARIOS)}")
    scenarios = [SCENARIOS[name] for name in chosen.scenario or SCENARIOS]
    for scenario in scenarios:
        shape, quant = chosen.model or (scenario.shape or _MAIN[0], _MAIN[1])
        yield _plan(scenario, model(shape, quant), chosen, chosen.rounds)
    if chosen.quick or chosen.model:
        return
    for scenario in scenarios:
        for other in _OTHER_MODELS if scenario.name in _KERNEL_BOUND else ():
            yield _plan(scenario, model(*other), chosen, chosen.rounds)
    for scenario in scenarios:  # once, to see whether a larger model changes the picture
        if scenario.name not in _KERNEL_BOUND and scenario.shape is None:
            yield _plan(scenario, model(*_LARGER), chosen, 1, ("tuned", "llama_cpp.server"))


def _plan(
    scenario: Scenario, model: Model, chosen: argparse.Namespace, rounds: int, left_out: tuple[Kind, ...] = ()
) -> race.Plan:
    kinds = tuple(kind for kind in scenario.kinds if kind not in (*chosen.without, *left_out))
    is_tuned = not (chosen.quick or chosen.untuned or rounds == 1)
    if chosen.quick:
        return race.Plan(scenario, model, "quick", 1, kinds, is_tuned=False)
    return race.Plan(scenario, model, "whole", rounds, kinds, is_tuned=is_tuned)


if __name__ == "__main__":
    sys.exit(main())
