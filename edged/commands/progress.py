"""A download as one line that lives: on a terminal a bar, elsewhere a line whenever there is something new to say.

    ⠸ qwen3-4b  ━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━  1.05/2.50 GB  42 %  8.2 MB/s  2:57 left

Colours are the terminal's own, so that they can be read on light and dark. What a hub or a server says is shown on one
line, and neither a terminal nor rich takes it for more than text. Sizes are decimal, as hubs and disks state them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, TypeAlias

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from edged.console import terminal
from edged.plain import plain

Tell: TypeAlias = Callable[[Mapping[str, Any]], None]

_PER_S = 8.0
# Below this there is no room for a bar beside the figures.
_BAR_COLUMNS = 60
_WIDEST_BAR = 48
_NAME_SHARE = 0.27
_STEPS = 10
LONGEST_MESSAGE = 1000  # characters of why something failed
# Those of which one can say how far they are; what is verified is all there.
_MEASURED = ("fetching", "copying", "checking", "mending")
_WITH_BAR = (*_MEASURED, "verifying")
# What is going on, where it is not plain from the figures; a reason that the daemon gives stands behind it.
_WORDS = {
    "queued": "waiting for its turn",
    "waiting": "waiting",
    "resolving": "asking the hub",
    "fetching": "fetching",
    "verifying": "verifying",
    "copying": "copying",
    "checking": "checking",
    "mending": "fetching it again",
}


def size(size_bytes: float) -> str:
    """`2.50 GB`: three digits, decimal."""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= 0.9995 * power:
            value = size_bytes / power
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{size_bytes:.0f} B"


def clock(seconds: float) -> str:
    """`2:57`, `1:02:03`; days where it takes them."""
    whole = max(0, round(seconds))
    if whole >= 48 * 3600:
        return f"{whole // 86400} days"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def of_total(done_bytes: int, total_bytes: int | None) -> str:
    """`1.05/2.50 GB`, in the unit of the whole."""
    if total_bytes is None:
        return size(done_bytes)
    whole = size(total_bytes)
    power = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}[whole.split()[1]]
    digits = len(whole.split()[0].partition(".")[2])
    return f"{done_bytes / power:.{digits}f}/{whole}"


def share(progress: Mapping[str, Any]) -> float:
    """How far it is, from 0 to 1; a whole that is not known is none."""
    total = progress.get("total_bytes")
    return min(1.0, progress["done_bytes"] / total) if total else 0.0


def doing(progress: Mapping[str, Any]) -> str:
    """What is going on, in words: `waiting: quiet hours until 06:00`."""
    words = _WORDS.get(progress["state"], progress["state"])
    return f"{words}: {plain(progress['reason'])}" if progress.get("reason") else words


def ending(progress: Mapping[str, Any], took_s: float) -> str:
    """How it ended, in a sentence."""
    match progress["state"]:
        case "done":
            speed = f", {size(progress['done_bytes'] / took_s)}/s" if took_s >= 1 and progress["done_bytes"] else ""
            took = f" in {clock(took_s)}{speed}" if took_s >= 1 else ""
            verified = ", checksum verified" if progress["verified"] else ""
            return f"{progress['name']} is installed: {size(progress['total_bytes'] or 0)}{took}{verified}."
        case "cancelled":
            return f"{progress['name']} was cancelled."
        case _:
            return plain(progress.get("message") or "It failed.", LONGEST_MESSAGE)


class Bar:
    """A download that goes on, as wide as there is room."""

    def __init__(self) -> None:
        self.progress: Mapping[str, Any] = {}
        self._spinner = Spinner("dots", style="cyan")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress, width = self.progress, options.max_width
        if not progress:
            return
        row: list[RenderableType] = [self._spinner, _name(progress, width)]
        if progress["state"] in _WITH_BAR and progress.get("total_bytes"):
            row += self._measured(progress, width, sum(_width(cell) + 2 for cell in row))
        else:
            kept = f"  {size(progress['done_bytes'])} kept" if progress["done_bytes"] else ""
            words = Text(doing(progress) + kept, style="dim", no_wrap=True)
            words.truncate(max(8, width - sum(_width(cell) + 2 for cell in row)), overflow="ellipsis")
            row.append(words)
        yield _line(row)

    def _measured(self, progress: Mapping[str, Any], width: int, taken: int) -> list[RenderableType]:
        whole = progress["total_bytes"]
        figures = [Text(of_total(progress["done_bytes"], whole).rjust(len(of_total(whole, whole))))]
        figures.append(Text(f"{share(progress):4.0%}", style="bold"))
        if progress["state"] != "fetching":
            figures.append(Text(_WORDS[progress["state"]], style="dim"))
        else:
            speed, left = progress.get("bytes_per_s"), progress.get("eta_s")
            # Of one width, so that the bar does not twitch.
            figures.append(Text(f"{f'{size(speed)}/s' if speed else '':>9}", style="dim"))
            figures.append(Text(f"{f'{clock(left)} left' if left is not None else '':>10}", style="dim"))
        room = width - taken - sum(figure.cell_len + 2 for figure in figures)
        while room < 8 and len(figures) > 2:  # what a narrow terminal cannot show goes from the end
            room += figures.pop().cell_len + 2
        if width < _BAR_COLUMNS or room < 8:
            return list(figures)
        bar = ProgressBar(  # its usual colours cannot be told apart on a light terminal
            total=1.0,
            completed=share(progress),
            width=min(_WIDEST_BAR, room),
            style="bright_black",
            complete_style="cyan",
            finished_style="green",
        )
        return [bar, *figures]


@contextmanager
def shown(console: Console) -> Iterator[Tell]:
    """A function that shows progress while the block lasts: a living line on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield _Lines(console.file).tell
        return
    bar = Bar()
    with Live(bar, console=console, refresh_per_second=_PER_S, transient=True) as live:

        def tell(progress: Mapping[str, Any]) -> None:
            bar.progress = progress
            live.refresh()

        yield tell


def unless_json(*, as_json: bool) -> AbstractContextManager[Tell]:
    """`shown` where this process writes; nothing for a program, which is told in the end what came of it."""
    return nullcontext(lambda _progress: None) if as_json else shown(terminal())


@contextmanager
def as_json(output: IO[str]) -> Iterator[Tell]:
    """What `shown` gives, for a program that follows: every change as it is, a line each."""

    def tell(progress: Mapping[str, Any]) -> None:
        output.write(json.dumps(progress, ensure_ascii=False) + "\n")
        output.flush()

    yield tell


class _Lines:
    """Progress for a log: a line per state, and one per tenth of the way."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._said: tuple[Any, ...] = ()

    def tell(self, progress: Mapping[str, Any]) -> None:
        """A line, if there is something new."""
        tenth = int(share(progress) * _STEPS)
        what = (progress["state"], progress.get("reason"), tenth if progress["state"] != "waiting" else 0)
        if what == self._said or progress["state"] not in _WORDS:
            return
        self._said = what
        self._output.write(f"{progress['name']}: {_plain(progress)}\n")
        self._output.flush()


def _plain(progress: Mapping[str, Any]) -> str:
    if progress["state"] not in _MEASURED or not progress.get("total_bytes"):
        return doing(progress)
    parts = [f"{share(progress):.0%} of {size(progress['total_bytes'])}"]
    if speed := progress.get("bytes_per_s"):
        parts.append(f"{size(speed)}/s")
    if (left := progress.get("eta_s")) is not None:
        parts.append(f"{clock(left)} left")
    return ", ".join(parts)


def _name(progress: Mapping[str, Any], width: int) -> Text:
    most, name = max(12, int(width * _NAME_SHARE)), str(progress["name"] or progress["reference"])
    text = Text(name if len(name) <= most else name.rpartition("/")[2], style="bold", no_wrap=True)
    text.truncate(most, overflow="ellipsis")
    return text


def _line(cells: Iterable[RenderableType]) -> Table:
    row = list(cells)
    line = Table.grid(padding=(0, 2, 0, 0))
    for _ in row:
        line.add_column(no_wrap=True)
    line.add_row(*row)
    return line


def _width(cell: RenderableType) -> int:
    return cell.cell_len if isinstance(cell, Text) else 1
