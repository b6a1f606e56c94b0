"""What a figure is made of, and how it is shown: a table for people, a JSON line for programs, an entry for the log."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import engine

LOG = Path(__file__).with_name("LOG.md")


Fact = str | int | float


@dataclass(frozen=True, slots=True)
class Line:
    """One measured value. `value` None means that it was measured and is not published; `note` says why.

    `limit` is the largest value that is good enough, `least` the smallest, where there is such a promise.
    """

    what: str
    value: float | None
    unit: str
    limit: float | None = None
    note: str = ""
    least: float | None = None

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where nothing was promised or published."""
        if (self.limit is None and self.least is None) or self.value is None:
            return ""
        is_small_enough = self.limit is None or self.value <= self.limit
        is_large_enough = self.least is None or self.value >= self.least
        return "met" if is_small_enough and is_large_enough else "MISSED"


@dataclass(frozen=True, slots=True)
class Figure:
    """One command's result. `conditions` is what somebody must know to measure it again."""

    name: str
    lines: tuple[Line, ...]
    conditions: dict[str, Fact]
    is_quick: bool
    machine: dict[str, Fact] = field(default_factory=lambda: machine())
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def machine() -> dict[str, Fact]:
    """The facts of this machine that decide the figures, and how busy it was just before."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": f"llama-cpp-python {engine.version()}",
        "revision": _revision(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def show(figures: list[Figure]) -> None:
    """Prints the tables, then all figures as JSON on the last line."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for figure in figures:
        console.print(_table(figure))
    print(json.dumps([asdict(figure) for figure in figures], ensure_ascii=False))


def log(figures: list[Figure]) -> None:
    """Appends a dated entry per figure to the log."""
    with LOG.open("a", encoding="utf-8") as file:
        for figure in figures:
            file.write(_entry(figure))


def _table(figure: Figure) -> Table:
    quick = ", quick: too few runs to compare with" if figure.is_quick else ""
    table = Table(title=f"{figure.name}{quick}", title_justify="left", caption=_listed(figure.conditions))
    for heading in ("", "value", "unit", "promised", "", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "promised") else "left")
    for line in figure.lines:
        table.add_row(line.what, _number(line.value), line.unit, _promise(line), line.verdict, line.note)
    return table


def _entry(figure: Figure) -> str:
    rows = (
        f"| {line.what} | {_measured(line)} | {_promise(line)} | {line.verdict} | {line.note} |\n"
        for line in figure.lines
    )
    quick = " (quick)" if figure.is_quick else ""
    return (
        f"\n## {figure.measured_at[:10]} · {figure.name}{quick}\n\n"
        f"{_listed(figure.machine)}  \n{_listed(figure.conditions)}\n\n"
        "| | value | promised | | note |\n| --- | ---: | ---: | --- | --- |\n" + "".join(rows)
    )


def _listed(facts: dict[str, Fact]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _measured(line: Line) -> str:
    return _number(line.value) if line.value is None else f"{_number(line.value)} {line.unit}".rstrip()


def _promise(line: Line) -> str:
    if line.least is not None:
        return f">= {_number(line.least)}"
    return "" if line.limit is None else f"<= {_number(line.limit)}"


def _number(value: float | None) -> str:
    return "not published" if value is None else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _cpu_model() -> str:
    """What the kernel calls the processor; boards say it in the device tree only."""
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n")
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    """The commit that was measured; `+` where the working tree differs from it."""
    root = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    if commit.returncode:
        return "unknown"
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
