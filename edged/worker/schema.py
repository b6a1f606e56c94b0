"""What of a JSON schema is refused before anything compiles it, because nothing could stop the compiler.

**Patterns that one value must match all at once.** llguidance intersects them, and the intersection of n regular
expressions can have 2ⁿ states. Its own limits count states and not the work of making one: 18 patterns took 0.6 s, 22
took more than 8 s and 0.6 GB (llguidance 1.9.1, x86). All of them together are counted, however they come together:
`allOf`, `$ref`, `anyOf` beside other keywords, properties of the same name. Patterns of different values, and
alternatives, are not limited.

**Divisors.** `multipleOf` becomes an automaton with a state for each remainder, built at once: 99,991 took 0.9 s and
50 MB, 999,983 11 s and 0.4 GB, 123,456,789 did not end. Factors of 2 and 5 cost next to nothing. What applies to one
value together has as many states as the least common multiple.

**Names by pattern.** `patternProperties` are compared each with each: 500 of them took 17 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

MOST_COMBINED_PATTERNS = 12
MOST_REMAINDERS = 100_000
MOST_PATTERN_PROPERTIES = 128
_PATTERNS = ("pattern", "format", "multipleOf")
_ALTERNATIVES = ("anyOf", "oneOf")
# These say nothing about the value beside them.
_SILENT = frozenset(
    {"$defs", "definitions", "$id", "$schema", "$comment", "title", "description", "default", "examples"}
)


def check(schema: Any) -> None:
    """Raises `ValueError` with what is too much."""
    if most_combined_patterns(schema) > MOST_COMBINED_PATTERNS:
        raise ValueError(f"the schema combines more than {MOST_COMBINED_PATTERNS} patterns for one value")
    if remainders(schema) > MOST_REMAINDERS:
        raise ValueError(f"its multipleOf need more than {MOST_REMAINDERS} remainders, factors of 2 and 5 left aside")
    if (names := _pattern_properties(schema)) > MOST_PATTERN_PROPERTIES:
        raise ValueError(f"it has {names} patternProperties; at most {MOST_PATTERN_PROPERTIES} are taken")


def most_combined_patterns(schema: Any) -> int:
    """The most patterns that may have to hold for one value together; an upper bound."""
    counts = _Counts(schema, lambda node: sum(key in node for key in _PATTERNS), sum, MOST_COMBINED_PATTERNS)
    return max((counts.below(node) for node in _nodes(schema) if _is_combined(node)), default=0)


def remainders(schema: Any) -> int:
    """How many remainders have to be told apart, all divisors together; an upper bound."""
    counts = _Counts(schema, _divisor, lambda divisors: math.lcm(*divisors), MOST_REMAINDERS)
    alone = sum(_divisor(node) for node in _nodes(schema) if "multipleOf" in node)
    return alone + sum(counts.below(node) for node in _nodes(schema) if _is_combined(node) and counts.below(node) > 1)


def _divisor(node: dict[str, Any]) -> int:
    """The remainders of this node's own `multipleOf`; 1 where there is none, or none that llguidance would take."""
    value = node.get("multipleOf")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 1
    try:
        digits = int("".join(map(str, Decimal(str(value)).as_tuple().digits)))
    except (InvalidOperation, ValueError):
        return 1
    for factor in (2, 5):
        while digits and digits % factor == 0:
            digits //= factor
    return max(1, digits)


def _pattern_properties(schema: Any) -> int:
    found = (node.get("patternProperties") for node in _nodes(schema))
    return sum(len(names) for names in found if isinstance(names, dict))


class _Counts:
    """What is below each part of one schema, references followed; each part is looked at once.

    `own` is a node's share, `join` puts shares together; a sum is capped just above `most`: it may double at every
    reference.
    """

    def __init__(
        self, root: Any, own: Callable[[dict[str, Any]], int], join: Callable[[Iterable[int]], int], most: int
    ) -> None:
        self._root = root
        self._own = own
        self._join = join
        self._most = most
        self._known: dict[int, int] = {}
        self._nothing = join(())
        self._all = min(join([own(node) for node in _nodes(root)]), most + 1)

    def below(self, node: Any) -> int:
        """The share of `node` and everything in it."""
        if not isinstance(node, dict | list):
            return self._nothing
        if id(node) not in self._known:
            self._known[id(node)] = self._nothing  # a reference back to itself adds nothing
            self._known[id(node)] = min(self._joined(node), self._most + 1)
        return self._known[id(node)]

    def _joined(self, node: dict[str, Any] | list[Any]) -> int:
        if isinstance(node, list):
            return self._join([self.below(item) for item in node])
        inside = [self.below(value) for key, value in node.items() if key not in _SILENT]
        return self._join([self._own(node), *inside, self._referred(node.get("$ref"))])

    def _referred(self, reference: Any) -> int:
        if not isinstance(reference, str):
            return self._nothing
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
                return self._nothing  # nowhere: llguidance will say so
        return self.below(node)


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
