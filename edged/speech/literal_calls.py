"""Calls in a notation of which nothing is known before its end: LFM2's Python, Llama's built-in tools, Gemma 4."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edged.speech.calls import Report, is_name
from edged.speech.literals import gemma_arguments, python_calls
from edged.speech.scanner import Reading, Scanner


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """`[name(key=value, …), …]` as Python has it, up to `close`; `suffix` stands behind a name."""

    open: str
    close: str = ""
    suffix: str = ""

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call."""
        return (self.open,)

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        return tuple(filter(None, (self.open, self.close)))

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`: nothing is known before its end."""
        text, _ = yield from _captured(report.scanner, self.close)
        calls = python_calls(text)
        for name, arguments in calls or ():
            _say(report, name.removesuffix(self.suffix), arguments)
        return calls is not None


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """`call:name{key:<|"|>text<|"|>,…}`, as Gemma 4 has it."""

    open: str = "<|tool_call>"
    close: str = "<tool_call|>"
    before_name: str = "call:"
    quote: str = '<|"|>'

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call."""
        return (self.open,)

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        return (self.open, self.close, self.quote)

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`: nothing is known before its end."""
        text, _ = yield from _captured(report.scanner, self.close)
        name, brace, rest = text.strip().removeprefix(self.before_name).partition("{")
        arguments = gemma_arguments(brace + rest)
        if not is_name(name.strip()) or arguments is None:
            return False
        _say(report, name.strip(), arguments)
        return True


def _captured(scanner: Scanner, marker: str) -> Reading[tuple[str, str]]:
    if marker:
        return (yield from scanner.captured(marker))
    while (yield from scanner.more()):
        pass
    text, scanner.at = scanner.text[scanner.at :], len(scanner.text)
    return text, ""


def _say(report: Report, name: str, arguments: dict[str, Any]) -> None:
    report.open(name)
    report.write(json.dumps(arguments, ensure_ascii=False))
    report.close()
