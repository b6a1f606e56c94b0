"""What of a JSON schema is refused before anything compiles it: patterns that one value must match all at once.

llguidance intersects them, and the intersection of n regular expressions can have 2ⁿ states. Its own limits count
states and not the work of making one: 18 patterns took 0.6 s, 22 took more than 8 s and 0.6 GB (llguidance 1.9.1, x86).
All of them together are counted, however they come together: `allOf`, `$ref`, `anyOf` beside other keywords, properties
of the same name. Patterns of different values, and alternatives, are not limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST_COMBINED_PATTERNS = 12
_PATTERNS = ("pattern", "format", "multipleOf")
_ALTERNATIVES = ("anyOf", "oneOf")
# These say nothing about the value beside them.
_SILENT = frozenset(
    {"$defs", "definitions", "$id", "$schema", "$comment", "title", "description", "default", "examples"}
)


def most_combined_patterns(schema: Any) -> int:
    """The most patterns that may have to hold for one value together; an upper bound."""
    counts = _Counts(schema)
    return max((counts.patterns(node) for node in _nodes(schema) if _is_combined(node)), default=0)


class _Counts:
    """Patterns below each part of one schema, references followed; each part is counted once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._all = sum(key in node for node in _nodes(root) for key in _PATTERNS)

    def patterns(self, node: Any) -> int:
        """How many patterns `node` holds, capped just above what is allowed: they may double at every reference."""
        if not isinstance(node, dict | list):
            return 0
        if id(node) not in self._known:
            self._known[id(node)] = 0  # a reference back to itself adds nothing
            self._known[id(node)] = min(self._below(node), MOST_COMBINED_PATTERNS + 1)
        return self._known[id(node)]

    def _below(self, node: dict[str, Any] | list[Any]) -> int:
        if isinstance(node, list):
            return sum(map(self.patterns, node))
        own = sum(key in node for key in _PATTERNS)
        below = sum(self.patterns(value) for key, value in node.items() if key not in _SILENT)
        return own + below + self._referred(node.get("$ref"))

    def _referred(self, reference: Any) -> int:
        if not isinstance(reference, str):
            return 0
        pointer = reference.removeprefix("#")
        if pointer and not pointer.startswith("/"):
            return self._all  # by a name of its own: wherever that is, it is in here
        node = self._root
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                return 0  # nowhere: llguidance will say so
        return self.patterns(node)


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _is_combined(node: dict[str, Any]) -> bool:
    """Whether what `node` says of a value comes from more than one place."""
    members = node.get("allOf")
    sources = len(members) if isinstance(members, list) else 0
    sources += sum(key in node for key in (*_ALTERNATIVES, "$ref"))
    others = node.keys() - _SILENT - {"allOf", *_ALTERNATIVES, "$ref"}
    return sources + bool(others) > 1 and sources > 0
