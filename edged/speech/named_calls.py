"""Calls whose name stands between markers, with arguments in JSON: Mistral, DeepSeek, Kimi K2, Functionary.

Formats: llama.cpp's common/parsers/ministral3.cpp and kimi-k2.cpp, and the templates of these models in its
models/templates/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.speech.calls import LONGEST_NAME, Report, is_name
from edged.speech.scanner import Reading


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A name between markers, then its arguments as JSON: `[TOOL_CALLS]name[ARGS]{…}` and its kin.

    `open` announces one call or, where there is a `call_open`, a section of them. `before_name` and `behind_arguments`
    are what the template writes around; in front of the name there may be anything up to `name_behind`.
    """

    open: str
    name_end: str
    close: str = ""
    call_open: str = ""
    call_close: str = ""
    name_behind: str = ""
    before_name: str = ""
    id_open: str = ""
    behind_name: str = ""
    behind_arguments: str = ""
    name_is_id: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        """What announces a call; a section's first marker may be forgotten."""
        return (self.open, self.call_open) if self.call_open else (self.open,)

    @property
    def markers(self) -> tuple[str, ...]:
        """All that may be control tokens."""
        every = (*self.openers, self.name_end, self.close, self.call_close, self.name_behind, self.id_open)
        return tuple(marker for marker in every if marker.strip())

    def read(self, report: Report, opener: str) -> Reading[bool]:
        """Read what follows `opener`."""
        scanner, is_first = report.scanner, True
        while True:
            yield from scanner.space()
            is_announced = is_first and opener == (self.call_open or self.open)
            if not is_announced and not (self.call_open and (yield from scanner.take(self.call_open))):
                break
            if not (yield from self._call(report)):
                return False
            report.commit()
            is_first = False
        if is_first:
            return False
        yield from scanner.take(*filter(None, (self.close,)))
        return True

    def _call(self, report: Report) -> Reading[bool]:
        scanner, id = report.scanner, ""
        ends = tuple(filter(None, (self.name_end, self.id_open, self.name_behind)))
        name, end = yield from scanner.captured(*ends, most=LONGEST_NAME)
        if self.name_behind and end == self.name_behind:
            name, end = yield from scanner.captured(self.name_end, most=LONGEST_NAME)
        if self.id_open and end == self.id_open:
            id, end = yield from scanner.captured(self.name_end, most=LONGEST_NAME)
        name = name.strip()
        if self.name_is_id:
            id, name = name, re.sub(r":[0-9]+$", "", name.removeprefix(self.before_name))
        if not end or not is_name(name):
            return False
        yield from scanner.take(*filter(None, (self.behind_name,)))
        yield from scanner.space()
        if (yield from scanner.peek()) != "{":
            return False
        report.open(name, id.strip())
        if not (yield from scanner.json(report.write)):
            return False
        report.close()
        yield from scanner.space()
        for closing in (self.behind_arguments, self.call_close):
            yield from scanner.take(*filter(None, (closing.strip(),)))
            yield from scanner.space()
        return True
