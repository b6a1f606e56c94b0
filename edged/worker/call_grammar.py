"""A grammar that knows markers and JSON schemas, as a tree: it becomes Lark for one vocabulary.

    {"start": node, "rules": {name: node}}

    {"text": "…"}                       exactly that
    {"marker": "…"}                     the same, but where this vocabulary has control tokens in it those are meant
    {"regex": "…"}
    {"schema": {…}, "is_lenient": …}    JSON of a schema
    {"any": […]}  {"all": […]}          alternatives, a sequence
    {"repeat": node, "least": n, "most": n | null}
    {"until": "…"}                      any text, and the marker that ends it
    {"rule": name}

The daemon writes it and does not know which markers are control tokens. The schemas in it are strangers': they are
screened like any other. Lark with these extensions: llguidance's docs/syntax.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edged.worker.followable import Takes, modern, relaxed
from edged.worker.schema import check

# As much as a hundred tools of ordinary use take; what it costs to follow grows faster than its text.
MOST_BYTES = 256 * 1024
_ANY_TEXT = r"/(?s:.*)/"
_ESCAPED = re.compile(r"\\[^\n\r]|[/\n\r]")
_ESCAPES = {"/": r"\/", "\n": r"\n", "\r": r"\r"}
_CLOSED = re.compile(r"(?:\\[^\n\r]|[^/\\\n\r])+")
_OWN_OPTIONS = "x-guidance"


def to_lark(text: str, controls: Mapping[str, int], white_space: str, takes: Takes) -> str:
    """`text` for a vocabulary with these control tokens; `white_space` may stand in JSON. Raises `ValueError`.

    What a lenient schema says that `takes` refuses is left to the model.
    """
    if (size_bytes := len(text.encode())) > MOST_BYTES:
        raise ValueError(f"the tools' schemas have {size_bytes} bytes; at most {MOST_BYTES} are followed")
    tree = json.loads(text)
    writer = _Writer(controls, white_space, takes)
    rules = [f"{_named(name)}: {writer.expression(node)}" for name, node in tree["rules"].items()]
    start = writer.expression(tree["start"])
    return "\n".join(["%llguidance {}", f"start: {start}", *rules, *writer.rules])


def _named(name: str) -> str:
    return f"named_{name}"


class _Writer:
    """Writes expressions; what needs a rule of its own becomes one of `rules`, once."""

    def __init__(self, controls: Mapping[str, int], white_space: str, takes: Takes) -> None:
        self._names: dict[str, str] = {}
        self._controls = controls
        self._white_space = white_space
        self._takes = takes
        longest_first = sorted(controls, key=len, reverse=True)
        self._control = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if controls else r"(?!)")

    @property
    def rules(self) -> list[str]:
        """Those that the expressions so far refer to."""
        return [name + rule for rule, name in self._names.items()]

    def expression(self, node: dict[str, Any]) -> str:
        """`node` in Lark."""
        match node:
            case {"text": str(text)}:
                return _quoted(text)
            case {"marker": str(text)}:
                return self._marker(text)
            case {"regex": str(pattern)}:
                return self._rule(_regex(pattern))
            case {"schema": schema, "is_lenient": bool(is_lenient)}:
                return self._schema(schema, is_lenient)
            case {"any": list(nodes)}:
                return "(" + " | ".join(map(self.expression, nodes)) + ")"
            case {"all": list(nodes)}:
                return " ".join(filter(None, map(self.expression, nodes)))
            case {"repeat": inner, "least": int(least), "most": most}:
                return f"({self.expression(inner)}){_times(least, most)}"
            case {"until": str(marker)}:
                return self._until(marker)
            case {"rule": str(name)}:
                return _named(name)
            case _:
                raise ValueError(f"a grammar holds {json.dumps(node)[:80]}")

    def _rule(self, body: str, options: str = "") -> str:
        rule = f"{options}: {body}"
        if rule not in self._names:
            self._names[rule] = f"rule_{len(self._names)}"
        return self._names[rule]

    def _marker(self, text: str) -> str:
        parts = filter(None, self._control.split(text))
        return " ".join(f"<[{self._controls[part]}]>" if part in self._controls else _quoted(part) for part in parts)

    def _until(self, marker: str) -> str:
        if marker in self._controls:
            return f"{self._rule(_ANY_TEXT)} {self._marker(marker)}"
        return self._rule(_ANY_TEXT, f"[suffix={_quoted(marker)}]")

    def _schema(self, schema: Any, is_lenient: bool) -> str:
        if isinstance(schema, dict) and _OWN_OPTIONS in schema:
            raise ValueError(f"{_OWN_OPTIONS} is not taken; white space and separators are given")
        check(schema)
        schema = relaxed(modern(schema), self._takes) if is_lenient else modern(schema)
        if not isinstance(schema, dict):
            schema = {} if schema else {"not": {}}
        options = {"whitespace_pattern": self._white_space, "lenient": is_lenient}
        return self._rule("%json " + json.dumps({**schema, _OWN_OPTIONS: options}, ensure_ascii=False))


def _regex(pattern: str) -> str:
    """A pattern, also a stranger's, between slashes that it cannot end."""
    inside = _ESCAPED.sub(lambda found: found[0] if len(found[0]) == 2 else _ESCAPES[found[0]], pattern)
    if not _CLOSED.fullmatch(inside):
        raise ValueError("the regular expression is empty, or ends with half an escape")
    return f"/{inside}/"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"
