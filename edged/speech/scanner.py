"""Text as it comes, read by generators that pause where they need more of it.

Nothing here decides by where a piece of the text ended, only by characters: whatever is read with it comes out the same
however the text was cut. A position is only ever kept in `at` and `mark`; both move when what was read is forgotten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Generator
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
# Pauses whenever it needs more text.
Reading: TypeAlias = Generator[None, None, Result]
Sink: TypeAlias = Callable[[str], None]

WHITE = " \t\r\n"
# Deeper than any arguments nest; a model that writes brackets for ever costs nothing.
MOST_DEPTH = 64
# Before a marker; a model that writes blank lines for ever is not looked through again at each.
_MOST_WHITE = 64
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_WORD = re.compile(r"[-+.\w]*")
_LITERAL = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_CLOSING = {"{": "}", "[": "]"}


class Scanner:
    """What has come and was not read yet, from `at` on; what stands behind `mark` is kept to be read again."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.mark: int | None = None
        self.forgotten = 0  # characters before `text`
        self.is_over = False

    def feed(self, text: str) -> None:
        """More has come; what nobody will read again is forgotten."""
        kept = self.at if self.mark is None else self.mark
        self.forgotten += kept
        self.text, self.at = self.text[kept:] + text, self.at - kept
        self.mark = None if self.mark is None else 0

    def go_back(self) -> None:
        """To the mark: what stands behind it is read again."""
        assert self.mark is not None
        self.at, self.mark = self.mark, None

    def more(self) -> Reading[bool]:
        """Wait; False where nothing follows."""
        if self.is_over:
            return False
        yield
        return True

    def peek(self, count: int = 1) -> Reading[str]:
        """The next `count` characters, or all that are left."""
        while len(self.text) - self.at < count and (yield from self.more()):
            pass
        return self.text[self.at : self.at + count]

    def space(self, sink: Sink | None = None) -> Reading[None]:
        """Read over white space."""
        while True:
            end = self.at
            while end < len(self.text) and self.text[end] in WHITE:
                end += 1
            white, self.at = self.text[self.at : end], end
            if sink and white:
                sink(white)
            if end < len(self.text) or not (yield from self.more()):
                return

    def take(self, *options: str) -> Reading[str]:
        """Read over the longest of `options` that comes next, and say which; empty where none does."""
        while True:
            rest = self.text[self.at : self.at + max(map(len, options), default=0)]
            found = max((option for option in options if rest.startswith(option)), key=len, default="")
            may_grow = any(len(option) > len(rest) and option.startswith(rest) for option in options)
            if not may_grow or not (yield from self.more()):
                self.at += len(found)
                return found

    def until(self, markers: Collection[str], sink: Sink, *, trims: bool = True) -> Reading[str]:
        """Hand over what stands before the first of `markers`, and read over it; empty where the text ends first.

        While it is handed over `at` is where it begins. With `trims` the white space before the marker is not; `mark`
        is where what was not handed over begins. Only what may still become a marker, and white space before it, waits.
        """
        while True:
            self.mark = None
            if found := _first(self.text, self.at, markers):
                start, marker = found
                self.mark = self._trimmed(start) if trims else start
                sink(self.text[self.at : self.mark])
                self.at = start + len(marker)
                return marker
            held = len(self.text) - _overlap(self.text, self.at, markers)
            end = self._trimmed(held) if trims else held
            sink(self.text[self.at : end])
            self.at = end
            if not (yield from self.more()):
                sink(self.text[end:])
                self.at = len(self.text)
                return ""

    def _trimmed(self, end: int) -> int:
        first = max(self.at, end - _MOST_WHITE)
        while end > first and self.text[end - 1] in WHITE:
            end -= 1
        return end

    def captured(self, *markers: str, most: int | None = None) -> Reading[tuple[str, str]]:
        """What stands before the first of `markers`, and which it is: empty where the text ends first.

        With `most` it must begin within so many characters; otherwise nothing is read over. What stands behind `mark`
        stays.
        """
        while True:
            found = _first(self.text, self.at, markers)
            if most is not None and (found[0] if found else len(self.text)) - self.at > most:
                return "", ""
            if found:
                start, marker = found
                text, self.at = self.text[self.at : start], start + len(marker)
                return text, marker
            if not (yield from self.more()):
                text = self.text[self.at :]
                self.at = self.at if most is not None else len(self.text)
                return text, ""

    def json(self, sink: Sink) -> Reading[bool]:
        """Hand over a JSON value as it comes, each piece behind it; False where it breaks off, and `at` is where.

        Control characters inside strings, which JSON does not allow and models write, are escaped.
        """
        open_: list[str] = []
        while True:
            yield from self.space(sink)
            first = yield from self.peek()
            if first == '"':
                if not (yield from self._string(sink)):
                    return False
            elif first in ("{", "["):
                if len(open_) == MOST_DEPTH:
                    return False
                open_.append(first)
                self._pass(first, sink)
                yield from self.space(sink)
                if (yield from self.peek()) != _CLOSING[first]:
                    if first == "{" and not (yield from self._key(sink)):
                        return False
                    continue
            elif not (yield from self._word(sink)):
                return False
            while open_:
                yield from self.space(sink)
                following = yield from self.peek()
                if following == ",":
                    self._pass(following, sink)
                    if open_[-1] == "{" and not (yield from self._key(sink)):
                        return False
                    break
                if following != _CLOSING[open_[-1]]:
                    return False
                self._pass(following, sink)
                open_.pop()
            else:
                return True

    def string(self) -> Reading[str | None]:
        """A JSON string's value; None where none comes next."""
        if (yield from self.peek()) != '"':
            return None
        pieces: list[str] = []
        if not (yield from self._string(pieces.append)):
            return None
        value: str = json.loads("".join(pieces))
        return value

    def _pass(self, text: str, sink: Sink) -> None:
        self.at += len(text)
        sink(text)

    def _key(self, sink: Sink) -> Reading[bool]:
        yield from self.space(sink)
        if (yield from self.peek()) != '"' or not (yield from self._string(sink)):
            return False
        yield from self.space(sink)
        if (yield from self.peek()) != ":":
            return False
        self._pass(":", sink)
        return True

    def _word(self, sink: Sink) -> Reading[bool]:
        while True:
            word = _matched(_WORD, self.text, self.at)
            if self.at + len(word) < len(self.text) or not (yield from self.more()):
                break
        if not _LITERAL.fullmatch(word):
            return False
        self._pass(word, sink)
        return True

    def _string(self, sink: Sink) -> Reading[bool]:
        self._pass('"', sink)
        while True:
            if plain := _matched(_PLAIN, self.text, self.at):
                self._pass(plain, sink)
            following = yield from self.peek()
            if following == '"':
                self._pass(following, sink)
                return True
            if following == "\\":
                escape = yield from self.peek(2)
                escape = (yield from self.peek(6)) if escape[1:] == "u" else escape
                if not _ESCAPE.fullmatch(escape):
                    return False
                self._pass(escape, sink)
            elif not following:
                return False
            elif following < " ":
                self.at += 1
                sink(json.dumps(following)[1:-1])


def _matched(pattern: re.Pattern[str], text: str, at: int) -> str:
    found: Any = pattern.match(text, at)
    return found[0] if found else ""


def _first(text: str, at: int, markers: Collection[str]) -> tuple[int, str] | None:
    """The marker that begins first, and of those that begin there the longest."""
    found = [(start, -len(marker), marker) for marker in markers if (start := text.find(marker, at)) >= 0]
    if not found:
        return None
    start, _, marker = min(found)
    return start, marker


def _overlap(text: str, at: int, markers: Collection[str]) -> int:
    """Length of the longest end of `text[at:]` that a marker begins with."""
    longest = min(max(map(len, markers), default=1) - 1, len(text) - at)
    return next(
        (n for n in range(longest, 0, -1) if any(marker.startswith(text[len(text) - n :]) for marker in markers)), 0
    )
