"""Turns and tools as the dictionaries that chat templates read.

The shapes are those that Hugging Face's templates were written for (huggingface.co/docs/transformers, "Chat templates"
and "Tool use"): `role`, `content`, `tool_calls` with `function.name` and `function.arguments`, `tool_call_id`; tools
are JSON schemas of functions. Every text in them that came from a person, a tool or a model goes through `mark`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from edged.chat import Tool, ToolCall
from edged.template_wire import Capabilities, Turn
from edged.worker.conversation import arguments_of

Mark: TypeAlias = Callable[[str], str]
Json: TypeAlias = Any

# The words of JSON schema that templates look up or compare with (json-schema.org, draft 2020-12). They stay as they
# are, even where a vocabulary has a control token that begins like one; nobody can say anything with them.
_SCHEMA_WORDS = frozenset(
    "$defs $ref $schema additionalProperties allOf anyOf array boolean const default definitions deprecated "  # noqa: SIM905
    "description enum examples exclusiveMaximum exclusiveMinimum format integer items maximum maxItems maxLength "
    "minimum minItems minLength not null nullable number object oneOf pattern prefixItems properties required return "
    "string title type uniqueItems".split()
)
_LEAST: dict[str, Json] = {"type": "object", "properties": {}}
# What `filled` keeps in its place.
_TOLD = frozenset({"type", "description", "properties", "required", "items", "enum"})


def message(turn: Turn, can: Capabilities, mark: Mark) -> dict[str, Json]:
    """One turn, for a template that can do what `can` says."""
    said: dict[str, Json] = {"role": turn.role, "content": _content(turn, can, mark)}
    if turn.thought and can.thought not in ("none", "part", "inline"):
        said[can.thought] = mark(turn.thought)
    if turn.calls:
        said["tool_calls"] = [_call(call, can, mark) for call in turn.calls]
    if turn.role == "tool":
        said |= {"name": mark(turn.tool), "tool_call_id": mark(turn.call_id)}
    return said


def tool_schema(tool: Tool, mark: Mark) -> dict[str, Json]:
    """One tool as a function's schema. Its parameters have `type` and `properties`, which templates rely on."""
    parameters = json.loads(tool.parameters)
    parameters |= {key: value for key, value in _LEAST.items() if key not in parameters}
    function = {
        "name": mark(tool.name),
        "description": mark(tool.description),
        "parameters": marked(parameters, _sparing(mark)),
    }
    return {"type": "function", "function": function}


def filled(tool: Tool) -> Tool:
    """The tool with a schema that has all that templates ever rely on: every part has one type and a description.

    What else the schema says goes into the descriptions as JSON.
    """
    return replace(tool, parameters=json.dumps(_filled(json.loads(tool.parameters)), ensure_ascii=False))


def _filled(schema: Json) -> dict[str, Json]:
    if not isinstance(schema, dict):  # true, false, and what is no schema at all
        return {"type": "string", "description": "" if schema is True else json.dumps(schema, ensure_ascii=False)}
    more = {key: value for key, value in schema.items() if key not in _TOLD}
    words = [str(schema.get("description", "")), json.dumps(more, ensure_ascii=False) if more else ""]
    result: dict[str, Json] = {"type": _type_of(schema), "description": " ".join(filter(None, words))}
    if result["type"] == "object":
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        result["properties"] = {key: _filled(value) for key, value in known.items()}
        result["additionalProperties"] = _filled(True)  # Command R+ prints it of every object inside
        result["required"] = [key for key in schema.get("required") or () if key in known]
    if result["type"] == "array":
        result["items"] = _filled(schema.get("items", True))
    if "enum" in schema:
        result["enum"] = [
            each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in schema["enum"]
        ]
    return result


def _type_of(schema: dict[str, Json]) -> str:
    kinds = schema.get("type")
    found = [
        kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str) and kind != "null"
    ]
    implied = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return found[0] if found else implied


def marked(value: Json, mark: Mark) -> Json:
    """Decoded JSON with every string in it marked, keys too."""
    if isinstance(value, str):
        return mark(value)
    if isinstance(value, dict):
        return {marked(key, mark): marked(item, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item, mark) for item in value]
    return value


def typed(turns: tuple[Turn, ...], tools: tuple[Tool, ...]) -> Iterator[str]:
    """Every text that somebody typed, JSON as it came."""
    for turn in turns:
        yield from (turn.text, turn.thought, turn.call_id, turn.tool)
        for call in turn.calls:
            yield from (call.id, call.name, call.arguments)
    for tool in tools:
        yield from (tool.name, tool.description, tool.parameters)


def _sparing(mark: Mark) -> Mark:
    return lambda text: text if text in _SCHEMA_WORDS else mark(text)


def _content(turn: Turn, can: Capabilities, mark: Mark) -> Json:
    text = mark(turn.text)
    if turn.thought and can.thought == "inline":
        text = f"<think>\n{mark(turn.thought)}\n</think>\n\n{text}"
    if turn.thought and can.thought == "part":
        words = [{"type": "text", "text": text}] if text else []
        return [{"type": "thinking", "thinking": mark(turn.thought)}, *words]
    return text if can.takes_strings else [{"type": "text", "text": text}]


def _call(call: ToolCall, can: Capabilities, mark: Mark) -> dict[str, Json]:
    found = arguments_of(call)
    arguments = mark(json.dumps(found, ensure_ascii=False)) if can.calls == "text" else marked(found, mark)
    return {
        "type": "function",
        "id": mark(call.id),
        "function": {"name": mark(call.name), "arguments": arguments},
    }
