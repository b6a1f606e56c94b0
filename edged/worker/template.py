"""The template child: `python -m edged.worker.template DESCRIPTOR` lays out conversations with a model's own template.

A chat template is a program from a stranger. Jinja's sandbox keeps it away from Python's attributes, but not from the
processor or the memory, so it runs in this process, which may grow by 64 MiB and is killed by the daemon after two
seconds; the process that decodes never sees it.

What a person typed must not become control tokens. Before rendering, an invisible sentinel goes behind the first
character of everything in a message that is, or ends as, the beginning of a control token; afterwards what stands
behind a sentinel is marked literal and the sentinel vanishes. Text without such traces is not touched at all. The
sentinel sits inside the text, not around it, so a template may trim, slice, split or compare its ends as it likes;
and because a control token's first character always carries the mark, joining pieces of messages cannot assemble one
unseen.

    user   "hi <|im_start|>system"   ─▶ "hi <‸|im_start|>system" ─▶ template ─▶ [… "hi "] ["<|im_start|>"] ["system" …]
                                                                                          └── literal ──┘
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from edged.chat import ReasoningEffort, Tool
from edged.framing import WireError
from edged.template_wire import Capabilities, Compiled, Refused, Render, Rendered, Span, Started, Template, Turn
from edged.worker.capabilities import USER, Variables, probed
from edged.worker.confine import confine
from edged.worker.conversation import normalised
from edged.worker.message import filled, message, tool_schema, typed
from edged.worker.pipe import Pipe

MEMORY_BYTES = 64 * 1024 * 1024
# Private-use characters (Unicode plane 15) that no vocabulary spends a token on; the first that a conversation does
# not contain serves as its sentinel, so a person cannot forge one.
_SENTINELS = tuple(map(chr, range(0xF0000, 0xF0010)))
_NOT_ASCII = re.compile(f"[^\x00-\x7f{_SENTINELS[0]}-{_SENTINELS[-1]}]")
# As `repr` prints them: behind an even number of backslashes, so that a person who types one forges nothing.
_ESCAPED_SENTINEL = re.compile(r"(?<!\\)((?:\\\\)*)\\U(000f000[0-9a-f])")
_LONGEST_OBJECTION = 500  # characters; a sentence, and not a page of the conversation
# A template is foreign code: whatever it raises is its own answer. What is not an answer (no memory, no time) ends this
# process, and the daemon knows what that means.
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, AttributeError)


class Marks:
    """The control tokens of one vocabulary, as something to look for in what people type."""

    def __init__(self, controls: Iterable[str]) -> None:
        self._controls = frozenset(controls)
        self._beginnings = frozenset(control[:n] for control in self._controls for n in range(1, len(control) + 1))
        self._lengths = sorted({len(control) for control in self._controls}, reverse=True)
        firsts = "".join(sorted({control[0] for control in self._controls}))
        self._first = re.compile(f"[{re.escape(firsts)}]" if firsts else r"(?!)")

    def mark(self, text: str, sentinel: str) -> str:
        """`text` with the sentinel behind the first character of every control token, finished or cut off at the end.

        Cut off means: nothing but white space follows, which a template may trim before it appends something else.
        """
        end = len(text.rstrip())
        return self._first.sub(lambda found: found[0] + sentinel * self._is_suspect(text, found.start(), end), text)

    def spans(self, rendered: str, sentinel: str) -> Iterator[Span]:
        """The rendered prompt without sentinels; control tokens that carried one are literal."""
        pieces = rendered.split(sentinel)
        text = "".join(pieces)
        done = 0
        for behind in accumulate(len(piece) for piece in pieces[:-1]):
            start = max(behind - 1, done)  # control tokens may overlap: the literal runs join
            end = max(behind - 1 + len(self._match(text, behind - 1)), done)
            yield from (Span(text[done:start]), Span(text[start:end], literal=True))
            done = end
        yield Span(text[done:])

    def _is_suspect(self, text: str, at: int, end: int) -> bool:
        is_cut_off = end - at <= self._lengths[0] and text[at:end] in self._beginnings
        return is_cut_off or bool(self._match(text, at))

    def _match(self, text: str, at: int) -> str:
        """The longest control token at `at`, or nothing."""
        return next((text[at : at + n] for n in self._lengths if text[at : at + n] in self._controls), "")


class _Generation(Extension):
    """`{% generation %}` marks the words of the assistant for training (transformers); here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it as an instance variable

    def parse(self, parser: Parser) -> list[Node]:
        """The statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Renderer:
    """One model's template, compiled."""

    def __init__(self, template: Template) -> None:
        """Raises jinja2's `TemplateError` for a template that does not compile."""
        # Not the immutable sandbox: templates append to lists (Kimi K2), and what they are given is made each time.
        environment = SandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], autoescape=False
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        self._template = environment.from_string(template.source)
        self._names = {"bos_token": template.bos, "eos_token": template.eos, "add_generation_prompt": True}
        self._marks = Marks(template.controls)
        plain = self._template.render(messages=[{"role": "user", "content": USER}], **self._names, **_extra(()))
        self.capabilities, self._switches = probed(self._tried, takes_strings=USER in plain)

    def render(
        self,
        turns: Iterable[Turn],
        tools: Iterable[Tool] = (),
        thinks: bool | None = None,
        effort: ReasoningEffort | None = None,
    ) -> tuple[Span, ...]:
        """The prompt for `turns` with the assistant's turn opened. Raises jinja2's `TemplateError`."""
        said, offered = normalised(turns, tuple(tools), self.capabilities)
        variables = self._switches.variables(thinks, effort)
        try:
            return self._render(said, offered, variables)
        except _TEMPLATE_ERRORS:
            if not offered:
                raise
        return self._render(said, tuple(filled(tool) for tool in offered), variables)

    def _render(self, said: tuple[Turn, ...], offered: tuple[Tool, ...], variables: Variables) -> tuple[Span, ...]:
        sentinel = _unused(typed(said, offered))

        def mark(text: str) -> str:
            return _Marked(self._marks.mark(text, sentinel))

        rendered = self._lay_out(said, offered, self.capabilities, variables, mark)
        return tuple(span for span in self._marks.spans(rendered, sentinel) if span.text)

    def _tried(self, turns: tuple[Turn, ...], tools: Sequence[Tool], can: Capabilities, variables: Variables) -> str:
        try:
            return self._lay_out(*normalised(turns, tools, can), can, variables, mark=str)
        except _TEMPLATE_ERRORS:
            return ""

    def _lay_out(
        self,
        turns: tuple[Turn, ...],
        tools: tuple[Tool, ...],
        can: Capabilities,
        variables: Variables,
        mark: Callable[[str], str],
    ) -> str:
        messages = [message(turn, can, mark) for turn in turns]
        schemas = [tool_schema(tool, mark) for tool in tools]
        return self._template.render(messages=messages, **self._names, **_extra(schemas), **variables)


def _extra(schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The tools under the names that templates know, and the day for those that ask for it so (Firefunction)."""
    functions = json.dumps(schemas, ensure_ascii=False, indent=4) if schemas else ""
    names = {"functions": functions, "datetime": _strftime_now("%b %d %Y")}
    return names | {"tools": schemas} if schemas else names


class _Marked(str):
    """Text whose sentinels stay what they are where Python prints it inside of a list or an object."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _ESCAPED_SENTINEL.sub(lambda found: found[1] + chr(int(found[2], 16)), super().__repr__())


def _unused(said: Iterable[str]) -> str:
    everything = "".join(said)
    lowered = everything.lower()  # JSON may hold a sentinel as an escape, in letters of either case
    for candidate in _SENTINELS:
        if candidate not in everything and json.dumps(candidate)[1:-1] not in lowered:
            return candidate
    raise TemplateError("the conversation uses every reserved private-use character U+F0000 to U+F000F")


def _to_json(
    value: Any,
    indent: int | None = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
    **_ignored: Any,
) -> str:
    """Plain JSON: jinja2's own filter escapes for HTML, which no model was trained on. Sentinels are never escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=separators, sort_keys=sort_keys)
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text) if ensure_ascii else text


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def answer(renderer: Renderer, wanted: Render) -> Rendered | Refused:
    """One rendering, or the template's own objection."""
    try:
        return Rendered(wanted.id, renderer.render(wanted.turns, wanted.tools, wanted.thinks, wanted.effort))
    except _TEMPLATE_ERRORS as error:
        return _refused(wanted.id, error)


def _refused(id: int, error: Exception) -> Refused:
    words = str(error) or type(error).__name__
    return Refused(id, words if len(words) <= _LONGEST_OBJECTION else words[:_LONGEST_OBJECTION] + "…")


def serve(pipe: Pipe) -> None:
    """Compile the template that comes first, then render until the daemon hangs up (`EOFError`)."""
    template, *frames = pipe.receive(wait=True)
    if not isinstance(template, Template):
        raise TypeError(f"a template process begins with Template, not {type(template).__name__}")
    try:
        renderer = Renderer(template)
    except _TEMPLATE_ERRORS as error:
        pipe.send(_refused(0, error))
        return
    pipe.send(Compiled(renderer.capabilities))
    while True:
        for frame in frames:
            if not isinstance(frame, Render):
                raise TypeError(f"a template process renders; it does not take {type(frame).__name__}")
            try:
                pipe.send(answer(renderer, frame))
            except (WireError, UnicodeEncodeError) as error:  # too long, or half a surrogate pair out of JSON's escapes
                pipe.send(_refused(frame.id, error))
        frames = pipe.receive(wait=True)


def main() -> int:
    """Serve until the daemon hangs up."""
    confine(extra_memory_bytes=MEMORY_BYTES)
    try:
        pipe = Pipe(int(sys.argv[1]))
        pipe.send(Started())
        serve(pipe)
    except (EOFError, ConnectionError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
