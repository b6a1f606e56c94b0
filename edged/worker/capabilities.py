"""What a chat template can do, found by having it lay out small conversations and looking for the words in the result.

A try that fails means "cannot". The idea and most of the questions are llama.cpp's (common/jinja/caps.cpp); there the
interpreter watches which values are read, here only what is printed counts, so that a template which reads a field and
leaves it out is one that cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

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
_SYSTEM, _ANSWER, _THOUGHT, _RESULT = "probe-system", "probe-answer", "probe-thought", "probe-result"
_TOOL = Tool(
    "probe_tool",
    "probe-about",
    '{"type":"object","properties":{"probe_field":{"type":"string","description":"probe-field"}},"required":["probe_field"]}',
)
_CALL = ToolCall("call_probe_0001", "probe_tool", '{"probe_key":"probe-value"}')
_OTHER = ToolCall("call_probe_0002", "probe_other", '{"probe_key":"probe-more"}')
# How arguments are printed that were handed over in the wrong form: as Python, or as JSON twice.
_WRONG = ("'probe_key'", '\\"probe_key')


def _turn(role: Role, text: str = "", calls: tuple[ToolCall, ...] = (), thought: str = "") -> Turn:
    return Turn(role, (TextPart(text),), thought, calls)


_ASKED = _turn("user", USER)
_TOLD = _turn("system", _SYSTEM)
_ANSWERED = _turn("assistant", _ANSWER)
_CALLED = (_ASKED, _turn("assistant", calls=(_CALL,)), _turn("tool", _RESULT))
_CALLED_BOTH = (_ASKED, _turn("assistant", calls=(_CALL, _OTHER)), _turn("tool", _RESULT), _turn("tool", _ANSWER))
_CALLED_WITH_WORDS = (_ASKED, _turn("assistant", _ANSWER, (_CALL,)), _turn("tool", _RESULT))

# In this order: later conversations are laid out with what the earlier ones showed.
_QUESTIONS = (
    _Question(({"takes_system": True},), ((_TOLD, _ASKED),)),
    _Question(({"takes_tools": True},), ((_ASKED,), (_TOLD, _ASKED)), (_TOOL,)),
    _Question(
        tuple({"calls": form, "call_ids": ids} for ids in ("any", "nine", "named") for form in ("object", "text")),
        (_CALLED,),
        (_TOOL,),
    ),
    _Question(({"takes_parallel_calls": True},), (_CALLED_BOTH,), (_TOOL,)),
    _Question(({"takes_words_with_calls": True},), (_CALLED_WITH_WORDS,), (_TOOL,)),
    _Question(({"takes_word_after_result": True},), ((*_CALLED, _turn("user", _ANSWER)),), (_TOOL,)),
    _Question(({"opens_with_user": False},), ((_ANSWERED, _ASKED), (_TOLD, _ANSWERED), (_TOLD,))),
)
_THOUGHT_PLACES: tuple[ThoughtPlace, ...] = (
    "reasoning_content",
    "thinking",
    "reasoning",
    "thought",
    "part",
    "inline",
)
_REASONED = (
    (_ASKED, _turn("assistant", calls=(_CALL,), thought=_THOUGHT), _turn("tool", _RESULT)),
    (_ASKED, _turn("assistant", _ANSWER, thought=_THOUGHT)),
    (_ASKED, _turn("assistant", _ANSWER, thought=_THOUGHT), _turn("user", USER)),
)

_EFFORTS: tuple[ReasoningEffort, ...] = ("low", "medium", "high")
_EFFORT_NAMES = ("reasoning_effort", "reasoning_strength", "thinking_effort")
_NONSENSE = "probe-degree"
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
    can = _with_thoughts(lay_out, can, switches.on)
    return replace(can, switches_thinking=bool(switches.off), efforts=switches.efforts), switches


def _does(lay_out: LayOut, question: _Question, can: Capabilities) -> bool:
    return all(_prints(lay_out, turns, question.tools, can) for turns in question.conversations)


def _prints(lay_out: LayOut, turns: Turns, tools: tuple[Tool, ...], can: Capabilities) -> bool:
    """Whether everything is there, and arguments as they should be."""
    text = lay_out(turns, tools, can, {})
    words = [turn.text for turn in turns] + [tool.name for tool in tools]
    words += [word for turn in turns for call in turn.calls for word in (call.name, *_values(call))]
    return all(word in text for word in words) and not any(wrong in text for wrong in _WRONG)


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
    return replace(can, takes_words_with_thought=_THOUGHT in text and _ANSWER in text)


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
