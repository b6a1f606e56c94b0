"""A lenient schema loses what cannot be followed and nothing else; a strict one is refused for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edged.sampling import Constraint
from edged.worker.constraint import Grammars, _matcher, _takes
from edged.worker.context import Context
from edged.worker.followable import modern, relaxed
from edged.worker.job import CannotDraw

# What zod writes for an email (zod 4, `core/regexes.ts`), and others like it.
LOOKS_AROUND = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
FEW = {"type": "integer", "minimum": 1, "maximum": 9}
# A schema, and what a lenient one comes to.
UNFOLLOWED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "look-around": (
        {"type": "string", "format": "email", "pattern": LOOKS_AROUND},
        {"type": "string", "format": "email"},
    ),
    "a reference back": ({"type": "string", "pattern": r"^(a)\1$"}, {"type": "string"}),
    "an escape of another language": ({"type": "string", "pattern": r"^a\Z"}, {"type": "string"}),
    "the ends of 64 bits": ({"type": "integer", "format": "int64", **INT64}, {"type": "integer", "format": "int64"}),
    "the largest float": ({"type": "number", "maximum": 3.4028234663852886e38}, {"type": "number"}),
    "patterns of names that overlap": (
        {"type": "object", "patternProperties": {"^x": FEW, "^xy": FEW}, "additionalProperties": False},
        {"type": "object"},
    ),
    "a pattern of names that looks around": (
        {"type": "object", "patternProperties": {"^(?!_)": FEW}},
        {"type": "object"},
    ),
    "at least some of what may be missing": (
        {"type": "object", "properties": {"a": FEW, "b": FEW}, "additionalProperties": False, "minProperties": 2},
        {"type": "object", "properties": {"a": FEW, "b": FEW}, "additionalProperties": False},
    ),
}
FOLLOWED: list[dict[str, Any]] = [
    {"type": "string", "pattern": r"^[a-z]{2}\d$", "maxLength": 3},
    {"type": "object", "properties": {"a": FEW}, "required": ["a"], "patternProperties": {"^x[0-9]$": FEW}},
    {"type": "object", "properties": {"a": FEW}, "required": ["a"], "minProperties": 1, "additionalProperties": False},
    {"type": ["integer", "null"], "exclusiveMinimum": 0, "maximum": 2**53},
    {"const": {"pattern": "(?!a)"}},
    {"enum": [{"pattern": "(?!a)"}]},
    {"type": "object", "properties": {"pattern": {"type": "string"}, "minimum": FEW}, "default": {"pattern": "(?!a)"}},
]


@pytest.fixture(scope="module")
def grammars(nano_context: Context) -> Grammars:
    return Grammars(nano_context.model)


def follow(grammars: Grammars, schema: Any, *, is_lenient: bool) -> None:
    _matcher(grammars.tokenizer(), Constraint("json_schema", json.dumps(schema), is_lenient), {})


@pytest.mark.parametrize(("schema", "left"), UNFOLLOWED.values(), ids=UNFOLLOWED.keys())
def test_what_cannot_be_followed_is_left_out_of_a_lenient_schema_wherever_it_stands(
    grammars: Grammars, schema: dict[str, Any], left: dict[str, Any]
) -> None:
    assert relaxed(schema, _takes) == left
    follow(grammars, schema, is_lenient=True)
    with pytest.raises(CannotDraw):
        follow(grammars, schema, is_lenient=False)

    def around(inner: dict[str, Any]) -> dict[str, Any]:
        items = {"type": "array", "items": inner, "prefixItems": [inner]}
        return {"$defs": {"x": inner}, "properties": {"p": items}, "anyOf": [{"additionalProperties": inner}, inner]}

    assert relaxed(around(schema), _takes) == around(left)


@pytest.mark.parametrize("schema", FOLLOWED, ids=lambda schema: str(schema)[:40])
def test_what_can_be_followed_stays(schema: dict[str, Any]) -> None:
    assert modern(relaxed(schema, _takes)) == schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "number", "maximum": float("inf")},
        {"type": "integer", "minimum": "3"},
        {"type": "nonsense"},
        {"enum": []},
    ],
    ids=str,
)
def test_what_is_wrong_is_no_ones_to_drop(grammars: Grammars, schema: dict[str, Any]) -> None:
    assert relaxed(schema, _takes) == schema
    with pytest.raises(CannotDraw):
        follow(grammars, schema, is_lenient=True)


def test_draft_4s_exclusive_bounds_are_bounds() -> None:
    older = {"properties": {"a": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}}}
    upper = {"maximum": 9, "exclusiveMaximum": True, "minimum": 1, "exclusiveMinimum": False}

    assert modern(older) == {"properties": {"a": {"type": "integer", "exclusiveMinimum": 0}}}
    assert modern(upper) == {"minimum": 1, "exclusiveMaximum": 9}
    assert modern({"properties": {"exclusiveMinimum": {"type": "null"}}, "const": {"exclusiveMinimum": True}}) == {
        "properties": {"exclusiveMinimum": {"type": "null"}},
        "const": {"exclusiveMinimum": True},
    }
    assert modern(True) is True


@pytest.mark.parametrize(
    "nothing", [{"propertyNames": {"type": "string"}}, {"uniqueItems": False}, {"unevaluatedProperties": True}], ids=str
)
def test_what_says_nothing_is_no_reason_to_refuse_a_strict_schema(grammars: Grammars, nothing: dict[str, Any]) -> None:
    assert modern({"type": "object", **nothing}) == {"type": "object"}
    follow(grammars, {"type": "object", **nothing}, is_lenient=False)


@pytest.mark.parametrize(
    "something", [{"propertyNames": {"maxLength": 3}}, {"uniqueItems": True}, {"unevaluatedProperties": False}], ids=str
)
def test_what_says_something_and_cannot_be_followed_is_refused_where_it_must_hold(
    grammars: Grammars, something: dict[str, Any]
) -> None:
    follow(grammars, {"type": ["object", "array"], **something}, is_lenient=True)
    with pytest.raises(CannotDraw):
        follow(grammars, {"type": ["object", "array"], **something}, is_lenient=False)
