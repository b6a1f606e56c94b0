"""A tool that every client is given, in its own shape, and what its calls must look like whoever makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

# Closed and finite, so that a model with random weights comes to its end as soon as a grammar leads it.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Roma", "東京"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION: dict[str, Any] = {"name": "weather", "description": "The weather to come", "parameters": SCHEMA}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}
QUESTION = "Shall I take an umbrella?"


def checked(arguments: str | Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as the object that they are. Raises where the schema does not allow them."""
    found = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    jsonschema.validate(found, SCHEMA)
    assert isinstance(found, dict)
    return found
