"""What can be asked, as an OpenAPI document: made of the route table and the bodies' own models, so it cannot drift.

Pure. The document says of a body what a schema can say; what depends on several fields at once, or on the model, is
checked when a request comes, and then the answer names the field. An optional field that is null is as good as absent.

Sources: the OpenAPI specification 3.1.1 (spec.openapis.org/oas/v3.1.1) and JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

import edged
from edged.api.errors import codes_of, dialect_of
from edged.api.exposed import JSON, NDJSON, SSE, Route, Told
from edged.api.replay import CONVERSATION
from edged.api.schema import Schema, ref
from edged.api.shapes import SHAPES
from edged.api.wishes import DEADLINE, LANE, OVERFLOW

_ABOUT = (
    "Everything that this device can be asked. Models run on it through llama.cpp; nothing is sent anywhere. "
    "Programs send a key as `Authorization: Bearer edk_…`, or as `x-api-key` or `api-key`. "
    "A field that is not described here is refused by name: nothing is accepted and ignored. "
    "An optional field that is null is as good as absent."
)
# By the beginning of a path, the first that fits: in whose words it speaks.
_TAGS = {
    "/v1/messages": "Anthropic",
    "/v1/stream": "Reading on and stopping",
    "/edged/v1/requests/": "Reading on and stopping",
    "/v1/": "OpenAI",
    "/openai/": "Azure",
    "/api/": "Ollama",
    "/tokenize": "llama.cpp",
    "/detokenize": "llama.cpp",
    "/apply-template": "llama.cpp",
    "/": "This device",
}
_REASONS = {
    400: "Something in the request is missing, malformed, out of range or not supported; the error names the field.",
    401: "It takes a key, or a browser that was let in.",
    403: "Who asks may not do that, or a page of another origin asks, or nobody owns this device yet.",
    404: "There is no such thing here.",
    409: "Not as things stand now.",
    413: "More bytes than the owner allows.",
    415: "The body is not plain JSON.",
    421: "The Host header is none of this device's names.",
    422: "The model itself cannot be used.",
    429: "Others wait too, and this caller has its share.",
    499: "Somebody asked for the answer to stop.",
    500: "A defect; the log names the request.",
    502: "Another server does not answer, or not as it should.",
    503: "Not now; Retry-After says when.",
    504: "The model took too long to load.",
    507: "The disk has no room for it.",
}
_SCHEMAS = "#/components/schemas/"
_ERRORS = {"openai": "OpenAIError", "anthropic": "AnthropicError", "ollama": "OllamaError"}
_ALWAYS = (403, 421, 500)
_WITH_BODY = (400, 413, 415)
_ASKING = (400, 404, 422, 429, 499, 503, 504)
_LATER = (429, 502, 503, 504, 507)
_WHO = {
    "X-Edged-Request-Id": "The request's id, as the log has it.",
    "X-Edged-Served-By": "Who answers; `pending` where that was not known yet.",
    "X-Edged-Model": "Which model answers.",
}

_PARAMETERS: dict[str, Schema] = {
    LANE: {
        "in": "header",
        "description": "`background`: nobody waits for the words, and those that somebody waits for go first.",
        "schema": {"type": "string", "enum": ["interactive", "background"]},
    },
    OVERFLOW: {
        "in": "header",
        "description": "`drop`: a conversation that outgrew the context loses its oldest turns and is not refused.",
        "schema": {"type": "string", "enum": ["refuse", "drop"]},
    },
    DEADLINE: {
        "in": "header",
        "description": "How many milliseconds the caller would wait for the first word.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 3_600_000},
    },
    CONVERSATION: {
        "in": "header",
        "description": "A streamed answer outlives its connection and can be read on under this name.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    },
    "Upload-Offset": {
        "in": "header",
        "required": True,
        "description": "Where in the file the body begins: where the upload is.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
    },
    "conv_id": {
        "in": "query",
        "required": True,
        "description": f"The conversation, as {CONVERSATION} called it.",
        "schema": {"type": "string", "minLength": 1},
    },
    "from": {
        "in": "query",
        "description": "The byte to read on from.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
    },
}


class _Plain(GenerateJsonSchema):
    """Without titles that only repeat names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document. Raises `ValueError` for a route that does not say what it is."""
    described = [(route, route.told) for route in routes if route.told is not None]
    names, schemas = _schemas(dict.fromkeys(told.body for _, told in described if told.body is not None))
    paths: dict[str, Any] = {}
    for route, told in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, told, names)
    used = sorted({dialect_of(route.path) for route, _ in described})
    return {
        "openapi": "3.1.0",
        "info": {"title": "edged", "version": edged.__version__, "description": _ABOUT},
        "tags": [{"name": name} for name in dict.fromkeys(tag_of(path) for path in paths)],
        "paths": paths,
        "components": {
            "schemas": SHAPES | schemas,
            "responses": {
                _failure(dialect, status): _refusal(dialect, status) for dialect in used for status in _REASONS
            },
            "headers": {name: {"description": about, "schema": {"type": "string"}} for name, about in _WHO.items()},
            "parameters": {name: {"name": name, **about} for name, about in _PARAMETERS.items()},
        },
    }


def tag_of(path: str) -> str:
    """In whose words a path speaks."""
    return next(tag for beginning, tag in _TAGS.items() if path.startswith(beginning))


def summary_of(route: Route) -> str:
    """What a route does, in a sentence: the first line of its handler's docstring. Raises `ValueError` without one."""
    lines = (route.handler.__doc__ or "").strip().splitlines()
    if not lines:
        raise ValueError(f"{route.method} {route.path} does not say what it does: its handler has no docstring.")
    return lines[0]


def _schemas(bodies: Iterable[type[BaseModel]]) -> tuple[dict[type[BaseModel], str], dict[str, Schema]]:
    """The name of every body's schema, and the schemas by name, those of their parts among them."""
    told, found = _Plain(ref_template=_SCHEMAS + "{model}").generate_definitions(
        [(body, "validation", body.__pydantic_core_schema__) for body in bodies]
    )
    names = {str(name): _short(name) for name in found}
    if len({*names.values(), *SHAPES}) != len(names) + len(SHAPES):
        raise ValueError(f"Two schemas have one name: {sorted([*names.values(), *SHAPES])}.")
    of_bodies = {body: names[schema["$ref"].removeprefix(_SCHEMAS)] for (body, _), schema in told.items()}
    schemas = {names[name]: _renamed(schema, names) for name, schema in found.items()}
    # Without those that are never accepted and only there to be refused.
    needed = {*of_bodies.values(), *re.findall(rf'"{_SCHEMAS}([^"]+)"', json.dumps(schemas))}
    return of_bodies, {name: schemas[name] for name in sorted(needed)}


def _short(name: str) -> str:
    """`openai.ChatBody` where two modules have a `ChatBody`; without the underscore that is nobody's business here."""
    module, _, own = name.removeprefix("edged__api__").partition("__") if "__" in name else ("", "", name)
    return f"{module}.{own.lstrip('_')}" if module else own.lstrip("_")


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """With every reference to a schema by its short name, in a discriminator's mapping too, and without titles."""
    if isinstance(value, dict):
        # A title that is no text is a field of that name.
        kept = {key: item for key, item in value.items() if key != "title" or not isinstance(item, str)}
        return _without_null({key: _renamed(item, names) for key, item in kept.items()})
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, str) and value.startswith(_SCHEMAS):
        return _SCHEMAS + names[value.removeprefix(_SCHEMAS)]
    return value


def _without_null(schema: Schema) -> Schema:
    """An optional field without its null: that every one of them may be null is said once for all."""
    if schema.get("default", ...) is not None or {"type": "null"} not in schema.get("anyOf", ()):
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


def _operation(route: Route, told: Told, names: dict[type[BaseModel], str]) -> dict[str, Any]:
    failures = {
        status: {"$ref": f"#/components/responses/{_failure(dialect_of(route.path), status)}"}
        for status in _fails(route, told)
    }
    answers = {status: _answer(told, shape) for status, shape in told.answers.items()}
    operation: dict[str, Any] = {
        "summary": summary_of(route),
        "operationId": _operation_id(route),
        "tags": [tag_of(route.path)],
        "x-edged-scope": route.scope,
    }
    if parameters := _parameters(route, told):
        operation["parameters"] = parameters
    if told.body is not None:
        content = {"schema": ref(names[told.body]), "example": told.example}
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    responses = {str(status): response for status, response in sorted((failures | answers).items())}
    return operation | {"responses": responses}


def _operation_id(route: Route) -> str:
    return "_".join([route.method.lower(), *re.findall(r"\w+", route.path)])


def _parameters(route: Route, told: Told) -> list[Schema]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    return in_path + [{"$ref": f"#/components/parameters/{name}"} for name in told.params]


def _answer(told: Told, shape: str) -> dict[str, Any]:
    headers = {
        name: {"$ref": f"#/components/headers/{name}"} for name in (_WHO if told.asks else ("X-Edged-Request-Id",))
    }
    about = SHAPES[shape].get("description", "What was asked for.") if shape else "Done."
    if not shape:
        return {"description": about, "headers": headers}
    kinds: Sequence[str] = [told.content_type, *([told.streams] if told.streams else [])]
    content = {kind: {"schema": ref(shape)} if kind not in (SSE, NDJSON) else {} for kind in kinds}
    return {"description": about, "headers": headers, "content": content}


def _fails(route: Route, told: Told) -> list[int]:
    """The statuses of everything that can go wrong there, but for those that have an answer of their own."""
    found = {*_ALWAYS, *(_WITH_BODY if told.body else ()), *(_ASKING if told.asks else ())}
    found |= {401, 429} if route.scope != "shell" else set()
    found |= {400} if told.params else set()
    found |= set(told.fails)
    found |= {404} if "{" in route.path or (route.path.startswith("/api/") and told.body) else set()
    found |= {422} if route.scope == "owner" and told.body else set()
    return sorted(found - set(told.answers))


def _failure(dialect: str, status: int) -> str:
    return f"{dialect}-{status}"


def _refusal(dialect: str, status: int) -> dict[str, Any]:
    """What goes wrong with this status, with the codes that tell apart what."""
    headers: dict[str, Any] = {"X-Edged-Request-Id": {"$ref": "#/components/headers/X-Edged-Request-Id"}}
    if status in _LATER:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    codes = ", ".join(f"`{code}`" for code in codes_of(status))
    return {
        "description": f"{_REASONS[status]} {codes}",
        "headers": headers,
        "content": {JSON: {"schema": ref(_ERRORS[dialect])}},
    }
