"""JSON schemas in few words: what the shapes of answers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
ANY: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    """The shape called `name`, wherever it is spelled out."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(must: Mapping[str, Schema], may: Mapping[str, Schema] | None = None, about: str = "") -> Schema:
    described = {"description": about} if about else {}
    return {"type": "object"} | described | {"properties": {**must, **(may or {})}, "required": list(must)}


def list_of(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
