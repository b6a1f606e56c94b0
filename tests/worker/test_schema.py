"""Patterns that one value must match together are counted, however they come together; others are not."""

from __future__ import annotations

from typing import Any

import pytest

from edged.worker.schema import (
    MOST_COMBINED_PATTERNS,
    MOST_PATTERN_PROPERTIES,
    MOST_REMAINDERS,
    check,
    most_combined_patterns,
    remainders,
)

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


def divided(*divisors: Any) -> list[dict[str, Any]]:
    return [{"type": "number", "multipleOf": divisor} for divisor in divisors]


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        ({}, 0),
        (divided(7)[0], 7),
        (divided(1000)[0], 1),
        (divided(0.01)[0], 1),
        (divided(86_400)[0], 27),
        (divided(12.5)[0], 1),
        (divided(0.0021)[0], 21),
        (named(a=divided(7)[0], b=divided(11)[0]), 18),
        ({"anyOf": divided(7, 11)}, 18),
        ({"allOf": divided(7, 11)}, 18 + 77),
        ({"allOf": divided(7, 7, 7)}, 21 + 7),
        ({"$defs": {"a": divided(7)[0]}, "$ref": "#/$defs/a", "multipleOf": 11}, 18 + 77),
        ({"multipleOf": "7"}, 1),
        ({"multipleOf": True}, 1),
        ({"multipleOf": 0}, 1),
        ({"multipleOf": -7}, 7),
        ({"multipleOf": 1e-300}, 1),
    ],
)
def test_remainders_are_counted_without_factors_of_ten(schema: Any, most: int) -> None:
    assert remainders(schema) == most


@pytest.mark.parametrize(
    "schema",
    [
        divided(999_983)[0],
        divided(123_456_789)[0],
        divided(10**300 + 1)[0],
        {"allOf": divided(7, 11, 13, 17, 19, 23)},
        {"anyOf": divided(*range(60_001, 60_051))},
        {"$defs": {f"d{n}": {"multipleOf": 1301 + n} for n in range(500)}},
        {"patternProperties": {f"^p{n}$": {} for n in range(MOST_PATTERN_PROPERTIES + 1)}},
        {"prefixItems": [{"patternProperties": {f"^p{n}$": {} for n in range(MOST_PATTERN_PROPERTIES)}}] * 2},
        {"allOf": [ONE] * MANY},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_what_would_take_too_long_is_refused_with_the_number(schema: Any) -> None:
    with pytest.raises(ValueError, match=f"{MOST_REMAINDERS}|{MOST_PATTERN_PROPERTIES}|{MOST_COMBINED_PATTERNS}"):
        check(schema)


def test_ordinary_divisors_and_names_are_taken() -> None:
    check(named(**{f"price{n}": {"type": "number", "multipleOf": 0.01} for n in range(500)}))
    check({"allOf": [named(a=divided(3600)[0]), named(b=divided(24)[0])]})
    check({"patternProperties": {f"^p{n}$": {} for n in range(MOST_PATTERN_PROPERTIES)}})
