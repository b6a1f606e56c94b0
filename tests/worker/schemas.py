"""Schemas as programs write them, each so bounded that even noise comes to an end."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SHORT = {"type": "string", "maxLength": 6}
ID = {"type": "integer", "minimum": 0, "maximum": 999}


def closed(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others; all are required unless said otherwise."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def listed(items: Any, most: int, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most, **more}


class Unit(StrEnum):
    METRE = "m"
    FOOT = "ft"


Word = Annotated[str, Field(max_length=6)]


class Place(BaseModel):
    """A place, as a program describes it."""

    name: Word = Field(description="What it is called")
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    height: Annotated[int, Field(ge=0, le=9000)] | None = None
    unit: Unit = Unit.METRE


class Step(BaseModel):
    model_config = ConfigDict(extra="forbid")
    explanation: Word
    output: Word


class Reasoning(BaseModel):
    """The example of OpenAI's guide to structured outputs."""

    model_config = ConfigDict(extra="forbid")
    steps: Annotated[list[Step], Field(max_length=3)]
    final_answer: Word


class Cat(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=0, le=9)]


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["dog"]
    name: Word


class Owner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    since: date
    weight: Annotated[float, Field(gt=0, lt=100)] | None
    codes: Annotated[list[Annotated[str, Field(pattern="^[A-Z]{2}[0-9]{3}$")]], Field(min_length=1, max_length=3)]
    corner: tuple[Annotated[int, Field(ge=0, le=9)], Annotated[int, Field(ge=0, le=9)]]


class Closed(Place):
    model_config = ConfigDict(extra="forbid")


# What zod's toJSONSchema and zod-to-json-schema write.
ZOD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 8},
        "rating": {"type": "number", "minimum": 0, "maximum": 5},
        "count": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
        "tags": {"maxItems": 3, "type": "array", "items": {"type": "string", "enum": ["new", "sale"]}},
        "note": {"anyOf": [{"type": "string", "maxLength": 8}, {"type": "null"}]},
        "state": {"type": "string", "const": "open"},
    },
    "required": ["title", "rating", "count", "tags", "note", "state"],
    "additionalProperties": False,
}
ZOD_UNION = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "anyOf": [
        closed(type={"type": "string", "const": "circle"}, radius={"type": "number", "minimum": 0, "maximum": 9}),
        closed(type={"type": "string", "const": "label"}, text=SHORT),
    ],
}
ZOD_INTERSECTION = {
    "allOf": [
        {"type": "object", "properties": {"a": SHORT}, "required": ["a"]},
        {"type": "object", "properties": {"b": ID}, "required": ["b"]},
    ],
    "unevaluatedProperties": False,
}
TREE = {
    "$defs": {"node": closed(value=ID, children=listed({"$ref": "#/$defs/leaf"}, 2)), "leaf": closed(value=ID)},
    "$ref": "#/$defs/node",
}
# Parameters of tools as Home Assistant, coding assistants and MCP servers describe them.
TOOLS: dict[str, dict[str, Any]] = {
    "turn_on": closed(
        [],
        name={"type": "string", "maxLength": 8},
        domain=listed({"type": "string", "enum": ["light", "switch", "fan"]}, 2),
        brightness={"type": "integer", "minimum": 0, "maximum": 100, "description": "In percent"},
    ),
    "get_weather": closed(
        ["location"],
        location={"type": "string", "maxLength": 8, "description": "City, e.g. San José"},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
        days={"type": "integer", "minimum": 1, "maximum": 14},
    ),
    "edit_file": closed(
        ["path", "edits"],
        path=SHORT,
        edits=listed(closed(old=SHORT, new=SHORT), 2, minItems=1),
        dry_run={"type": "boolean", "default": False},
    ),
    "search": closed(["query"], query=SHORT, limit={"type": ["integer", "null"], "minimum": 1, "maximum": 50}),
    "nothing": closed(),
    "set_timer": closed(
        ["seconds"],
        seconds={"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
        label={"anyOf": [SHORT, {"type": "null"}]},
    ),
    "move": closed(
        direction={"enum": ["north", "south", "east", "west"]}, steps={"type": "integer", "minimum": 1, "maximum": 9}
    ),
    "choose": {
        "$defs": {"option": closed(key={"const": "a"}, on={"type": "boolean"})},
        **closed(option={"$ref": "#/$defs/option"}, number=ID),
    },
    "flags": closed(all={"type": "boolean"}, level={"type": "integer", "enum": [0, 1, 2]}, mode={"const": "fast"}),
    "matrix": closed(rows=listed(listed({"type": "integer", "minimum": -9, "maximum": 9}, 2), 2)),
}
BOUNDED: dict[str, Any] = {
    "a text": {"type": "string", "maxLength": 10},
    "a text of one length": {"type": "string", "minLength": 4, "maxLength": 4},
    "an empty text": {"type": "string", "maxLength": 0},
    "a pattern": {"type": "string", "pattern": "^[a-z]{2,5}-[0-9]{1,3}$"},
    "a pattern inside of a text": {"type": "string", "pattern": "a[0-9]b", "maxLength": 12},
    "a pattern of words": {"type": "string", "pattern": "^(red|green|blue)(, (red|green|blue)){0,2}$"},
    "a pattern with quotes": {"type": "string", "pattern": '^"[a-z]{1,3}"\\\\n$'},
    "a pattern with classes": {"type": "string", "pattern": "^\\d{3}\\s\\w{2}$"},
    "a pattern beyond ASCII": {"type": "string", "pattern": "^[äöüß]{1,3}$"},
    "a pattern and a length": {"type": "string", "pattern": "^[ab]*$", "minLength": 2, "maxLength": 6},
    "a date": {"type": "string", "format": "date"},
    "a time": {"type": "string", "format": "time"},
    "a date and time": {"type": "string", "format": "date-time"},
    "a uuid": {"type": "string", "format": "uuid"},
    "an IPv4 address": {"type": "string", "format": "ipv4"},
    "an IPv6 address": {"type": "string", "format": "ipv6"},
    "an email": {"type": "string", "format": "email", "maxLength": 20},
    "a hostname": {"type": "string", "format": "hostname", "maxLength": 20},
    "a duration": {"type": "string", "format": "duration", "maxLength": 20},
    "a uri": {"type": "string", "format": "uri", "maxLength": 30},
    "an integer in a range": {"type": "integer", "minimum": -5, "maximum": 1234},
    "an integer between exclusive bounds": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3},
    "an integer of either kind of bound": {"type": "integer", "minimum": 3, "exclusiveMinimum": 3, "maximum": 7},
    "one integer": {"type": "integer", "minimum": 7, "maximum": 7},
    "a negative integer": {"type": "integer", "minimum": -300, "maximum": -17},
    "an integer with fractional bounds": {"type": "integer", "minimum": 1.5, "maximum": 4.5},
    "a multiple": {"type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": 7},
    "a number in a range": {"type": "number", "minimum": -1.5, "maximum": 2.25},
    "a number between exclusive bounds": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "a probability": {"type": "number", "minimum": 0, "maximum": 1},
    "a price": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01},
    "a number from below": {"type": "number", "minimum": 0.5, "maximum": 1e6},
    "a tiny range": {"type": "number", "minimum": 0.001, "maximum": 0.002},
    "a truth": {"type": "boolean"},
    "nothing": {"type": "null"},
    "one of several types": {"type": ["integer", "null", "boolean"], "minimum": 0, "maximum": 99},
    "an enum of texts": {"enum": ["red", "green", 'bl"ue', "日本", "a\\b", ""]},
    "an enum of anything": {"enum": [1, "1", None, True, 1.5, [1, 2], {"a": 1}]},
    "an enum of one type": {"type": "string", "enum": ["a", "b"]},
    "a const object": {"const": {"a": [1, None, "x"]}},
    "a const text beyond ASCII": {"const": "Grüße, 世界 😀"},
    "a list": listed(ID, 4),
    "a list of at least": listed(ID, 4, minItems=2),
    "a list of one length": listed({"type": "boolean"}, 3, minItems=3),
    "an empty list": listed(ID, 0),
    "a list of lists": listed(listed(SHORT, 2), 2),
    "a tuple": {"type": "array", "prefixItems": [ID, SHORT, {"type": "boolean"}], "items": False, "minItems": 3},
    "a tuple that may be short": {"type": "array", "prefixItems": [ID, SHORT], "items": False},
    "a tuple and more": {"type": "array", "prefixItems": [SHORT], "items": ID, "minItems": 1, "maxItems": 3},
    "an object": closed(a=SHORT, b=ID),
    "an object of which something may be missing": closed(["a"], a=SHORT, b=ID, c={"type": "boolean"}),
    "an object of which all may be missing": closed([], a=SHORT, b=ID),
    "an empty object": closed(),
    "an object in an object": closed(a=closed(b=closed(c=ID))),
    "names beyond ASCII": closed(**{"größe": ID, "名前": SHORT, 'a"b': {"type": "null"}, "\n": {"type": "boolean"}}),
    "some of many names": {
        "type": "object",
        "patternProperties": {"^[a-z]{1,3}$": ID},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "named by a pattern": {
        "type": "object",
        "patternProperties": {"^x[0-9]$": ID},
        "additionalProperties": False,
        "maxProperties": 3,
    },
    "any of": {"anyOf": [SHORT, ID, {"type": "null"}]},
    "any of objects": {"anyOf": [closed(a=ID), closed(b=SHORT), closed(a={"type": "null"}, c=ID)]},
    "any of beside others": {
        "type": "object",
        "properties": {"a": ID},
        "required": ["a"],
        "additionalProperties": False,
        "anyOf": [{"required": ["a"]}],
    },
    "one of": {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 0, "maximum": 9}]},
    "one of objects told apart": {"oneOf": [closed(k={"const": "a"}, v=ID), closed(k={"const": "b"}, v=SHORT)]},
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 20}]},
    "all of objects": {"allOf": [closed(a=ID), {"type": "object", "properties": {"a": {"maximum": 10}}}]},
    "an intersection of enums": {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}]},
    "an intersection of patterns": {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}], "maxLength": 5},
    "a property that may not be": closed(["a"], a=ID, b=False),
    "a property of which only the name is said": {
        "type": "object",
        "properties": {"a": ID},
        "required": ["a", "b"],
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 2,
    },
    "named or by a pattern": {
        "type": "object",
        "properties": {"id": ID},
        "patternProperties": {"^x[0-9]$": {"type": "boolean"}},
        "required": ["id"],
        "additionalProperties": False,
    },
    "at most one of several": closed([], a=ID, b=ID, c=ID) | {"maxProperties": 1},
    "a format and a pattern": {"type": "string", "format": "date", "pattern": "^2024"},
    "a format and a length": {"type": "string", "format": "ipv4", "maxLength": 8},
    "an older tuple": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [ID, SHORT],
        "additionalItems": False,
        "minItems": 2,
    },
    "an older exclusive bound": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 2,
    },
    "what JavaScript calls an integer": {
        "type": "integer",
        "minimum": -9007199254740991,
        "maximum": 9007199254740991,
    },
    "a reference by a name of its own": {"$defs": {"x": {"$anchor": "id", **ID}}, "$ref": "#id"},
    "a reference with escapes": {"$defs": {"a/b c": ID}, "$ref": "#/$defs/a~1b%20c"},
    "a reference to a property": closed(a=ID, b={"$ref": "#/properties/a"}),
    "a schema with an address": {"$id": "https://example.com/a", "$defs": {"x": ID}, "$ref": "#/$defs/x"},
    "words that say nothing": closed(a={**ID, "readOnly": True, "deprecated": True, "examples": [1], "x-order": 1}),
    "a definition": {"$defs": {"id": ID}, **closed(a={"$ref": "#/$defs/id"}, b={"$ref": "#/$defs/id"})},
    "an older definition": {"definitions": {"id": ID}, **closed(a={"$ref": "#/definitions/id"})},
    "a definition and more": {
        "$defs": {"id": ID},
        **closed(a={"$ref": "#/$defs/id", "maximum": 5, "description": "Few"}),
    },
    "definitions of definitions": TREE,
    "pydantic: a place": Closed.model_json_schema(),
    "pydantic: steps": Reasoning.model_json_schema(),
    "pydantic: an owner": Owner.model_json_schema(),
    "zod: an object": ZOD,
    "zod: a union": ZOD_UNION,
    "zod: a record": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "propertyNames": {"type": "string"},
        "additionalProperties": ID,
        "maxProperties": 0,
    },
    "a list whose items need not differ": listed(ID, 3, uniqueItems=False),
    **{f"tool: {name}": parameters for name, parameters in TOOLS.items()},
}


# Answers to these may go on for ever; whatever of them was written is the beginning of JSON.
UNBOUNDED: dict[str, Any] = {
    "any text": {"type": "string"},
    "any number": {"type": "number"},
    "any object": {"type": "object"},
    "any list": {"type": "array"},
    "anything": {},
    "a list without an end": {"type": "array", "items": {"type": "integer"}, "minItems": 1000},
    "an open object": {"type": "object", "properties": {"a": SHORT}, "required": ["a"], "minProperties": 1},
    "a tree": {
        "$defs": {
            "node": closed(value=ID, children={"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1})
        },
        "$ref": "#/$defs/node",
    },
    "pydantic: an open place": Place.model_json_schema(),
}
