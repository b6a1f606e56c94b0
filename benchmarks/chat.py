"""The figures of a chat, one command each.

    python -m benchmarks.chat start       how long until listening, and until somebody is answered
    python -m benchmarks.chat decode      what Python costs while a model talks
    python -m benchmarks.chat batching    eight people at once, against one after another and against another server
    python -m benchmarks.chat idle        what the appliance costs while nobody asks
    python -m benchmarks.chat faults      a worker that dies or hangs: until all are told, until somebody is answered
    python -m benchmarks.chat pair        two models that answer at once, against one
    python -m benchmarks.chat all         these six

Run with the project's Python (`.venv/bin/python`, after `scripts/test --setup` or `scripts/test`) on a machine that
does nothing else. A table is printed for people; the very last line of stdout is one JSON document with the same
values, the conditions and the machine. `--quick` does one short round of everything, to see that it works: its ratios
are not published. `--log` appends the result to `benchmarks/LOG.md`.

A model makes two kinds of work, and they end at different walls. Reading the prompt computes many tokens per pass over
the weights and is bound by arithmetic; answering computes one per pass and is bound by memory bandwidth. Whatever
makes several answers share a pass is therefore nearly free, and whatever happens between two passes is pure loss. The
modules of these names say for each figure what bounds it and how it is measured.

Exit code 1 means that something could not be measured. A missed promise is a result, not a failure: it is printed as
MISSED.
"""

import argparse
import sys
from collections.abc import Callable

from benchmarks import batching, decode, faults, idle, pair, report, start
from benchmarks.report import Figure

FIGURES: dict[str, Callable[[bool], Figure]] = {
    "start": start.measure,
    "decode": decode.measure,
    "batching": batching.measure,
    "idle": idle.measure,
    "faults": faults.measure,
    "pair": pair.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, show, and keep what was asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.chat", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", choices=[*FIGURES, "all"], help="what to measure")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--log", action="store_true", help="append the result to benchmarks/LOG.md")
    chosen = parser.parse_args(arguments)

    names = list(FIGURES) if chosen.figure == "all" else [chosen.figure]
    figures = [FIGURES[name](chosen.quick) for name in names]
    if chosen.log:
        report.log(figures)
    report.show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
