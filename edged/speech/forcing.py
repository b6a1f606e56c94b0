"""Calls that a model must make: its family's own format as a grammar, with arguments that match the tools' schemas.

The grammar is the tree of `worker/call_grammar.py`, in which this module only knows texts, markers and schemas. Where a
family thinks there is room for the thought first: a model that was trained to think and may not is a worse one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edged.chat import Tool, ToolChoice
from edged.errors import CapabilityMissing, InvalidRequest
from edged.sampling import Constraint
from edged.speech.calls import Format, JsonCalls
from edged.speech.families import Family
from edged.speech.forced_arguments import ANY_VALUE, definitions_of, gemma_object, python_arguments, tagged_parameters
from edged.speech.grammar import (
    Node,
    alternatives,
    joined,
    marker,
    maybe,
    regex,
    repeated,
    rule,
    schema,
    sequence,
    text,
    until,
)
from edged.speech.harmony import CHANNEL, CONSTRAIN, END, MESSAGE, START
from edged.speech.literal_calls import GemmaCalls, PythonCalls
from edged.speech.named_calls import NamedCalls
from edged.speech.tagged_calls import TaggedCalls

# More thoughts in a row than gpt-oss writes before it calls.
_MOST_MESSAGES = 8
_ANY_TEXT = regex("(?s:.*)")
_LINE = maybe(text("\n"))
_CALL = rule("call")
# What the parser takes for white space (`scanner.WHITE`), and nothing else that Unicode has of it.
_SPACE = maybe(regex(r"[ \t\r\n]{1,4}"))


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
    Where a call must be made there is no answer that could have a format. Raises `InvalidRequest` or
    `CapabilityMissing` for what cannot be had together.
    """
    offered = () if choice.kind == "none" else [tool for tool in tools if choice.name in (None, tool.name)]
    must_call = choice.kind == "required"
    if not must_call and content is None:
        return _strict(family, offered, parallel=parallel)
    content = None if must_call else content
    if content is not None and not offered and _is_first(family, content, is_thinking=is_thinking, may_think=may_think):
        return content
    nodes = [] if content is None else [_content(family, content)]
    if nodes and _is_bare(family):
        nodes += [_bare(family, tool) for tool in offered]
        offered = []
    elif offered:
        nodes.append(_calls(family, parallel=parallel))
    start = sequence(*_thought(family, is_thinking=is_thinking, may_think=may_think), alternatives(*nodes))
    return _constraint(start, _call(family, offered) if offered else None)


def _constraint(start: Node, call: Node | None = None) -> Constraint:
    rules = {"value": ANY_VALUE} if call is None else {"value": ANY_VALUE, "call": call}
    tree = {"start": start, "rules": rules}
    return Constraint("calls", json.dumps(tree, ensure_ascii=False, separators=(",", ":")))


def _is_first(family: Family, content: Constraint, *, is_thinking: bool, may_think: bool) -> bool:
    """Whether nothing stands in front of the answer. A grammar leaves no room for a thought that need not be."""
    if family.is_harmony or is_thinking:
        return False
    return not may_think or family.thought is None or content.kind in ("gbnf", "lark")


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
    call = sequence(until(format.openers[0]), _behind_opener(format, parallel=parallel))
    return _constraint(sequence(repeated(call, 0, None if parallel else 1), _ANY_TEXT), _call(family, tools))


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


def _calls(family: Family, *, parallel: bool) -> Node:
    """Calls with all that stands around them; one of gpt-oss ends its message, since `<|call|>` ends the generation."""
    if family.controls:
        raise CapabilityMissing(
            "This model's calls cannot be forced, nor combined with a response format. Send tool_choice: auto without "
            "one, or use another model.",
            param="tool_choice",
        )
    if family.is_harmony:
        return _CALL
    format = family.formats[0]
    behind = _behind_opener(format, parallel=parallel)
    return sequence(marker(format.openers[0]), behind) if format.openers else behind


def _behind_opener(format: Format, *, parallel: bool) -> Node:
    most = None if parallel else 1
    match format:
        case JsonCalls() if format.is_list:
            close = (marker(format.close),) if format.close else ()
            return sequence(text("["), joined(_CALL, ", ", 1, most), text("]"), *close)
        case JsonCalls() if format.close:
            one = sequence(text("\n"), _CALL, text("\n"), marker(format.close))
            return _several(one, format.open, parallel=parallel)
        case NamedCalls() if format.call_open:
            first = sequence(marker(format.call_open), _CALL)
            return sequence(_several(first, "", parallel=parallel), marker(format.close))
        case TaggedCalls() if format.call_open:
            return _sections(format, parallel=parallel)
        case PythonCalls():
            return sequence(text("["), joined(_CALL, ", ", 1, most), text("]"), marker(format.close))
        case NamedCalls() | TaggedCalls() | GemmaCalls():
            return _several(_CALL, format.open, parallel=parallel)
    return _CALL


def _several(one: Node, opener: str, *, parallel: bool) -> Node:
    """A call whose opener was written, and more of them."""
    return sequence(one, repeated(sequence(_SPACE, marker(opener), one), 0, None)) if parallel else one


def _sections(format: TaggedCalls, *, parallel: bool) -> Node:
    body = sequence(text(format.call_open), _CALL, text(format.call_close), _LINE)
    if format.call_close == "</function>":  # a section for each call
        return _several(sequence(_LINE, body, marker(format.close)), format.open, parallel=parallel)
    return sequence(_LINE, repeated(body, 1, None if parallel else 1), marker(format.close))


def _call(family: Family, tools: Sequence[Tool]) -> Node:
    """One call, of one of the tools."""
    if family.is_harmony:
        return alternatives(*map(_harmony, tools))
    format = family.formats[0]
    return alternatives(*[_one(format, tool) for tool in tools])


def _one(format: Format, tool: Tool) -> Node:
    match format:
        case JsonCalls():
            return _json(format, tool)
        case NamedCalls():
            return _named(format, tool)
        case TaggedCalls():
            head, parameters = text(tool.name + format.name_end), tagged_parameters(format, _schema(tool))
            end = [] if format.call_open else [marker(format.call_close or format.close)]
            return sequence(head, _LINE, parameters, *end)
        case PythonCalls():
            return sequence(text(f"{tool.name}("), python_arguments(_schema(tool)), text(")"))
        case GemmaCalls():
            return sequence(text(format.before_name + tool.name), gemma_object(_schema(tool)), marker(format.close))
    raise AssertionError(f"no grammar for {type(format).__name__}")


def _harmony(tool: Tool) -> Node:
    to = sequence(
        marker(CHANNEL), text(f"commentary to=functions.{tool.name} "), maybe(marker(CONSTRAIN)), text("json")
    )
    return sequence(to, marker(MESSAGE), _arguments(tool))


def _json(format: JsonCalls, tool: Tool) -> Node:
    name = json.dumps(tool.name)
    if format.name_is_key:
        head = f"{name}: "
    else:
        head = f'{format.inner}"{format.name_key}": {name}, "{format.arguments_key}": '
    return sequence(text("{" + head), _arguments(tool), text("}"))


def _named(format: NamedCalls, tool: Tool) -> Node:
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
    return sequence(*before, text(tool.name), *behind, _arguments(tool), *end)


def _arguments(tool: Tool) -> Node:
    return schema(_schema(tool), is_lenient=not tool.is_strict)


def _schema(tool: Tool) -> Any:
    return json.loads(tool.parameters)
