"""A schema as llguidance can follow it: older words become newer ones, a lenient schema loses what cannot be held to.

llguidance leaves out of a lenient schema the keywords that it does not know, but refuses what it knows and cannot do:
look-around and references back in patterns (zod's pattern of an email has both kinds of the former), bounds near the
ends of 64 bits (as programs write them that derive schemas from their types), names by patterns that overlap, and
`minProperties` beside properties that may be missing. In draft 4, which OpenAPI 3.0 goes by, `exclusiveMinimum` is a
truth beside `minimum`; llguidance took no notice of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

# Whether a schema, alone, can be followed.
Takes: TypeAlias = Callable[[dict[str, Any]], bool]

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# Values with which a keyword says nothing; zod writes the first for every record. llguidance knows none of these words.
_NOTHING_SAID: dict[str, tuple[Any, ...]] = {
    "propertyNames": ({"type": "string"}, {}, True),
    "uniqueItems": (False,),
    "unevaluatedProperties": ({}, True),
    "unevaluatedItems": ({}, True),
}
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NESTED = ("items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else")


def modern(schema: Any) -> Any:
    """`schema` in the words of draft 2020-12, as far as llguidance would misread it, without those that say nothing."""
    return _changed(schema, _modern)


def relaxed(schema: Any, takes: Takes) -> Any:
    """`schema` without what `takes` refuses of it and a lenient one may therefore leave to the model."""
    return _changed(schema, lambda node: _without_names(_without_bounds(_without_pattern(node, takes), takes), takes))


def _changed(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Every schema in `schema` as `change` has it; what stands in a const, an enum or an example is none."""
    if not isinstance(schema, dict):
        return schema
    node = dict(schema)
    for key in _NAMED:
        if isinstance(inner := node.get(key), dict):
            node[key] = {name: _changed(one, change) for name, one in inner.items()}
    for key in _LISTED:
        if isinstance(inner := node.get(key), list):
            node[key] = [_changed(one, change) for one in inner]
    for key in _NESTED:
        if isinstance(inner := node.get(key), dict):
            node[key] = _changed(inner, change)
    return change(node)


def _modern(node: dict[str, Any]) -> dict[str, Any]:
    node = _without(node, *(key for key, values in _NOTHING_SAID.items() if key in node and node[key] in values))
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(is_exclusive := node.get(exclusive), bool):
            node = _without(node, exclusive)
            if is_exclusive and bound in node:
                node = _without(node, bound) | {exclusive: node[bound]}
    return node


def _without_pattern(node: dict[str, Any], takes: Takes) -> dict[str, Any]:
    if isinstance(pattern := node.get("pattern"), str) and not takes({"type": "string", "pattern": pattern}):
        return _without(node, "pattern")
    return node


def _without_bounds(node: dict[str, Any], takes: Takes) -> dict[str, Any]:
    """Both ends of a range go: what is near the end of 64 bits bounds nothing."""
    bounds = {key: node[key] for key in _BOUNDS if key in node}
    types = [kind for kind in ("integer", "number") if kind in _types(node)]
    if bounds and types and not all(takes({"type": kind, **bounds}) for kind in types) and _is_range(bounds):
        return _without(node, *bounds)
    return node


def _without_names(node: dict[str, Any], takes: Takes) -> dict[str, Any]:
    names = node.get("patternProperties")
    if isinstance(names, dict) and not takes({"type": "object", "patternProperties": dict.fromkeys(names, True)}):
        # Without the patterns nobody knows which others are allowed.
        node = _without(node, "patternProperties", "additionalProperties")
    least, required = node.get("minProperties"), node.get("required", [])
    if isinstance(least, int) and isinstance(required, list) and least > len(required):
        is_closed = node.get("additionalProperties") is False and not node.get("patternProperties")
        return _without(node, "minProperties") if is_closed and least > 1 else node
    return node


def _is_range(bounds: dict[str, Any]) -> bool:
    """Whether there is any number between these: nobody's bounds are dropped because they contradict each other."""
    lows = [bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds]
    highs = [bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds]
    return all(map(_is_number, (*lows, *highs))) and (not lows or not highs or max(lows) < min(highs))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _types(node: dict[str, Any]) -> Iterable[str]:
    types = node.get("type", ["number"])
    return types if isinstance(types, list) else [types] if isinstance(types, str) else []


def _without(node: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}
