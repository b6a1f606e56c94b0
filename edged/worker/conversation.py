"""A conversation becomes one that a given template lays out without objecting: pure decisions.

Templates differ in what they know (a system's turn, tools, calls, a tool's turn) and in what they insist on (roles that
alternate, a user's turn first, ids of nine characters). Clients send what they like. What a template does not know is
said in words, in a generic form that every model can read. One thing is lost: what an assistant said beside a call,
where a template prints only one of the two and has no other place for it.

    calls:    {"tool_calls": [{"name": "weather", "arguments": {"city": "Ulm"}}]}
    result:   Result of weather:
              12 degrees

What is certain to hold afterwards: at most one system's turn, at the beginning; no assistant's turn without words and
calls; no two users' turns in a row, nor assistants' but for words before a call; behind every turn that calls stand the
turns of tools, one for each call and in the calls' order, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from edged.chat import TextPart, Tool, ToolCall
from edged.template_wire import Capabilities, Turn

_BREAK = "\n\n"
_NO_RESULT = "(no result)"
# What an assistant is taken to have said where a template lets no user speak right behind a tool's turn.
_NOTED = "OK."
_HOW_TO_CALL = (
    "To use tools, answer with nothing but JSON of this form:\n"
    '{"tool_calls": [{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}]}\n'
    "You will be told the results. Where no tool is needed, answer in words."
)
_NINE = 9  # letters and digits in an id of Mistral's


def normalised(
    turns: Iterable[Turn], tools: Sequence[Tool], can: Capabilities
) -> tuple[tuple[Turn, ...], tuple[Tool, ...]]:
    """The turns and tools to hand to a template that can do what `can` says."""
    turns = tuple(turns)
    system = [turn.text for turn in turns if turn.role == "system" and turn.text]
    if tools and not can.takes_tools:
        system.append(described(tools))
        tools = ()

    said = [turn for turn in turns if turn.role != "system" and not _is_empty(turn)]
    said = list(_with_ids(said, can))
    said = [placed for turn in joined(_paired(said, can)) for placed in _placed(turn, can)]
    if not can.takes_parallel_calls:
        said = list(_one_call_at_a_time(said))
    if not can.takes_word_after_result:
        said = list(_bridged(said))
    return tuple(_headed(_BREAK.join(system), said, can)), tuple(tools)


def described(tools: Sequence[Tool]) -> str:
    """Tools in words, for a model whose template knows none: what there is, and how to call it."""
    lines = [
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)},
            ensure_ascii=False,
        )
        for tool in tools
    ]
    return "\n".join(["You can use these tools:", *lines, "", _HOW_TO_CALL])


def arguments_of(call: ToolCall) -> dict[str, object]:
    """The arguments as an object. What a model wrote that is none stands in one, under `arguments`."""
    try:
        value = json.loads(call.arguments or "{}")
    except ValueError:
        value = call.arguments
    return value if isinstance(value, dict) else {"arguments": value}


def joined(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Consecutive users' turns become one, and so do assistants'."""
    for role, run in groupby(turns, key=lambda turn: turn.role):
        if role == "tool":
            yield from run
        else:
            yield _one_of(list(run))


def _one_of(run: list[Turn]) -> Turn:
    if len(run) == 1:
        return run[0]
    return replace(
        run[0],
        parts=_parts(_BREAK.join(turn.text for turn in run if turn.text)),
        thought=_BREAK.join(turn.thought for turn in run if turn.thought),
        calls=tuple(call for turn in run for call in turn.calls),
    )


def _is_empty(turn: Turn) -> bool:
    return turn.role == "assistant" and not turn.text.strip() and not turn.calls


def _parts(text: str) -> tuple[TextPart, ...]:
    return (TextPart(text),)


# Ids: every call gets one of the form that the template wants, and results are renamed with their calls.


def _with_ids(turns: Iterable[Turn], can: Capabilities) -> Iterator[Turn]:
    number = 0
    renamed: dict[str, str] = {}
    for turn in turns:
        calls = []
        for call in turn.calls:
            calls.append(replace(call, id=_id_for(call, number, can)))
            renamed[call.id] = calls[-1].id
            number += 1
        yield replace(turn, calls=tuple(calls), call_id=renamed.get(turn.call_id, turn.call_id))


def _id_for(call: ToolCall, number: int, can: Capabilities) -> str:
    """The same in every request with the same conversation, so that its beginning is found in memory again."""
    if can.call_ids == "named":
        return f"functions.{call.name}:{number}"
    if not call.id:
        return f"call{number:05d}"
    if can.call_ids == "nine" and not (len(call.id) == _NINE and call.id.isascii() and call.id.isalnum()):
        return hashlib.sha256(call.id.encode("utf-8", "surrogatepass")).hexdigest()[:_NINE]
    return call.id


# Calls and results: pairs stay pairs, and what belongs to no pair is said in words.


def _paired(turns: Iterable[Turn], can: Capabilities) -> Iterator[Turn]:
    """Every call with its result behind it, in the calls' order; in words what has no place or no partner."""
    names: dict[str, str] = {}
    for turn, results in _with_results(turns):
        calls = turn.calls if turn else ()
        names |= {call.id: call.name for call in calls}
        found, strays = _matched(calls, results)
        if turn is not None:
            yield _calls_in_words(turn) if can.calls == "none" else turn
        for call, result in zip(calls, found, strict=True):
            if result is not None or can.calls != "none":
                text = _NO_RESULT if result is None else result.text
                told = Turn("tool", _parts(text), call_id=call.id, tool=call.name)
                yield told if can.takes_results else _result_in_words(told, names)
        yield from (_result_in_words(stray, names) for stray in strays)


def _with_results(turns: Iterable[Turn]) -> list[tuple[Turn | None, list[Turn]]]:
    """Each turn with the tools' turns right behind it; those at the very beginning have None before them."""
    pairs: list[tuple[Turn | None, list[Turn]]] = [(None, [])]
    for turn in joined(turns):
        if turn.role == "tool":
            pairs[-1][1].append(turn)
        else:
            pairs.append((turn, []))
    return pairs


def _matched(calls: Sequence[ToolCall], results: Iterable[Turn]) -> tuple[list[Turn | None], list[Turn]]:
    """The result of each call, and the results of none. An id decides; without one the tool's name, then the order."""
    found: list[Turn | None] = [None] * len(calls)
    strays = []
    for result in results:
        waiting = [index for index, other in enumerate(found) if other is None]
        index = next((index for index in waiting if _belongs(result, calls[index])), None)
        if index is None:
            strays.append(result)
        else:
            found[index] = result
    return found, strays


def _belongs(result: Turn, call: ToolCall) -> bool:
    if result.call_id:
        return result.call_id == call.id
    return result.tool in ("", call.name)


def _calls_in_words(turn: Turn) -> Turn:
    if not turn.calls:
        return turn
    calls = [{"name": call.name, "arguments": arguments_of(call)} for call in turn.calls]
    text = json.dumps({"tool_calls": calls}, ensure_ascii=False)
    return replace(turn, parts=_parts(_BREAK.join(filter(None, (turn.text, text)))), calls=())


def _result_in_words(turn: Turn, names: dict[str, str]) -> Turn:
    name = turn.tool or names.get(turn.call_id) or "a tool"
    return Turn("user", _parts(f"Result of {name}:\n{turn.text}"))


def _one_call_at_a_time(turns: Iterable[Turn]) -> Iterator[Turn]:
    waiting: list[ToolCall] = []
    for turn in turns:
        yield replace(turn, calls=turn.calls[:1])
        waiting.extend(turn.calls[1:])
        if turn.role == "tool" and waiting:
            yield Turn("assistant", (), calls=(waiting.pop(0),))


# What a template insists on.


def _placed(turn: Turn, can: Capabilities) -> Iterator[Turn]:
    """The turn with its thought and words where the template has a place for them.

    Words that have none near a call join the thought; where there is no thought either, the call matters more.
    """
    thought = turn.thought if can.thought != "none" else ""
    is_narrow = turn.calls and turn.text and not (thought and can.takes_words_with_thought)
    if not is_narrow or (can.words_with_calls == "beside" and not thought):
        yield replace(turn, thought=thought)
        return
    if can.words_with_calls == "before":
        yield replace(turn, thought="", calls=())
    elif thought:
        thought = _BREAK.join((thought, turn.text))
    yield replace(turn, parts=(), thought=thought)


def _bridged(turns: Sequence[Turn]) -> Iterator[Turn]:
    for before, turn in zip([None, *turns], turns, strict=False):
        if before is not None and before.role == "tool" and turn.role == "user":
            yield Turn("assistant", _parts(_NOTED))
        yield turn


def _headed(system: str, turns: list[Turn], can: Capabilities) -> Iterator[Turn]:
    """The turns with the system's words in front, or in the first user's turn, which is made where it is needed."""
    opens_with_user = bool(turns) and turns[0].role == "user"
    if system and can.takes_system:
        yield Turn("system", _parts(system))
        system = ""
    if opens_with_user:
        yield replace(turns[0], parts=_parts(_BREAK.join(filter(None, (system, turns[0].text)))))
        turns = turns[1:]
    elif system or can.opens_with_user:
        yield Turn("user", _parts(system))
    yield from turns
