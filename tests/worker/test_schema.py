"""Patterns that one value must match together are counted, however they come together; others are not."""

from __future__ import annotations

from typing import Any

import pytest

from edged.worker.schema import MOST_COMBINED_PATTERNS, most_combined_patterns

ONE = {"type": "string", "pattern": "x.{5}y"}
MANY = MOST_COMBINED_PATTERNS + 1


def named(**schemas: Any) -> dict[str, Any]:
    return {"type": "object", "properties": schemas}


@pytest.mark.parametrize(
    ("schema", "combined"),
    [
        ({}, 0),
        (True, 0),
        (ONE, 0),
        (named(**{f"p{n}": ONE for n in range(500)}), 0),
        ({"anyOf": [ONE] * 500}, 0),
        ({"allOf": [ONE]}, 0),
        ({"allOf": [ONE] * 3}, 3),
        ({"allOf": [ONE], "format": "email"}, 2),
        ({"anyOf": [ONE, ONE], "pattern": "a"}, 3),
        ({"allOf": [named(a=ONE), named(a=ONE)]}, 2),
        ({"$defs": {"a": ONE}, "$ref": "#/$defs/a", "pattern": "b"}, 2),
        ({"$defs": {"a": ONE}, "title": "A", "$ref": "#/$defs/a"}, 0),
        ({"$defs": {"a": ONE}, "allOf": [{"$ref": "#/$defs/a"}] * MANY}, MANY),
        ({"$ref": "#", "pattern": "a"}, 1),
        ({"allOf": [ONE] * 500}, MANY),
        ({"allOf": 5, "pattern": "a"}, 0),
        ({"$defs": {"a": {"$anchor": "a", **ONE}}, "$ref": "#a", "pattern": "b"}, 3),
    ],
)
def test_counted(schema: Any, combined: int) -> None:
    assert most_combined_patterns(schema) == combined


def test_references_that_double_at_every_step_are_counted_at_once() -> None:
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(200)}

    assert most_combined_patterns({"$defs": {**steps, "s200": ONE}, "$ref": "#/$defs/s0"}) == MANY
