"""Calls and values that are almost Python (LFM2, Llama's built-in tools) or almost JSON (Gemma 4): text to values.

Formats: `python_style_tool_calls` and `python_or_json_value` in llama.cpp's common/chat-peg-parser.cpp, the rules
`gemma4-*` in its common/parsers/gemma4.cpp, and the templates LFM2.5-8B-A1B.jinja and google-gemma-4-31B-it.jinja.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edged.speech.scanner import MOST_DEPTH

GEMMA_QUOTE = '<|"|>'
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_BARE_KEY = re.compile(r"[^:,{}\[\]\"'<>]+")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_WORD = re.compile(f"(?:{'|'.join(_WORDS)})(?!\\w)")
# Possessive, and content with a missing end: the other way, a text of quotes takes the square of its length.
_STRING = re.compile(r"""'((?:[^'\\]|\\.)*+)('?)|"((?:[^"\\]|\\.)*+)("?)""", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "", "0": "\0"}


def python_calls(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """The calls in `[name(key=value, …), …]`, whose brackets may be missing; None where it is something else."""
    try:
        return _Literals(text).calls()
    except ValueError:
        return None


def python_value(text: str) -> Any:
    """The value that `text` is, all of it. Raises `ValueError` where it is none."""
    return _Literals(text).whole_value()


def gemma_arguments(text: str) -> dict[str, Any] | None:
    """The arguments in `{key:value,…}`; None where it is something else."""
    try:
        return _Literals(text).whole_object()
    except ValueError:
        return None


class _Literals:
    """Reads values from a text that is all there. Raises `ValueError` where none stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        is_list = self._takes("[")
        calls = [self._call()]
        while self._takes(",") or self._takes(";"):
            calls.append(self._call())
        if is_list:
            self._must("]")
        self._end()
        return calls

    def whole_object(self) -> dict[str, Any]:
        self._must("{")
        value = self._object(1)
        self._end()
        return value

    def whole_value(self) -> Any:
        value = self._value(1)
        self._end()
        return value

    def _call(self) -> tuple[str, dict[str, Any]]:
        name = self._match(_NAME)
        self._must("(")
        arguments: dict[str, Any] = {}
        while not self._takes(")"):
            key = self._match(_NAME)
            self._must("=")
            arguments[key] = self._value(1)
            if not self._takes(","):
                self._must(")")
                break
        return name, arguments

    def _value(self, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError("nested too deep")
        if self._takes("{"):
            return self._object(depth + 1)
        if self._takes("["):
            return self._list("]", depth + 1)
        if self._takes("("):
            return self._list(")", depth + 1)
        if (text := self._string()) is not None:
            return text
        if word := self._match(_WORD, is_needed=False):
            return _WORDS[word]
        return _number(self._match(_NUMBER))

    def _list(self, closing: str, depth: int) -> list[Any]:
        values = []
        while not self._takes(closing):
            values.append(self._value(depth))
            if not self._takes(","):
                self._must(closing)
                break
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not self._takes("}"):
            key = self._string()
            if key is None:
                key = self._match(_BARE_KEY).strip()
            self._must(":")
            members[key] = self._value(depth)
            if not self._takes(","):
                self._must("}")
                break
        return members

    def _string(self) -> str | None:
        if self._takes(GEMMA_QUOTE):
            end = self._text.find(GEMMA_QUOTE, self._at)
            if end < 0:
                raise ValueError("a string without an end")
            text, self._at = self._text[self._at : end], end + len(GEMMA_QUOTE)
            return text
        self._skip()
        quoted = _STRING.match(self._text, self._at)
        if quoted is None:
            return None
        if not quoted[quoted.lastindex or 0]:
            raise ValueError("a string without an end")
        self._at = quoted.end()
        return _whole(_ESCAPE.sub(_unescaped, quoted[1] or quoted[3] or ""))

    def _takes(self, text: str) -> bool:
        self._skip()
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _must(self, text: str) -> None:
        if not self._takes(text):
            raise ValueError(f"{text} is missing")

    def _match(self, pattern: re.Pattern[str], *, is_needed: bool = True) -> str:
        self._skip()
        found = pattern.match(self._text, self._at)
        if found is None:
            if is_needed:
                raise ValueError("nothing that could stand here")
            return ""
        self._at = found.end()
        return found[0]

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise ValueError("something follows")


def _number(text: str) -> int | float:
    value = json.loads(text) if not text.endswith(".") else float(text)
    if not isinstance(value, int | float) or value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is no number")
    return value


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape)


def _whole(text: str) -> str:
    """Pairs of surrogates are one character, and one alone is none."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
