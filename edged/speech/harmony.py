"""gpt-oss: a reply is messages, each in a channel.

    <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json
    <|message|>{…}<|call|>

Format: llama.cpp's common/parsers/gpt-oss.cpp and models/templates/openai-gpt-oss-120b.jinja. The recipient may stand
in front of the channel too. `<|call|>` and `<|return|>` end a generation and are never seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edged.chat import Tool
from edged.speech.reply import Parser, ThoughtTags
from edged.speech.scanner import Reading

START, CHANNEL, MESSAGE, END, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>"
RETURN, CALL = "<|return|>", "<|call|>"
MARKERS = (START, CHANNEL, MESSAGE, END, CONSTRAIN)
FINAL = f"{CHANNEL}final{MESSAGE}"
HEADERS = (START, CHANNEL, " to=")
THOUGHT = ThoughtTags(f"{CHANNEL}analysis{MESSAGE}", END, next=f"{START}assistant")
_ENDS = (END, RETURN, CALL, START)
_RECIPIENT = re.compile(r"\bto=functions\.([\w.:\-/]+)")
_LONGEST_HEADER = 512


class HarmonyParser(Parser):
    """Reads one reply of gpt-oss."""

    def __init__(self, tools: Sequence[Tool], new_id: Callable[[], str], *, is_thinking: bool) -> None:
        self._is_thinking = is_thinking
        super().__init__(tools, new_id)

    def _read(self) -> Reading[None]:
        scanner = self.scanner
        if self._is_thinking:
            yield from self._message(is_thought=True)
        while (yield from scanner.peek()):
            scanner.mark = scanner.at
            if (yield from scanner.take(*HEADERS)):
                yield from self._headed()
            else:
                scanner.mark = None
                yield from self._message(is_thought=False)

    def _headed(self) -> Reading[None]:
        """A message behind its header; one that is none is shown as it was written."""
        scanner = self.scanner
        assert scanner.mark is not None
        scanner.at = scanner.mark
        header, end = yield from scanner.captured(MESSAGE, most=_LONGEST_HEADER)
        if not end:
            yield from scanner.take(*HEADERS)
            self._show_uncommitted()
            yield from self._message(is_thought=False)
            return
        recipient = _RECIPIENT.search(header)
        if recipient is not None and recipient[1] in self._tools:
            yield from self._called(recipient[1])
            return
        if "to=" in header and "to=assistant" not in header:
            self._show_uncommitted()
        scanner.mark = None
        yield from self._message(is_thought=f"{CHANNEL}analysis" in header)

    def _called(self, name: str) -> Reading[None]:
        scanner = self.scanner
        yield from scanner.space()
        if (yield from scanner.peek()) != "{":
            self._show_uncommitted()
            yield from self._message(is_thought=False)
            return
        self.open(name)
        if (yield from scanner.json(self.write)):
            self.close()
            scanner.mark = None
            yield from scanner.space()
            yield from scanner.take(*_ENDS[:3])
            return
        self._show_uncommitted()
        yield from self._message(is_thought=False)

    def _message(self, *, is_thought: bool) -> Reading[None]:
        scanner = self.scanner
        end = yield from scanner.until(_ENDS, self._think if is_thought else self._say)
        scanner.mark = None
        if end == START:
            scanner.at -= len(START)
