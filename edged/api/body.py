"""A request's body becomes checked values, or a clear 400 with the field's name.

Python's `json` accepts more than JSON (NaN, Infinity), keeps the last of duplicate keys, lets lone surrogates through
that no UTF-8 can hold, and recurses as deep as it is told to. None of that reaches a handler.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from edged.api.errors import dialect_of
from edged.api.intake import BODIES
from edged.chat import Message, Tool
from edged.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType, UnsupportedParameter

# Deeper than any API of ours nests, far from Python's recursion limit.
MAX_DEPTH = 64
# Twice what the longest conversation needs. Each unknown one is an error to describe, all in one go that holds up the
# event loop too: 100,000 of them took half a second.
MAX_FIELDS = 32_768
# Above this, parsing would hold up everybody's words for a noticeable moment: it goes to a thread.
_PARSE_INLINE_BYTES = 64 * 1024
# Possessive, and content with a missing end: the other way, 30 kB of `\"` in an open string take ten seconds.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")

# How JSON comes from programs made for Ollama, which does not look: without any type (LiteLLM), with the one of curl or
# fetch (`curl -d` in its docs/api.md). Pages of the web can send it so without asking beforehand; that they may not is
# for the Origin check to say (`guard.py`).
_UNTYPED = frozenset({"application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})

# Closed to unknown fields; "5" is not 5.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)
# Where a caller's own values begin, by dialect; an empty step is any place in a list.
_VERBATIM = {
    ("json_schema",),
    ("response_format", "json_schema", "schema"),
    ("tools", "", "function", "parameters"),
    # OpenAI's Responses API
    ("text", "format", "schema"),
    ("tools", "", "parameters"),
    ("tools", "", "tools", "", "parameters"),
    # Anthropic
    ("tools", "", "input_schema"),
    ("messages", "", "content", "", "input"),
    ("output_config", "format", "schema"),
    ("tools", "", "input_examples"),
    # Ollama
    ("format",),
    ("messages", "", "tool_calls", "", "function", "arguments"),
}

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """What every body and part of a body is."""

    model_config = STRICT


def one_of(known: Mapping[str, type[BaseModel]], otherwise: str, default: str | None = None) -> PlainValidator:
    """A value whose `type` says which of `known` it is; any other type is refused by name, and `otherwise` says why.

    As pydantic's discriminated unions, but for the paths of its errors: those name what was sent, and no model of ours.
    """

    def choose(value: Any) -> BaseModel:
        kind = value.get("type", default) if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in known:
            return known[kind].model_validate(value)
        if kind is None:
            wrong = "dict_type" if not isinstance(value, dict) else "missing"
            raise _refusal(wrong, value, () if wrong == "dict_type" else ("type",))
        raise _refusal(PydanticCustomError("unsupported", "{why}", {"why": otherwise}), kind, ("type",))

    return PlainValidator(choose, json_schema_input_type=reduce(or_, dict.fromkeys(known.values())))


def _refusal(kind: str | PydanticCustomError, value: Any, place: tuple[str, ...]) -> ValidationError:
    return ValidationError.from_exception_data("body", [InitErrorDetails(type=kind, loc=place, input=value)])


async def read(request: web.Request, model: type[Model]) -> Model:
    """The body as `model`; a `{model}` in the path, as Azure has it, goes before the one in the body.

    Raises `InvalidRequest`, `UnsupportedParameter`, `UnsupportedMediaType`, `PayloadTooLarge` or `QueueFull`.
    """
    is_untyped = dialect_of(request.path) == "ollama" and request.content_type in _UNTYPED
    if request.content_type != "application/json" and not is_untyped:
        raise UnsupportedMediaType(f"The body must be application/json, not {request.content_type[:80]!r}.")
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(f"A compressed body ({encoding[:80]}) is not accepted; send it plain.")
    async with request.app[BODIES].holding(request) as data:
        found = await asyncio.to_thread(parse, data, model) if len(data) > _PARSE_INLINE_BYTES else parse(data, model)
    named = request.match_info.get("model")
    return found if named is None else found.model_copy(update={"model": named})


def check_text_bytes(size_bytes: int, most_bytes: int) -> None:
    """Raises `PayloadTooLarge` where a request's text is longer than the owner allows."""
    if size_bytes > most_bytes:
        raise PayloadTooLarge(
            f"The text has {size_bytes} bytes; at most {most_bytes} are accepted ([limits] text_bytes)."
        )


def check_texts(texts: Iterable[str], most_bytes: int) -> None:
    """Raises `PayloadTooLarge` where all texts of a request together are longer than the owner allows."""
    check_text_bytes(sum(len(text.encode()) for text in texts), most_bytes)


def texts_of(messages: Iterable[Message], tools: Iterable[Tool] = ()) -> Iterator[str]:
    """All of a conversation that a model will read."""
    for message in messages:
        yield from (message.text, message.thought, *(call.arguments for call in message.calls))
    for tool in tools:
        yield from (tool.description, tool.parameters)


def parse(data: bytes | bytearray, model: type[Model]) -> Model:
    """`data` as `model`; raises as `read`."""
    value = _decode(data)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        return model.model_validate(_without_nulls(value))
    except ValidationError as failure:
        raise _first(failure) from None


def _decode(data: bytes | bytearray) -> Any:
    outline = _STRINGS.sub(b"", data)
    if _depth(outline) > MAX_DEPTH:
        raise InvalidRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
    if (fields := outline.count(b":")) > MAX_FIELDS:
        raise InvalidRequest(f"The JSON has {fields} fields; at most {MAX_FIELDS} are read.")
    try:
        text = data.decode()
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    if "\\ud" in text.lower() and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise InvalidRequest("The body holds half a surrogate pair; text must be valid Unicode.")
    return value


def _without_nulls(value: Any, path: tuple[str, ...] = ()) -> Any:
    """A field that is null is as good as absent: clients send what their own types happen to hold.

    Not inside what is the caller's own: in a schema, `"const": null` says something.
    """
    if path in _VERBATIM:
        return value
    if isinstance(value, dict):
        return {key: _without_nulls(item, (*path, key)) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item, (*path, "")) for item in value]
    return value


def _depth(outline: bytes) -> int:
    deepest = depth = 0
    for byte in outline:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} appears twice in one object")
            seen.add(key)
    return value


def _first(failure: ValidationError) -> InvalidRequest | UnsupportedParameter:
    error = failure.errors(include_url=False)[0]
    path = ".".join(str(step) for step in error["loc"]) or None
    if error["type"] == "extra_forbidden":
        return UnsupportedParameter(f"{path} is not supported here; leave it out.", param=path)
    if error["type"] == "unsupported":
        return UnsupportedParameter(f"{path}: {error['msg']} (got {_shown(error['input'])}).", param=path)
    return InvalidRequest(f"{path}: {error['msg']} (got {_shown(error['input'])}).", param=path)


def _shown(value: Any) -> str:
    shown = json.dumps(value, default=str, ensure_ascii=True)
    return shown if len(shown) <= 80 else shown[:77] + "..."
