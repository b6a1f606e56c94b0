"""A grammar as a tree: the nodes that `worker/call_grammar.py` turns into Lark."""

from __future__ import annotations

from typing import Any, TypeAlias

Node: TypeAlias = dict[str, Any]


def text(value: str) -> Node:
    """Exactly that."""
    return {"text": value}


def marker(value: str) -> Node:
    """Exactly that, as control tokens where the vocabulary has them."""
    return {"marker": value}


def regex(pattern: str) -> Node:
    """A match of it."""
    return {"regex": pattern}


def schema(value: Any, *, is_lenient: bool = True) -> Node:
    """JSON of this schema; with `is_lenient` keywords that cannot be enforced are left to the model."""
    return {"schema": value, "is_lenient": is_lenient}


def alternatives(*nodes: Node) -> Node:
    """One of them."""
    return nodes[0] if len(nodes) == 1 else {"any": list(nodes)}


def sequence(*nodes: Node) -> Node:
    """One after the other."""
    return nodes[0] if len(nodes) == 1 else {"all": list(nodes)}


def repeated(node: Node, least: int, most: int | None) -> Node:
    """So many times."""
    return {"repeat": node, "least": least, "most": most}


def maybe(*nodes: Node) -> Node:
    """Once or not at all."""
    return repeated(sequence(*nodes), 0, 1)


def joined(node: Node, separator: str, least: int, most: int | None) -> Node:
    """So many times, with `separator` between."""
    if most == 1:
        return node if least else maybe(node)
    rest = repeated(sequence(text(separator), node), max(least - 1, 0), None if most is None else most - 1)
    whole = sequence(node, rest)
    return whole if least else maybe(whole)


def until(value: str) -> Node:
    """Any text up to this marker, and the marker."""
    return {"until": value}


def rule(name: str) -> Node:
    """What stands under this name."""
    return {"rule": name}
