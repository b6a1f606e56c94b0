"""How models write calls: what a format is, and the commonest, JSON.

A reader begins behind the marker that announced a call, and says what it has seen as soon as it may. It returns False
where the text turned out to be no call, or none that goes on; whatever it has not committed is then shown as it was
written. Which model writes which format is in `families.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Protocol

from edged.speech.scanner import Reading, Scanner

_NAME = re.compile(r"[\w.:\-/]{1,128}")
# With what stands around it: behind that no name comes any more.
LONGEST_NAME = 256
_NAME_KEYS = frozenset({"name", "tool_name"})
_ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
_LIST_KEYS = frozenset({"tool_calls", "tool_call"})


class Report(Protocol):
    """Where a reader says what it has seen. What is said is committed: it is not shown as text any more."""

    scanner: Scanner

    def knows(self, name: str) -> bool:
        """Whether there is such a tool."""
        ...

    def types(self, tool: str, parameter: str) -> frozenset[str]:
        """Which JSON types the tool's schema allows for this parameter; empty where it does not say."""
        ...

    def open(self, name: str, id: str = "") -> None:
        """A call begins, with an `id` where the model gave one: committed and said with the first of its arguments."""
        ...

    def write(self, arguments: str) -> None:
        """A piece of its arguments."""
        ...

    def close(self) -> None:
        """Its arguments are complete."""
        ...

    def commit(self) -> None:
        """What was read up to here belongs to a call."""
        ...


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


class Format(Protocol):
    """One way to write calls."""

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call."""
        ...

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        ...

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`."""
        ...


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """`{"name": …, "arguments": {…}}`, one or several, in a list or not, up to `close`.

    With `is_bare` no marker announces them: then it must be a tool that is there. With `name_is_key` a call is
    `{"name": {…}}`.
    """

    open: str
    close: str = ""
    others: tuple[str, ...] = ()
    name_key: str = "name"
    arguments_key: str = "arguments"
    is_list: bool = False
    is_bare: bool = False
    name_is_key: bool = False
    inner: str = ""

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call."""
        return (self.open, *self.others) if self.open else self.others

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        return tuple(filter(None, (*self.openers, self.close)))

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`."""
        scanner = report.scanner
        fence = (yield from scanner.take("```json", "```")) if self.is_bare and not opener else ""
        yield from scanner.space()
        if not (yield from self._listed(report, is_strict=self.is_bare and not opener)):
            return False
        yield from scanner.space()
        yield from scanner.take(*filter(None, ("```" if fence else "", self.close)))
        return True

    def _listed(self, report: Report, *, is_strict: bool, is_inner: bool = False) -> Reading[bool]:
        scanner = report.scanner
        is_list = bool((yield from scanner.take("[")))
        if is_list:
            yield from scanner.space()
        while True:
            if not (yield from self._object(report, is_strict=is_strict, is_inner=is_inner)):
                return False
            report.commit()
            yield from scanner.space()
            yield from scanner.take(",", ";")
            yield from scanner.space()
            if (yield from scanner.peek()) != "{":
                break
        if is_list:
            yield from scanner.take("]")
            report.commit()
        return True

    def _object(self, report: Report, *, is_strict: bool, is_inner: bool) -> Reading[bool]:
        """A call, or an object that holds a list of them: one such object, not one in another."""
        scanner = report.scanner
        if not (yield from scanner.take("{")):
            return False
        name, early, is_open, depth = "", None, False, 1
        while depth:
            yield from scanner.space()
            if (yield from scanner.take("}")):
                depth -= 1
            else:
                key = yield from scanner.string()
                yield from scanner.space()
                if key is None or not (yield from scanner.take(":")):
                    return False
                yield from scanner.space()
                if key in _LIST_KEYS and not name and not is_open:
                    if is_inner or not (yield from self._listed(report, is_strict=False, is_inner=True)):
                        return False
                    yield from scanner.space()
                    return bool((yield from scanner.take("}")))
                if self.name_is_key and is_name(key):
                    is_open = yield from _arguments(report, key)
                    if not is_open:
                        return False
                    name = key
                elif key == "function" and (yield from scanner.take("{")):
                    depth += 1
                    continue
                elif key in _NAME_KEYS or (key == "function" and not name):
                    name = (yield from scanner.string()) or ""
                    if not is_name(name) or (is_strict and not report.knows(name)):
                        return False
                elif key in _ARGUMENT_KEYS and name and not is_open:
                    is_open = yield from _arguments(report, name)
                    if not is_open:
                        return False
                elif is_strict and key not in (*_ARGUMENT_KEYS, "type", "id"):
                    return False
                else:
                    value: list[str] = []
                    if not (yield from scanner.json(value.append)):
                        return False
                    early = "".join(value) if key in _ARGUMENT_KEYS and not is_open else early
            yield from scanner.space()
            yield from scanner.take(",")
        return is_open or _late(report, name, early)


def _late(report: Report, name: str, arguments: str | None) -> bool:
    """A call whose name came last, or that needs no arguments."""
    text = "{}" if arguments is None or arguments == "null" else _object_text(arguments)
    if not name or text is None:
        return False
    report.open(name)
    report.write(text)
    report.close()
    return True


def _object_text(value: str) -> str | None:
    """`value` where it is a JSON object, or what it quotes where it is a string that is one."""
    try:
        found = json.loads(value)
        text = found if isinstance(found, str) else value
        is_object = isinstance(json.loads(text), dict)
        text.encode()
    except (ValueError, RecursionError):
        return None
    return text if is_object else None


def _arguments(report: Report, name: str) -> Reading[bool]:
    """Hand over the arguments of a call: an object as it comes, a string that quotes one at its end."""
    scanner = report.scanner
    if (yield from scanner.peek()) == "{":
        report.open(name)
        if not (yield from scanner.json(report.write)):
            return False
        report.close()
        return True
    value: list[str] = []
    return (yield from scanner.json(value.append)) and _late(report, name, "".join(value))
