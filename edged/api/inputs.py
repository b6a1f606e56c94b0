"""What a model reads raw, as OpenAI's clients send it: a text, the ids of its tokens, or a list of either.

Told apart by hand, because a union of types explains itself badly.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

from pydantic import WithJsonSchema

from edged.chat import RawPrompt
from edged.errors import InvalidRequest

# An English token is about four characters long; whoever sends ids is held to the same limit as who sends text.
_BYTES_PER_TOKEN = 4
_MAX_TOKEN = 2**31 - 1
_TEXT = {"type": "string", "minLength": 1}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": _MAX_TOKEN}, "minItems": 1}
_SEVERAL = {"type": "array", "items": {"anyOf": [_TEXT, _IDS]}, "minItems": 1}
# What of it a schema can say; `raw_inputs` checks all.
RawInputs: TypeAlias = Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, _IDS, _SEVERAL]})]


def raw_inputs(value: Any, field: str, most: int) -> tuple[RawPrompt, ...]:
    """At least one and at most so many, none of them empty. Raises `InvalidRequest`, which names `field`."""
    if isinstance(value, str) or _is_ids(value):
        value = [value]
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{field} must be a text, a list of texts, or token ids.", param=field)
    if len(value) > most:
        raise InvalidRequest(
            f"{field} holds {len(value)} texts; at most {most} are taken at once. Send it in parts.", param=field
        )
    return tuple(_input(f"{field}.{index}", item) for index, item in enumerate(value))


def size_bytes(text: RawPrompt) -> int:
    """How much this counts towards the limit of a request's text."""
    return len(text.encode()) if isinstance(text, str) else len(text) * _BYTES_PER_TOKEN


def _input(place: str, item: Any) -> RawPrompt:
    if isinstance(item, str) and item:
        return item
    if _is_ids(item) and all(0 <= id <= _MAX_TOKEN for id in item):
        return tuple(item)
    shown = json.dumps(item)[:80]
    raise InvalidRequest(f"{place} must be a text or token ids, and not empty (got {shown}).", param=place)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(id) is int for id in value)
