"""What the command line shows: answers from a running daemon, as tables for people and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from edged.plain import plain


def terminal() -> Console:
    """Where a person reads. Text stays as it is: to rich's own eyes a fingerprint's `:AB:` is a picture of a button."""
    return Console(highlight=False, emoji=False)


def show(body: Mapping[str, Any], picture: RenderableType, *, as_json: bool) -> None:
    """Print `body` for a program, or `picture` for a person."""
    if as_json:
        sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
    elif isinstance(picture, str):
        sys.stdout.write(picture + "\n")  # to be copied as it is: rich would wrap it
    else:
        terminal().print(picture)


def status_table(status: Mapping[str, Any]) -> Table:
    """`edged status`."""
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]edged[/]", f"{status['version']}, up {_duration(status['uptime_s'])}")
    table.add_row("address", "  ".join(status["addresses"]))
    table.add_row("requests", f"{status['running']} running, {status['queued']} waiting")
    table.add_row("default", status["default_model"])
    for resident in status["residents"]:
        table.add_row("model", _resident_line(resident))
        if resident.get("problem"):
            table.add_row("[bold red]problem[/]", escape(plain(resident["problem"])))
        if resident.get("draft_problem"):
            table.add_row("no guesses", escape(plain(resident["draft_problem"])))
    for case in status.get("quarantined", ()):
        table.add_row("[bold red]quarantine[/]", escape(f"{case['model']}: {plain(case['reason'])}"))
    if not status["residents"]:
        table.add_row("model", "none in memory; one is loaded when somebody asks")
    return table


def _resident_line(resident: Mapping[str, Any]) -> str:
    if resident["state"] == "loading":
        eta = "" if resident.get("eta_s") is None else f", about {resident['eta_s']:.0f} s to go"
        return f"[bold]{resident['model']}[/] loading, {resident['progress']:.0%}{eta}"
    drawn, seconds, drafter = resident["completion_tokens"], resident["step_s"], resident.get("draft_model")
    speed = f", {drawn / seconds:.0f} tokens/s while busy" if seconds else ""
    return (
        f"[bold]{resident['model']}[/] {resident['description']}, {resident['busy']} of {resident['slots']} answering, "
        f"context {resident['context_tokens']}{f', guesses by {drafter}' if drafter else ''}{speed}"
    )


def verdicts_table(verdicts: Sequence[Mapping[str, Any]]) -> Table:
    """`edged doctor`."""
    table = Table.grid(padding=(0, 2))
    for verdict in verdicts:
        mark = "[green]good[/]" if verdict["state"] == "good" else "[bold red]ERROR[/]"
        table.add_row(mark, verdict["check"], verdict["text"])
    return table


def bench_table(body: Mapping[str, Any]) -> Table:
    """`edged bench`."""
    ours, default = body["ours"], body["default"]
    table = Table(box=None, header_style="bold", pad_edge=False, title=f"{body['model']} on {body['machine']}")
    for column in ("", "edged", "llama.cpp's defaults"):
        table.add_column(column, justify="right" if column else "left")
    for name, key, form in (
        ("answering, tokens/s", "decode_tokens_per_s", ".1f"),
        ("first word, short prompt, s", "first_token_s", ".3f"),
        (f"first word, {ours['long_prompt_tokens']} tokens, s", "long_first_token_s", ".2f"),
        ("reading, tokens/s", "reading_tokens_per_s", ".0f"),
    ):
        table.add_row(name, format(ours[key], form), format(default[key], form) if default else "no room")
    share, copied = body["bandwidth_share"], body["copy_bytes_per_s"]
    table.add_row("share of memory bandwidth", f"{share:.0%} of {copied / 1e9:.1f} GB/s", "")
    return table


def as_toml(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """The configuration in the file's own form; what is not set is left out."""
    lines = []
    for section, values in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in values.items() if value is not None]
        lines.append("")
    return "\n".join(lines).rstrip()


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    if minutes >= 120:
        return f"{hours} hours"
    return f"{minutes} minutes" if minutes >= 2 else f"{seconds:.0f} s"
