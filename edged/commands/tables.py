"""The pictures of models: which are installed, which are recommended, what is being fetched, what was scrubbed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edged.commands.progress import LONGEST_MESSAGE, clock, doing, share, size
from edged.gguf.about import about
from edged.plain import plain
from edged.speech.abilities import abilities
from edged.store import ModelFile

_SHOWN_LANGUAGES = 4
# Below this the reasons stand under the table.
_WIDE_COLUMNS = 110
_MARKS = {
    "best": Text("best", style="bold green"),
    "smaller": Text("fits", style="green"),
    "slow": Text("slow", style="yellow"),
    "no_memory": Text("too large", style="red"),
    "no_disk": Text("no room", style="red"),
    "unverified": Text("unchecked", style="dim"),
}
_CHECKED = {
    "good": Text("good", style="green"),
    "mended": Text("mended", style="green"),
    "bad": Text("BAD", style="bold red"),
}
_CHECKED_WORDS = {"good": "as it was when it came", "checking": "not read to its end", "mending": "not fetched yet"}


def installed_body(file: ModelFile, default: str) -> dict[str, Any]:
    """One entry of `edged models --json`."""
    return {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "path": str(file.path),
        "made_for": file.made_for,
        "capabilities": list(abilities(file.header)),
        "longest_context_tokens": file.header.context_tokens if file.header else None,
        **asdict(about(file.header)),
        "problem": file.problem or None,
        "default": file.name == default,
    }


def installed(files: Sequence[ModelFile], default: str) -> Table:
    """`edged models`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    numbers = ("size", "context")
    for column in ("model", "size", "quantization", "context", "can", "speaks", "license", ""):
        table.add_column(column, justify="right" if column in numbers else "left")
    for file in files:
        said, longest = about(file.header), file.header.context_tokens if file.header else None
        table.add_row(
            file.name,
            size(file.size_bytes),
            escape(said.quantization),
            f"{longest:,}" if longest else "",
            ", ".join(abilities(file.header)) or ("unreadable" if file.header is None else "nothing"),
            escape(_few(said.languages)),
            escape(said.license),
            "default" if file.name == default else escape(file.problem),
        )
    return table


class Recommended:
    """`edged models --recommend`: the choice first, then every other entry with the reason why not."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = options.max_width >= _WIDE_COLUMNS
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("", "model", "size", "tokens/s", "download"):
            table.add_column(column, justify="left" if column in ("", "model") else "right", no_wrap=True)
        if is_wide:
            table.add_column("why", overflow="fold")
        models = sorted(self._body["models"], key=lambda model: model["verdict"] != "best")
        for model in models:
            table.add_row(*_row(model), *([Text(_why(model), style="dim")] if is_wide else []))
        yield table
        if not is_wide:
            yield Text("")
            for why, names in _by_reason(models).items():
                yield Text.assemble((", ".join(names), ""), (f": {why}", "dim"))
        yield Text("")
        yield _basis(self._body["device"])
        yield _advice(self._body)


def pulls(body: Mapping[str, Any]) -> RenderableType:
    """`edged pull` without a reference: what is being fetched, waits, or ended lately."""
    if not body["pulls"]:
        return Text("Nothing is being fetched. Start with: edged models --recommend")
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "model", "state"):
        table.add_column(column, no_wrap=column != "state", overflow="fold")
    for pull in body["pulls"]:
        table.add_row(Text(pull["id"]), Text(pull["name"] or pull["reference"]), Text(_state(pull)))
    return table


def scrubbed(body: Mapping[str, Any]) -> RenderableType:
    """`edged scrub`: every model that was looked at, and why not all were."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for model in body["models"]:
        state = model["state"]
        mark = _CHECKED.get(state, Text(state, style="yellow"))
        message = plain(model["message"], LONGEST_MESSAGE) or _CHECKED_WORDS.get(state, "not known")
        table.add_row(mark, Text(model["name"]), Text(message))
    if body["failed"]:
        return Group(table, Text(body["failed"], style="bold red"))
    if not body["models"]:
        return Text("There is nothing to check: no model here has a checksum. Those that were fetched or imported do.")
    return table


def _few(names: Sequence[str]) -> str:
    """As many of `names` as a narrow column holds."""
    more = len(names) - _SHOWN_LANGUAGES
    return " ".join(names[:_SHOWN_LANGUAGES]) + (f" +{more}" if more > 0 else "")


def _row(model: Mapping[str, Any]) -> Sequence[Text]:
    speed, download = model["tokens_per_s"], model["download_s"]
    roughly = "" if model["checked"] else "about "
    mark = Text("installed", style="cyan") if model["installed"] else _MARKS[model["verdict"]]
    return (
        mark,
        Text(model["name"], style="bold" if model["verdict"] == "best" else ""),
        Text(f"{roughly}{size(model['size_bytes'])}"),
        Text(f"{speed:.0f}" if speed is not None and speed >= 10 else f"{speed:.1f}" if speed is not None else "?"),
        Text(clock(download) if download is not None else "?"),
    )


def _by_reason(models: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for model in models:
        found.setdefault(_why(model), []).append(model["name"])
    return found


def _why(model: Mapping[str, Any]) -> str:
    return f"{model['reason']} {model['about']}" if model["verdict"] == "best" else str(model["reason"])


def _basis(device: Mapping[str, Any]) -> Text:
    copy = device["copy_bytes_per_s"]
    speed = f"memory copies {size(copy)}/s, of which decoding gets {device['share']:.0%}" if copy else "speed unknown"
    source = f" ({device['share_source']})" if copy else " while somebody is being answered"
    room = f"{size(device['memory_bytes'])} of memory and {size(device['disk_bytes'])} of disk for models"
    return Text(f"This device: {room}; {speed}{source}.", style="dim")


def _advice(body: Mapping[str, Any]) -> Text:
    best = body["best"]["chat"]
    if best is None:
        return Text(
            "Nothing can be recommended: no entry that fits was found on the hub. Connect this device to the internet "
            "and ask again, or import a model: edged import FILE."
        )
    if next(model["installed"] for model in body["models"] if model["name"] == best):
        return Text(f"{best} is installed.")
    return Text(f"Get it: edged pull {best}")


def _state(pull: Mapping[str, Any]) -> str:
    match pull["state"]:
        case "fetching" if pull["total_bytes"]:
            return f"fetching, {share(pull):.0%} of {size(pull['total_bytes'])}"
        case "failed":
            return f"failed: {plain(pull['message'], LONGEST_MESSAGE)}"
        case "done" | "cancelled":
            return str(pull["state"])
        case _:
            return doing(pull)
