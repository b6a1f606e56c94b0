"""What a model writes becomes thoughts, words and calls, as it comes.

    text ─▶ Scanner ─▶ one generator per reply ─▶ pieces       the same pieces, joined, however the text was cut

The generator reads the reply from its beginning to its end like a program that has all of it, and pauses where it needs
more. Text that may still become a marker is held back, and no more than that. A call that turns out to be none is shown
as it was written: nothing is lost, and nothing made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from edged.chat import Tool
from edged.speech.calls import Format, JsonCalls
from edged.speech.scanner import WHITE, Reading, Scanner


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the caller. It stands at `at` in what the model wrote, in characters."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of a thought."""

    text: str


@dataclass(frozen=True, slots=True)
class CallOpened:
    """A call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A piece of a call's arguments, which together are JSON."""

    index: int
    text: str


Piece: TypeAlias = Words | Thinking | CallOpened | Arguments


@dataclass(frozen=True, slots=True)
class ThoughtTags:
    """What stands around a thought: at the beginning of a reply, or `is_anywhere` in it.

    `next` stands behind `close` where more than white space does.
    """

    open: str
    close: str
    is_anywhere: bool = False
    next: str = ""


class Parser:
    """Reads one reply. `complete_calls` counts the calls whose arguments came to their end."""

    def __init__(self, tools: Sequence[Tool], new_id: Callable[[], str]) -> None:
        self.scanner = Scanner()
        self.complete_calls = 0
        self._tools = {tool.name: tool for tool in tools}
        self._new_id = new_id
        self._pieces: list[Piece] = []
        self._calls = 0
        self._opening: CallOpened | None = None
        self._first_arguments = ""
        self._reading = self._read()
        next(self._reading, None)

    def feed(self, text: str) -> list[Piece]:
        """What the next piece of the reply brings."""
        self.scanner.feed(text)
        return self._go_on()

    def finish(self) -> list[Piece]:
        """The reply is over: what was held back."""
        self.scanner.is_over = True
        return self._go_on()

    def _go_on(self) -> list[Piece]:
        next(self._reading, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _read(self) -> Reading[None]:
        raise NotImplementedError

    # What readers of calls say.

    def knows(self, name: str) -> bool:
        """Whether there is such a tool."""
        return name in self._tools

    def types(self, tool: str, parameter: str) -> frozenset[str]:
        """Which JSON types the tool's schema allows for this parameter; empty where it does not say."""
        return parameter_types(self._tools[tool].parameters, parameter) if tool in self._tools else frozenset()

    def open(self, name: str, id: str = "") -> None:
        """A call begins: said with the first of its arguments."""
        self._opening = CallOpened(self._calls, id or self._new_id(), name)
        self._first_arguments = ""

    def write(self, arguments: str) -> None:
        """A piece of its arguments."""
        if self._opening is not None:
            self._first_arguments += arguments
            if not self._first_arguments.strip("{" + WHITE):
                return
            arguments = self._first_arguments
            self._begin(self._opening)
        self.commit()
        self._add_arguments(arguments)

    def close(self) -> None:
        """Its arguments are complete."""
        if self._opening is not None:
            self._begin(self._opening)
            self._add_arguments(self._first_arguments)
        self.complete_calls += 1

    def commit(self) -> None:
        """What was read up to here belongs to a call."""
        self.scanner.mark = self.scanner.at

    def _begin(self, opening: CallOpened) -> None:
        self._pieces.append(opening)
        self._opening = None
        self._calls += 1
        self.commit()

    def _add_arguments(self, text: str) -> None:
        index = self._calls - 1
        if self._pieces and isinstance(last := self._pieces[-1], Arguments):
            self._pieces[-1] = Arguments(index, last.text + text)
        elif text:
            self._pieces.append(Arguments(index, text))

    def _say(self, text: str) -> None:
        """Show text that stands at the scanner's place."""
        self._say_at(text, self.scanner.at)

    def _say_at(self, text: str, at: int) -> None:
        if not text:
            return
        if self._pieces and isinstance(last := self._pieces[-1], Words) and self._follows(last, at):
            self._pieces[-1] = Words(last.text + text, last.at)
        else:
            self._pieces.append(Words(text, self.scanner.forgotten + at))

    def _follows(self, last: Words, at: int) -> bool:
        return last.at + len(last.text) == self.scanner.forgotten + at

    def _think(self, text: str) -> None:
        if not text:
            return
        if self._pieces and isinstance(last := self._pieces[-1], Thinking):
            self._pieces[-1] = Thinking(last.text + text)
        else:
            self._pieces.append(Thinking(text))

    def _show_uncommitted(self, *, is_thinking: bool = False) -> None:
        """What looked like a call and is none: as it was written."""
        scanner = self.scanner
        mark, scanner.mark, self._opening = scanner.mark, None, None
        assert mark is not None
        if is_thinking:
            self._think(scanner.text[mark : scanner.at])
        else:
            self._say_at(scanner.text[mark : scanner.at], mark)

    def _call(self, formats: Sequence[Format], opener: str, *, is_thinking: bool = False) -> Reading[None]:
        """Read calls that `opener` announced, in the first of `formats` that they are written in."""
        scanner, calls = self.scanner, self._calls
        assert scanner.mark is not None
        behind = scanner.at - scanner.mark
        for format in formats:
            if (yield from format.read(self, opener)):
                scanner.mark = None
                yield from scanner.space()
                return
            if self._calls > calls:
                break
            self._opening = None
            scanner.at = scanner.mark + behind
        self._show_uncommitted(is_thinking=is_thinking)


class TaggedParser(Parser):
    """A reply whose thoughts and calls stand between markers; what stands outside of them is for the caller.

    With `calls_in_thoughts` a call may begin before the thought has ended. `dropped` markers are not shown.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        new_id: Callable[[], str],
        formats: Sequence[Format],
        thought: ThoughtTags | None,
        dropped: Sequence[str],
        *,
        is_thinking: bool,
        calls_in_thoughts: bool = False,
    ) -> None:
        self._calls_in_thoughts = calls_in_thoughts
        self._formats = formats
        self._thought = thought
        self._dropped = dropped
        self._is_thinking = is_thinking
        self._openers = {opener for format in formats for opener in format.openers}
        self._bare = [format for format in formats if isinstance(format, JsonCalls) and format.is_bare]
        super().__init__(tools, new_id)

    def _read(self) -> Reading[None]:
        thought = self._thought
        if thought is not None:
            if self._is_thinking:
                yield from self._opened_thought(thought)
            else:
                yield from self._opening_thought(thought)
        if self._bare:
            yield from self._bare_call()
        yield from self._body()

    def _opening_thought(self, thought: ThoughtTags) -> Reading[None]:
        """A thought at the beginning, if there is one; white space before it vanishes, before anything else not."""
        scanner = self.scanner
        scanner.mark = scanner.at
        yield from scanner.space()
        if (yield from scanner.take(thought.open)):
            scanner.mark = None
            yield from scanner.space()
            yield from self._thoughts(thought)
        else:
            scanner.go_back()

    def _opened_thought(self, thought: ThoughtTags) -> Reading[None]:
        """The prompt has opened the thought; some models open it again."""
        yield from self.scanner.space()
        yield from self.scanner.take(thought.open)
        yield from self.scanner.space()
        yield from self._thoughts(thought)

    def _thoughts(self, thought: ThoughtTags) -> Reading[None]:
        """Up to the thought's end, or to a call that begins without one."""
        scanner = self.scanner
        ends = {thought.close, *(self._openers if self._calls_in_thoughts else ())}
        while True:
            end = yield from scanner.until(ends, self._think)
            if end in ("", thought.close):
                scanner.mark = None
                yield from scanner.space()
                return
            complete = self.complete_calls
            formats = [format for format in self._formats if end in format.openers]
            yield from self._call(formats, end, is_thinking=True)
            if self.complete_calls > complete:
                return

    def _bare_call(self) -> Reading[None]:
        scanner = self.scanner
        scanner.mark = scanner.at
        yield from scanner.space()
        if (yield from scanner.peek()) in ("{", "[", "`"):
            yield from self._call(self._bare, "")
        else:
            scanner.go_back()

    def _body(self) -> Reading[None]:
        scanner, thought = self.scanner, self._thought
        thoughts = {thought.open, thought.close} if thought is not None and thought.is_anywhere else set()
        markers = {*self._openers, *self._dropped, *thoughts}
        if not markers:
            yield from self._rest()
            return
        while marker := (yield from scanner.until(markers, self._say)):
            if marker in self._openers:
                yield from self._call([format for format in self._formats if marker in format.openers], marker)
                continue
            scanner.mark = None
            yield from scanner.space()
            if thought is not None and marker == thought.open:
                yield from self._thoughts(thought)

    def _rest(self) -> Reading[None]:
        scanner = self.scanner
        while True:
            self._say(scanner.text[scanner.at :])
            scanner.at = len(scanner.text)
            if not (yield from scanner.more()):
                return


@lru_cache(maxsize=64)
def parameter_types(schema: str, parameter: str) -> frozenset[str]:
    """Which JSON types an object's schema allows for one of its properties; empty where it does not say."""
    found: Any = json.loads(schema)
    properties = found.get("properties") if isinstance(found, dict) else None
    return types_of(properties.get(parameter)) if isinstance(properties, dict) else frozenset()


def types_of(schema: Any) -> frozenset[str]:
    """Which JSON types a schema allows; empty where it does not say."""
    if not isinstance(schema, dict):
        return frozenset()
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset({kinds})
    if isinstance(kinds, list):
        return frozenset(kind for kind in kinds if isinstance(kind, str))
    if isinstance(values := schema.get("enum"), list):
        return frozenset().union(*map(_type_of, values)) if values else frozenset()
    if "const" in schema:
        return _type_of(schema["const"])
    for key in ("anyOf", "oneOf"):
        if isinstance(members := schema.get(key), list) and members:
            found = [types_of(member) for member in members]
            return frozenset().union(*found) if all(found) else frozenset()
    return frozenset()


def _type_of(value: Any) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset({"boolean"})
    kinds = {str: "string", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
    return frozenset({kinds[type(value)]})
