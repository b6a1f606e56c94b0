"""Arguments that are not JSON, as a grammar: what a tool's schema allows, in a family's own notation.

Only what decides how a value is written is taken from a schema: types, properties, required, items, enum, const, and
the bounds of numbers and lists. Where it says more, JSON inside of these notations is held to it, and the rest is left
to the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edged.errors import InvalidRequest
from edged.speech.grammar import (
    Node,
    alternatives,
    joined,
    marker,
    maybe,
    regex,
    repeated,
    rule,
    schema,
    sequence,
    text,
    until,
)
from edged.speech.literals import GEMMA_QUOTE
from edged.speech.reply import types_of
from edged.speech.tagged_calls import TaggedCalls

_DEFINITIONS = ("$defs", "definitions")
# Deeper than tools' schemas nest; below that any value will do.
_MOST_DEPTH = 6
# Nodes of one tool's arguments. A definition that is used twice is written twice, one that uses itself twice in each of
# six levels 64 times: half a kilobyte can ask for gigabytes. Real tools have some dozens.
_MOST_NODES = 2000
_NODE_BYTES = 64  # about what one takes as text
# Parameters of a tool that does not say which it has.
_MOST_UNKNOWN = 16
# Longer lists are as good as unbounded, and each place costs the grammar.
_MOST_COUNTED = 1000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_KEY = regex(r"[A-Za-z_][\w\-]{0,63}")
_INTEGER = regex(r"-?(0|[1-9][0-9]{0,15})")
_NUMBER = regex(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")
_GEMMA_STRING = sequence(marker(GEMMA_QUOTE), until(GEMMA_QUOTE))
_GEMMA_PAIR = sequence(alternatives(_KEY, _GEMMA_STRING), text(":"), rule("value"))
_WORDS = {"boolean": ("true", "false"), "null": ("null",)}
# Any value in Gemma's notation.
ANY_VALUE = alternatives(
    _GEMMA_STRING,
    _NUMBER,
    *map(text, ("true", "false", "null")),
    sequence(text("["), joined(rule("value"), ",", 0, None), text("]")),
    sequence(text("{"), joined(_GEMMA_PAIR, ",", 0, None), text("}")),
)


@dataclass(slots=True)
class _Budget:
    """How much one tool's arguments may still come to."""

    left: int = _MOST_NODES

    def spend(self, nodes: int) -> None:
        """Raises `InvalidRequest` where it is too much."""
        self.left -= nodes
        if self.left < 0:
            raise InvalidRequest(
                "A tool's parameters are too many, or refer to each other too often, to hold a call to them. Send a "
                "smaller schema, or tool_choice: auto without strict.",
                param="tools",
            )


def tagged_parameters(format: TaggedCalls, whole: Any) -> Node:
    """A tag per parameter: those that are required, and any of the others, in the schema's order."""
    line = maybe(text("\n"))
    properties, required = _properties(whole)
    if not properties:
        key_open = sequence(text(format.key_open), _KEY, _key_end(format, is_string=True))
        value = sequence(key_open, until(format.value_space + format.value_close), line)
        return repeated(value, 0, _MOST_UNKNOWN) if _is_open(whole) else text("")
    nodes, budget = [], _Budget()
    for key, inner in properties.items():
        types = types_of(_resolved(inner, whole))
        head = sequence(text(format.key_open + key), _key_end(format, is_string="string" in types or not types))
        end = format.value_space + format.value_close
        if values := _texts(inner):
            body = sequence(alternatives(*map(text, values)), text(end))
        elif types and "string" not in types:
            body = sequence(schema(_with_definitions(inner, whole, budget)), text(end))
        else:
            body = until(end)
        node = sequence(head, body, line)
        nodes.append(node if key in required else maybe(node))
    return sequence(*nodes)


def _key_end(format: TaggedCalls, *, is_string: bool) -> Node:
    ends = format.key_ends
    end = ends[0] if len(ends) == 1 else ends[1 if is_string else 2]
    opening = [maybe(text("\n")), text(format.value_open)] if format.value_open else []
    return sequence(text(end), *opening, *([text(format.value_space)] if format.value_space else []))


def python_arguments(whole: Any) -> Node:
    """`key=value, …`; values are JSON, which llama.cpp takes for LFM2 too."""
    properties, required = _properties(whole)
    budget = _Budget()
    pairs = {
        key: sequence(text(f"{key}="), schema(_with_definitions(inner, whole, budget)))
        for key, inner in properties.items()
    }
    return _listed(pairs, required, ", ", budget)


def gemma_object(whole: Any) -> Node:
    """`{key:value,…}`."""
    return _gemma_object(whole, whole, 0, _Budget())


def _gemma_object(inner: Any, whole: Any, depth: int, budget: _Budget) -> Node:
    properties, required = _properties(inner)
    if not properties and _is_open(inner):
        return sequence(text("{"), joined(_GEMMA_PAIR, ",", 0, None), text("}"))
    pairs = {
        key: sequence(text(f"{key}:"), _gemma_value(one, whole, depth + 1, budget)) for key, one in properties.items()
    }
    return sequence(text("{"), _listed(pairs, required, ",", budget), text("}"))


def _gemma_value(inner: Any, whole: Any, depth: int, budget: _Budget) -> Node:
    budget.spend(1)
    inner = _resolved(inner, whole)
    types = types_of(inner)
    if not types or depth > _MOST_DEPTH:
        return rule("value")
    if values := _scalars(inner):
        return alternatives(*map(_gemma_scalar, values))
    nodes = []
    for kind in sorted(types):
        match kind:
            case "string":
                nodes.append(_GEMMA_STRING)
            case "integer" | "number":
                nodes.append(_bounded_number(kind, inner))
            case "boolean" | "null":
                nodes += map(text, _WORDS[kind])
            case "array":
                item = _gemma_value(inner.get("items", {}), whole, depth + 1, budget)
                nodes.append(sequence(text("["), joined(item, ",", *_item_counts(inner)), text("]")))
            case "object":
                nodes.append(_gemma_object(inner, whole, depth, budget))
    return alternatives(*nodes) if nodes else rule("value")


def _gemma_scalar(value: Any) -> Node:
    if isinstance(value, str):
        return sequence(marker(GEMMA_QUOTE), text(value), marker(GEMMA_QUOTE))
    return text(json.dumps(value))


def _bounded_number(kind: str, inner: Any) -> Node:
    """A number, which Gemma writes as JSON does; without bounds it ends after some digits all the same."""
    bounds = {name: inner[name] for name in _BOUNDS if name in inner}
    if bounds:
        return schema({"type": kind, **bounds})
    return _INTEGER if kind == "integer" else _NUMBER


def _item_counts(inner: Any) -> tuple[int, int | None]:
    """The fewest and the most items, where both are said in numbers that can be."""
    least, most = inner.get("minItems", 0), inner.get("maxItems")
    if not isinstance(least, int) or not 0 <= least <= _MOST_COUNTED:
        least = 0
    if not isinstance(most, int) or not max(1, least) <= most <= _MOST_COUNTED:
        most = None
    return least, most


def _listed(pairs: dict[str, Node], required: frozenset[str], separator: str, budget: _Budget) -> Node:
    """The required ones, and any of the others behind them, with separators only between."""
    must = [node for key, node in pairs.items() if key in required]
    may = [node for key, node in pairs.items() if key not in required]
    behind = [maybe(text(separator), node) for node in may]
    if must:
        return sequence(must[0], *[sequence(text(separator), node) for node in must[1:]], *behind)
    budget.spend(len(may) ** 2 // 2)  # each is followed by all that come behind it
    first = [sequence(node, *behind[index + 1 :]) for index, node in enumerate(may)]
    return maybe(alternatives(*first)) if first else text("")


def _properties(inner: Any) -> tuple[dict[str, Any], frozenset[str]]:
    properties = inner.get("properties") if isinstance(inner, dict) else None
    required = inner.get("required") if isinstance(inner, dict) else None
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return properties if isinstance(properties, dict) else {}, frozenset(names)


def _is_open(inner: Any) -> bool:
    """Whether it may have properties that it does not name."""
    return isinstance(inner, dict) and "properties" not in inner and inner.get("additionalProperties") is not False


def _texts(inner: Any) -> list[str]:
    """The strings that it must be one of; empty where it may be others."""
    values = inner.get("enum", [inner["const"]] if "const" in inner else []) if isinstance(inner, dict) else []
    return values if isinstance(values, list) and all(isinstance(value, str) and value for value in values) else []


def _scalars(inner: Any) -> list[Any]:
    """The values that it must be one of, where all are scalars; empty where it may be others."""
    values = inner.get("enum", [inner["const"]] if "const" in inner else []) if isinstance(inner, dict) else []
    if not isinstance(values, list) or "" in values:
        return []
    return values if all(value is None or isinstance(value, str | int | float) for value in values) else []


def _resolved(inner: Any, whole: Any) -> Any:
    """What a reference to a definition means; anything else as it is."""
    reference = inner.get("$ref") if isinstance(inner, dict) else None
    for name in _DEFINITIONS:
        if isinstance(reference, str) and reference.startswith(f"#/{name}/"):
            found = whole.get(name)
            return found.get(reference.removeprefix(f"#/{name}/"), inner) if isinstance(found, dict) else inner
    return inner


def _with_definitions(inner: Any, whole: Any, budget: _Budget) -> Any:
    """A part of a schema with the definitions that it may refer to."""
    if not isinstance(inner, dict) or "$ref" not in json.dumps(inner):
        return inner
    definitions = definitions_of(whole)
    budget.spend(len(json.dumps(definitions)) // _NODE_BYTES)
    return definitions | inner


def definitions_of(whole: Any) -> dict[str, Any]:
    """What parts of a schema may refer to."""
    return {name: whole[name] for name in _DEFINITIONS if name in whole} if isinstance(whole, dict) else {}
