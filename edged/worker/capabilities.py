"""What a chat template can do, found by having it lay out small conversations and looking for the words in the result.

A try that fails means "cannot". The idea and most of the questions are llama.cpp's (common/jinja/caps.cpp); there the
interpreter watches which values are read, here only what is printed counts, so that a template which reads a field and
leaves it out is one that cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, get_args

from edged.chat import ReasoningEffort, Role, TextPart, Tool, ToolCall
from edged.template_wire import Capabilities, ThoughtPlace, Turn
from edged.worker.conversation import arguments_of

Variable: TypeAlias = str | int | bool
Variables: TypeAlias = Mapping[str, Variable]
Turns: TypeAlias = tuple[Turn, ...]


class LayOut(Protocol):
    """Has the template lay out a conversation, normalised for `can` and unmarked; an empty text where it objects."""

    def __call__(self, turns: Turns, tools: Sequence[Tool], can: Capabilities, variables: Variables) -> str: ...


@dataclass(frozen=True, slots=True)
class Switches:
    """The variables that a template reads to have the model think, or not, or how much."""

    on: Variables = field(default_factory=dict)
    off: Variables = field(default_factory=dict)
    effort: str = ""
    efforts: tuple[ReasoningEffort, ...] = ()

    def variables(self, thinks: bool | None, effort: ReasoningEffort | None) -> Variables:
        """What to hand to the template. A degree that it does not know is the next higher one that it does."""
        if thinks is False:
            return self.off
        higher = _EFFORTS[_EFFORTS.index(effort) :] if effort else ()
        degree = next((degree for degree in higher if degree in self.efforts), None)
        return {**(self.on if thinks else {}), **({self.effort: degree} if degree else {})}


@dataclass(frozen=True, slots=True)
class _Question:
    """Which of `answers`, changes to what is known, has the template print all that the conversations say?"""

    answers: tuple[Mapping[str, Any], ...]
    conversations: tuple[Turns, ...]
    tools: tuple[Tool, ...] = ()


USER = "probe"
_SYSTEM, _ANSWER, _LATER, _THOUGHT, _RESULT = "try-system", "try-answer", "try-later", "try-thought", "try-result"
_TOOL = Tool(
    "try_tool",
    "try-about",
    '{"type":"object","properties":{"try_field":{"type":"string","description":"try-description"}},"required":["try_field"]}',
)
_CALL = ToolCall("call_try_0001", "try_tool", '{"try_key":"try-value"}')
_OTHER = ToolCall("call_try_0002", "try_other", '{"try_key":"try-more"}')
# How arguments are printed that were handed over in the wrong form: as Python, or as JSON twice.
_WRONG = ("'try_key'", '\\"try_key')


def _turn(role: Role, text: str = "", calls: tuple[ToolCall, ...] = (), thought: str = "") -> Turn:
    return Turn(role, (TextPart(text),), thought, calls)


_ASKED = _turn("user", USER)
_TOLD = _turn("system", _SYSTEM)
_ANSWERED = _turn("assistant", _ANSWER)
_CALLED = (_ASKED, _turn("assistant", calls=(_CALL,)), _turn("tool", _RESULT))
_CALLED_BOTH = (_ASKED, _turn("assistant", calls=(_CALL, _OTHER)), _turn("tool", _RESULT), _turn("tool", _ANSWER))
_CALLED_WITH_WORDS = (
    _ASKED,
    _turn("assistant", _ANSWER, (_CALL,)),
    _turn("tool", _RESULT),
    _turn("assistant", _LATER),
    _ASKED,
)

# In this order: later conversations are laid out with what the earlier ones showed.
_QUESTIONS = (
    _Question(({"takes_system": True},), ((_TOLD, _ASKED),)),
    _Question(({"takes_tools": True},), ((_ASKED,), (_TOLD, _ASKED)), (_TOOL,)),
    _Question(
        tuple(
            {"calls": form, "call_ids": ids, "takes_results": True}
            for ids in ("any", "nine", "named")
            for form in ("object", "text")
        ),
        (_CALLED,),
        (_TOOL,),
    ),
    _Question(({"takes_results": True},), (_CALLED,), (_TOOL,)),
    _Question(({"takes_parallel_calls": True},), (_CALLED_BOTH,), (_TOOL,)),
    _Question(({"words_with_calls": "beside"}, {"words_with_calls": "before"}), (_CALLED_WITH_WORDS,), (_TOOL,)),
    _Question(({"takes_word_after_result": True},), ((*_CALLED, _turn("user", _ANSWER)),), (_TOOL,)),
    _Question(({"opens_with_user": False},), ((_ANSWERED, _ASKED), (_TOLD, _ANSWERED), (_TOLD,))),
)
_THOUGHT_PLACES: tuple[ThoughtPlace, ...] = get_args(ThoughtPlace)[1:]  # all but "none", a field before a way around
_REASONED = (
    (_ASKED, _turn("assistant", calls=(_CALL,), thought=_THOUGHT), _turn("tool", _RESULT)),
    (_ASKED, _turn("assistant", _ANSWER, thought=_THOUGHT)),
    (_ASKED, _turn("assistant", _ANSWER, thought=_THOUGHT), _turn("user", USER)),
)

# Enough to recognise the end of an opened turn, and too few to hold the end of the turn before.
_OPENING_CHARACTERS = 8
_EFFORTS: tuple[ReasoningEffort, ...] = ("low", "medium", "high")
_EFFORT_NAMES = ("reasoning_effort", "reasoning_strength", "thinking_effort")
_NONSENSE = "try-degree"
# What switches thinking on and off, by family: Qwen, GLM, Gemma and most others; DeepSeek, Granite, Kimi K3; MiniMax
# M3; Seed-OSS; Cohere; Hunyuan 3; Solar.
_THINKING: tuple[tuple[str, Variable, Variable], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_budget", -1, 0),
    ("reasoning_effort", "high", "none"),
    ("reasoning_effort", "high", "no_think"),
    ("reasoning_effort", "high", "minimal"),
)


def probed(lay_out: LayOut, *, takes_strings: bool) -> tuple[Capabilities, Switches]:
    """What the template can do, and how its thinking is switched."""
    can = Capabilities(takes_strings=takes_strings)
    switches = _switches(lay_out, can)
    for question in _QUESTIONS:
        tried = (replace(can, **answer) for answer in question.answers)
        can = next((other for other in tried if _does(lay_out, question, other)), can)
    if can.calls == "none":  # then calls were laid out as words, which says nothing of the template
        can = replace(can, takes_parallel_calls=False, words_with_calls="none")
    if not _opens_an_answer(lay_out, can):
        can = replace(can, opens_with_user=True)
    can = _with_thoughts(lay_out, can, switches.on)
    return replace(can, switches_thinking=bool(switches.off), efforts=switches.efforts), switches


def _opens_an_answer(lay_out: LayOut, can: Capabilities) -> bool:
    """Whether the assistant's turn is opened where only the system spoke; some templates open it behind users alone."""
    opening = lay_out((_ASKED,), (), can, {}).rpartition(USER)[2]
    return lay_out((_TOLD,), (), can, {}).endswith(opening[-_OPENING_CHARACTERS:])


def _does(lay_out: LayOut, question: _Question, can: Capabilities) -> bool:
    tools = question.tools if can.takes_tools else ()  # told in words, their names would be found there
    return all(_prints(lay_out, turns, tools, can) for turns in question.conversations)


def _prints(lay_out: LayOut, turns: Turns, tools: tuple[Tool, ...], can: Capabilities) -> bool:
    """Whether everything is there, what was said in the order of its saying, and arguments as they should be."""
    text = lay_out(turns, tools, can, {})
    words = [tool.name for tool in tools]
    words += [word for turn in turns for call in turn.calls for word in (call.name, *_values(call))]
    said = ".*".join(re.escape(turn.text) for turn in turns)
    is_there = all(word in text for word in words) and re.search(said, text, re.DOTALL)
    return bool(is_there) and not any(wrong in text for wrong in _WRONG)


def _values(call: ToolCall) -> list[str]:
    return [str(value) for value in arguments_of(call).values()]


def _with_thoughts(lay_out: LayOut, can: Capabilities, on: Variables) -> Capabilities:
    """Where thoughts have a place, at least in the turn that is being answered."""
    place = next(
        (place for place in _THOUGHT_PLACES if _prints_thoughts(lay_out, replace(can, thought=place), on)), None
    )
    if place is None:
        return can
    can = replace(can, thought=place, takes_words_with_thought=True)
    both = (_ASKED, _turn("assistant", _ANSWER, (_CALL,), _THOUGHT), _turn("tool", _RESULT))
    text = lay_out(both, (_TOOL,), can, on)
    has_both = _THOUGHT in text and re.search(f"{_ANSWER}.*{_RESULT}", text, re.DOTALL)
    return replace(can, takes_words_with_thought=bool(has_both))


def _prints_thoughts(lay_out: LayOut, can: Capabilities, on: Variables) -> bool:
    in_a_call, last, earlier = (lay_out(turns, (_TOOL,), can, on) for turns in _REASONED)
    if can.thought == "inline":  # whoever prints all content prints this; who knows what it is leaves out an old one
        return _THOUGHT in last and _ANSWER in earlier and _THOUGHT not in earlier
    listed = ("'thinking'", '"thinking"') if can.thought == "part" else ()  # the parts themselves, printed as a list
    return any(_THOUGHT in text and not any(word in text for word in listed) for text in (in_a_call, last, earlier))


def _switches(lay_out: LayOut, can: Capabilities) -> Switches:
    def text(variables: Variables) -> str:
        return lay_out((_ASKED,), (), can, variables)

    def does_switch(name: str, on: Variable, off: Variable) -> bool:
        with_it, without = text({name: on}), text({name: off})
        echoed = isinstance(off, str) and text({name: _NONSENSE}).replace(_NONSENSE, off) == without
        return bool(with_it and without) and with_it != without and not echoed

    name, on, off = next((row for row in _THINKING if does_switch(*row)), ("", "", ""))
    switches = Switches({name: on}, {name: off}) if name else Switches()
    for effort in _EFFORT_NAMES:
        texts = {degree: text({**switches.on, effort: degree}) for degree in _EFFORTS}
        known = tuple(degree for degree in _EFFORTS if texts[degree])
        if len({texts[degree] for degree in known}) > 1:
            return replace(switches, effort=effort, efforts=known)
    return switches
