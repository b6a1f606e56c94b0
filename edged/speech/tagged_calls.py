"""Calls with a tag per parameter: Qwen3-Coder and its kin, Seed, MiniMax, DeepSeek V3.2, GLM, MiniCPM5.

What a value is, the format does not say: the tool's schema does. Formats: llama.cpp's common/parsers/qwen3-coder.cpp,
deepseek.cpp and minicpm5.cpp, and the templates of these models in its models/templates/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from edged.speech.calls import LONGEST_NAME, Report, is_name
from edged.speech.literals import python_value
from edged.speech.scanner import Reading, Scanner

_CDATA, _CDATA_END = "<![CDATA[", "]]>"


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """A tag per parameter: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`.

    Without `call_open` the name follows `open`. `key_ends` end a key; a value behind the first of them is what the
    schema says it is, one behind the second a string, behind the third JSON. `value_space` stands around a value;
    where it `has_cdata` a value may be quoted as XML has it.
    """

    open: str
    close: str
    call_open: str
    name_end: str
    call_close: str
    key_open: str
    key_ends: tuple[str, ...]
    value_close: str
    value_open: str = ""
    value_space: str = ""
    has_cdata: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call."""
        return (self.open,)

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        every = (self.open, self.close, self.call_close, self.key_open, self.value_close, self.value_open)
        return tuple(marker for marker in (*every, *self.key_ends) if marker.startswith(("<", "[")))

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`."""
        scanner, is_first = report.scanner, True
        while True:
            yield from scanner.space()
            if self.call_open and not (yield from scanner.take(self.call_open)):
                break
            if not (yield from self._call(report)):
                return False
            report.commit()
            is_first = False
            if not self.call_open:
                break
        if is_first:
            return False
        yield from scanner.take(*filter(None, (self.close,)))
        return True

    def _call(self, report: Report) -> Reading[bool]:
        scanner = report.scanner
        name = yield from self._name(report)
        if not is_name(name):
            return False
        report.open(name)
        separator = "{"
        while True:
            yield from scanner.space()
            if not (yield from scanner.take(self.key_open)):
                break
            key, key_end = yield from scanner.captured(*self.key_ends, most=LONGEST_NAME)
            if self.value_open:
                yield from scanner.space()
            if not key_end or (self.value_open and not (yield from scanner.take(self.value_open))):
                return False
            text, end = yield from self._text(scanner)
            start = separator + json.dumps(key.strip(), ensure_ascii=False) + ":"
            if not end:
                report.write(start + json.dumps(text.removeprefix(self.value_space), ensure_ascii=False)[:-1])
                return False
            report.write(start + self._value(text, key_end, report.types(name, key.strip())))
            separator = ","
        if not (yield from scanner.take(self.call_close or self.close)):
            return False
        report.write("{}" if separator == "{" else "}")
        report.close()
        return True

    def _text(self, scanner: Scanner) -> Reading[tuple[str, str]]:
        if not self.has_cdata or not (yield from scanner.take(_CDATA)):
            return (yield from scanner.captured(self.value_close))
        text, end = yield from scanner.captured(_CDATA_END)
        yield from scanner.space()
        yield from scanner.take(self.value_close)
        return text, end

    def _name(self, report: Report) -> Reading[str]:
        if self.name_end:
            name, end = yield from report.scanner.captured(self.name_end, most=LONGEST_NAME)
            return name.strip() if end else ""
        return (yield from _word(report.scanner))

    def _value(self, text: str, key_end: str, types: frozenset[str]) -> str:
        text = text.removeprefix(self.value_space).removesuffix(self.value_space)
        if len(self.key_ends) > 1:
            types = frozenset({"string"}) if key_end == self.key_ends[1] else types - {"string"}
        return typed(text, types)


def _word(scanner: Scanner) -> Reading[str]:
    word = ""
    while is_name(word + (following := (yield from scanner.peek()))) and following:
        word += following
        scanner.at += 1
    return word


def typed(text: str, types: frozenset[str]) -> str:
    """A parameter's text as JSON: what the schema allows, or a string where it is nothing else."""
    if types != {"string"}:
        value = _json(text.strip())
        if value is not None and (not types or _kind(value) & types):
            return value
    return json.dumps(text, ensure_ascii=False)


def _json(text: str) -> str | None:
    """`text` where it is JSON, or as JSON where it is Python, as some templates write values; None for a string."""
    if text.startswith(('"', "'")):
        return None
    pieces: list[str] = []
    scanner = Scanner()
    scanner.feed(text)
    scanner.is_over = True
    if _run(scanner.json(pieces.append)) and scanner.at == len(text):
        return "".join(pieces)
    try:
        return json.dumps(python_value(text), ensure_ascii=False)
    except ValueError:
        return None


def _run(reading: Reading[bool]) -> bool:
    """The outcome of a reading that need not wait."""
    try:
        next(reading)
    except StopIteration as over:
        return bool(over.value)
    raise AssertionError("all of the text is there")


def _kind(value: str) -> frozenset[str]:
    kinds = {"{": "object", "[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}
    if value[0] in kinds:
        return frozenset({kinds[value[0]]})
    return frozenset({"number"} if any(sign in value for sign in ".eE") else {"number", "integer"})
