"""Calls that a model must make: its family's own format as a grammar, with arguments that match the tools' schemas.

The grammar is the tree of `worker/call_grammar.py`, in which this module only knows texts, markers and schemas. Where a
family thinks there is room for the thought first: a model that was trained to think and may not is a worse one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edged.chat import Constraint, Tool, ToolChoice
from edged.errors import CapabilityMissing, InvalidRequest
from edged.local.calls import Format, JsonCalls
from edged.local.families import Family
from edged.local.forced_arguments import ANY_VALUE, definitions_of, gemma_object, python_arguments, tagged_parameters
from edged.local.grammar import (
    Node,
    alternatives,
    joined,
    marker,
    maybe,
    regex,
    repeated,
    schema,
    sequence,
    text,
    until,
)
from edged.local.harmony import CHANNEL, CONSTRAIN, END, MESSAGE, START
from edged.local.literal_calls import GemmaCalls, PythonCalls
from edged.local.named_calls import NamedCalls
from edged.local.tagged_calls import TaggedCalls

# More thoughts in a row than gpt-oss writes before it calls.
_MOST_MESSAGES = 8
_ANY_TEXT = regex("(?s:.*)")
_SPACE = maybe(regex(r"\s{1,4}"))


def constraint(
    family: Family,
    tools: Sequence[Tool],
    choice: ToolChoice,
    content: Constraint | None,
    *,
    parallel: bool,
    is_thinking: bool,
    may_think: bool,
) -> Constraint | None:
    """What a reply must be: `content` (what a response format asks for), calls, or either; None where it is free.

    `is_thinking`: the prompt has opened a thought, which must be ended first; otherwise one may come if it `may_think`.
    Strict tools that need not be called are held to their schemas where the family announces its calls by a marker.
    Raises `InvalidRequest` or `CapabilityMissing` for what cannot be had together.
    """
    offered = () if choice.kind == "none" else [tool for tool in tools if choice.name in (None, tool.name)]
    must_call = choice.kind == "required"
    if not must_call and content is None:
        return _strict(family, offered, parallel=parallel)
    if content is not None and must_call:
        raise InvalidRequest(
            "A call must be made, and the answer must have a format: there will be no answer. Leave out one of them.",
            param="response_format",
        )
    if not offered and not _is_headed(family, is_thinking=is_thinking, may_think=may_think):
        return content
    nodes = [] if content is None else [_content(family, content)]
    if nodes and _is_bare(family):
        nodes += [_bare(family, tool) for tool in offered]
    elif offered:
        nodes.append(_call(family, offered, parallel=parallel))
    return _constraint(sequence(*_thought(family, is_thinking=is_thinking, may_think=may_think), alternatives(*nodes)))


def _constraint(start: Node) -> Constraint:
    tree = {"start": start, "rules": {"value": ANY_VALUE}}
    return Constraint("calls", json.dumps(tree, ensure_ascii=False, separators=(",", ":")))


def _is_headed(family: Family, *, is_thinking: bool, may_think: bool) -> bool:
    """Whether something may stand in front of what the answer is to look like."""
    return family.is_harmony or is_thinking or (may_think and family.thought is not None)


def _content(family: Family, content: Constraint) -> Node:
    match content.kind:
        case "json_schema":
            node = schema(json.loads(content.text), is_lenient=content.is_lenient)
        case "regex":
            node = regex(content.text)
        case _:
            raise InvalidRequest(
                "A grammar cannot be combined with tools, nor with a model that thinks first. Send a JSON schema or a "
                "regex, leave out the tools, or turn thinking off.",
                param="grammar",
            )
    if not family.is_harmony:
        return node
    return sequence(
        marker(CHANNEL), text("final"), maybe(text(" "), marker(CONSTRAIN), text("json")), marker(MESSAGE), node
    )


def _thought(family: Family, *, is_thinking: bool, may_think: bool) -> list[Node]:
    """What may or must stand in front."""
    if family.is_harmony:
        ended = sequence(until(END), marker(START), text("assistant"))
        whole = sequence(marker(CHANNEL), text("analysis"), marker(MESSAGE), ended)
        opened = [ended] if is_thinking else []
        return [*opened, repeated(whole, 0, _MOST_MESSAGES)] if may_think else opened
    tags = family.thought
    if tags is None or not (is_thinking or may_think):
        return []
    ended = sequence(until(tags.close), _SPACE)
    return [ended] if is_thinking else [maybe(_SPACE, marker(tags.open), ended)]


def _strict(family: Family, tools: Sequence[Tool], *, parallel: bool) -> Constraint | None:
    """Any text, but calls of strict tools only as their schemas want them; None where nothing announces a call."""
    format = family.formats[0] if family.formats else None
    if format is None or not any(tool.is_strict for tool in tools) or not format.openers or family.controls:
        return None
    if _is_bare(family):
        return None
    opener, rest = until(format.openers[0]), _behind_opener(format, tools, parallel=parallel)
    return _constraint(sequence(repeated(sequence(opener, rest), 0, None if parallel else 1), _ANY_TEXT))


def _is_bare(family: Family) -> bool:
    format = family.formats[0] if family.formats else None
    return isinstance(format, JsonCalls) and format.is_bare


def _bare(family: Family, tool: Tool) -> Node:
    """A call that nothing announces, as a schema: beside another only so it is open at the `{` which of them comes."""
    format, parameters = family.formats[0], _schema(tool)
    assert isinstance(format, JsonCalls)
    whole = {
        "type": "object",
        "properties": {format.name_key: {"const": tool.name}, format.arguments_key: parameters},
        "required": [format.name_key, format.arguments_key],
        "additionalProperties": False,
    }
    return schema(definitions_of(parameters) | whole, is_lenient=not tool.is_strict)


def _call(family: Family, tools: Sequence[Tool], *, parallel: bool) -> Node:
    if family.is_harmony:
        return alternatives(*[_harmony(tool) for tool in tools])
    if family.controls:
        raise CapabilityMissing(
            "This model's calls cannot be forced, nor combined with a response format. Send tool_choice: auto without "
            "one, or use another model.",
            param="tool_choice",
        )
    format = family.formats[0]
    behind = _behind_opener(format, tools, parallel=parallel)
    return sequence(marker(format.openers[0]), behind) if format.openers else behind


def _harmony(tool: Tool) -> Node:
    """One call ends the message: `<|call|>` ends the generation."""
    to = sequence(
        marker(CHANNEL), text(f"commentary to=functions.{tool.name} "), maybe(marker(CONSTRAIN)), text("json")
    )
    return sequence(to, marker(MESSAGE), _arguments(tool))


def _behind_opener(format: Format, tools: Sequence[Tool], *, parallel: bool) -> Node:
    match format:
        case JsonCalls():
            return _json(format, tools, parallel=parallel)
        case NamedCalls():
            return _named(format, tools, parallel=parallel)
        case TaggedCalls():
            return _tagged(format, tools, parallel=parallel)
        case PythonCalls():
            calls = [sequence(text(f"{tool.name}("), python_arguments(_schema(tool)), text(")")) for tool in tools]
            listed = joined(alternatives(*calls), ", ", 1, None if parallel else 1)
            return sequence(text("["), listed, text("]"), marker(format.close))
        case GemmaCalls():
            calls = [sequence(text(format.before_name + tool.name), gemma_object(_schema(tool))) for tool in tools]
            one = sequence(alternatives(*calls), marker(format.close))
            return _several(one, format.open, parallel=parallel)
    raise AssertionError(f"no grammar for {type(format).__name__}")


def _several(one: Node, opener: str, *, parallel: bool) -> Node:
    """A call whose opener was written, and more of them."""
    return sequence(one, repeated(sequence(_SPACE, marker(opener), one), 0, None)) if parallel else one


def _json(format: JsonCalls, tools: Sequence[Tool], *, parallel: bool) -> Node:
    calls = []
    for tool in tools:
        name = json.dumps(tool.name)
        head = f"{name}: " if format.name_is_key else f'{format.inner}"{format.name_key}": {name}, '
        head += "" if format.name_is_key else f'"{format.arguments_key}": '
        calls.append(sequence(text("{" + head), _arguments(tool), text("}")))
    call, most = alternatives(*calls), None if parallel else 1
    if format.is_bare:
        return call
    if format.is_list:
        close = (marker(format.close),) if format.close else ()
        return sequence(text("["), joined(call, ", ", 1, most), text("]"), *close)
    if format.close:
        return _several(sequence(text("\n"), call, text("\n"), marker(format.close)), format.open, parallel=parallel)
    return call


def _named(format: NamedCalls, tools: Sequence[Tool], *, parallel: bool) -> Node:
    calls = []
    for tool in tools:
        before: list[Node] = [text(format.before_name), marker(format.name_behind)] if format.name_behind else []
        behind: list[Node] = [marker(format.name_end)]
        if format.name_is_id:
            before, behind = [text(format.before_name)], [text(":"), regex("[0-9]{1,4}"), *behind]
        if format.id_open:
            behind = [maybe(marker(format.id_open), regex("[A-Za-z0-9]{9}")), *behind]
        if format.behind_name:
            behind.append(text(format.behind_name + "\n"))
        end: list[Node] = [text("\n" + format.behind_arguments)] if format.behind_arguments else []
        end += [marker(format.call_close)] if format.call_close else []
        calls.append(sequence(*before, text(tool.name), *behind, _arguments(tool), *end))
    one = alternatives(*calls)
    if not format.call_open:
        return _several(one, format.open, parallel=parallel)
    first = sequence(marker(format.call_open), one)
    return sequence(_several(first, "", parallel=parallel), *([marker(format.close)] if format.close else []))


def _tagged(format: TaggedCalls, tools: Sequence[Tool], *, parallel: bool) -> Node:
    line = maybe(text("\n"))
    calls = [
        sequence(text(tool.name + format.name_end), line, tagged_parameters(format, _schema(tool))) for tool in tools
    ]
    one = alternatives(*calls)
    if not format.call_open:
        end = marker(format.call_close or format.close)
        return _several(sequence(one, end), format.open, parallel=parallel)
    body = sequence(text(format.call_open), one, text(format.call_close), line)
    if format.call_close == "</function>":  # a section for each call
        return _several(sequence(line, body, marker(format.close)), format.open, parallel=parallel)
    return sequence(line, repeated(body, 1, None if parallel else 1), marker(format.close))


def _arguments(tool: Tool) -> Node:
    return schema(_schema(tool), is_lenient=not tool.is_strict)


def _schema(tool: Tool) -> Any:
    return json.loads(tool.parameters)
