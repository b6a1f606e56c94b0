"""Every chat template of the engine's source package lays out every kind of conversation, and none objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edged.chat import Role, TextPart, Tool, ToolCall
from edged.template_wire import Refused, Render, Template, Turn
from edged.worker.template import Renderer, answer


def turn(role: Role, text: str = "", calls: Sequence[ToolCall] = (), thought: str = "", call_id: str = "") -> Turn:
    return Turn(role, (TextPart(text),), thought, tuple(calls), call_id)


WEATHER = Tool(
    "get_weather",
    "What the weather is like",
    '{"type":"object","properties":{"city":{"type":"string","description":"Which city"},'
    '"days":{"type":"integer","description":"How many days ahead"}},"required":["city"]}',
)
BARE = Tool("get_time")
# What editors and protocol servers really send: several types, no types, references, nothing but `anyOf`.
WILD = Tool(
    "set_light",
    "",
    '{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","additionalProperties":false,'
    '"properties":{"level":{"type":["integer","null"],"minimum":0},"colour":{"anyOf":[{"type":"string"},'
    '{"type":"array","items":{"type":"number"}}]},"mode":{"enum":["warm",2,null]},"any":{},"deep":{"type":"object",'
    '"properties":{"list":{"type":"array"},"ref":{"$ref":"#/$defs/x"}}},"yes":true},"$defs":{"x":{"type":"string"}}}',
)
ULM = ToolCall("call_abc123", "get_weather", '{"city":"Ulm","days":2}')
ROM = ToolCall("call_def456", "get_weather", '{"city":"Rom","days":3}')
BROKEN = ToolCall("call_ghi789", "get_weather", "Ulm, please")
HI, HELLO, BYE = turn("user", "Hi there"), turn("assistant", "Hello friend"), turn("user", "Tell me more")
RESULT = turn("tool", "12 degrees and rain", call_id="call_abc123")
OTHER_RESULT = turn("tool", "25 degrees and sun", call_id="call_def456")

# Conversations, the tools that are offered in them, and words that must reach the prompt beside the last user's.
CONVERSATIONS: dict[str, tuple[tuple[Turn, ...], tuple[Tool, ...], tuple[str, ...]]] = {
    "plain": ((HI, HELLO, BYE), (), ("Hello friend",)),
    "system": ((turn("system", "Be brief"), HI), (), ("Be brief",)),
    "system at the end": ((HI, HELLO, BYE, turn("system", "Be brief")), (), ("Be brief",)),
    "two systems": ((turn("system", "Be brief"), HI, turn("system", "Be kind")), (), ("Be brief", "Be kind")),
    "nothing but a system": ((turn("system", "Be brief"),), (), ("Be brief",)),
    "empty assistant": ((HI, turn("assistant"), BYE), (), ("Hi there",)),
    "consecutive users": ((HI, turn("user", "Are you well?"), BYE), (), ("Hi there", "Are you well?")),
    "consecutive assistants": ((HI, HELLO, turn("assistant", "Well?"), BYE), (), ("Hello friend", "Well?")),
    "assistant first": ((HELLO, BYE), (), ("Hello friend",)),
    "system and assistant": ((turn("system", "Be brief"), HELLO, BYE), (), ("Be brief", "Hello friend")),
    "assistant last": ((HI, HELLO), (), ("Hello friend",)),
    "tools": ((HI,), (WEATHER, BARE), ("get_weather", "get_time")),
    "tools and a system": ((turn("system", "Be brief"), HI), (WEATHER, BARE), ("Be brief", "get_weather", "get_time")),
    "wild tools": ((HI,), (WILD, WEATHER), ("set_light", "colour")),
    "a call": ((HI, turn("assistant", calls=[ULM]), RESULT), (WEATHER,), ("get_weather", "Ulm", "12 degrees")),
    "a call that was answered": (
        (HI, turn("assistant", calls=[ULM]), RESULT, HELLO, BYE),
        (WEATHER,),
        ("Ulm", "12 degrees", "Hello friend"),
    ),
    "a call, and no tools now": (
        (HI, turn("assistant", calls=[ULM]), RESULT),
        (),
        ("get_weather", "Ulm", "12 degrees"),
    ),
    "two calls": (
        (HI, turn("assistant", calls=[ULM, ROM]), OTHER_RESULT, RESULT),
        (WEATHER,),
        ("Ulm", "Rom", "12 degrees", "25 degrees"),
    ),
    "two calls in a row": (
        (HI, turn("assistant", calls=[ULM]), RESULT, turn("assistant", calls=[ROM]), OTHER_RESULT),
        (WEATHER,),
        ("Ulm", "Rom", "12 degrees", "25 degrees"),
    ),
    "words behind a result": ((HI, turn("assistant", calls=[ULM]), RESULT, BYE), (WEATHER,), ("Ulm", "12 degrees")),
    "a call without a result": ((HI, turn("assistant", calls=[ULM]), BYE), (WEATHER,), ("Ulm",)),
    "one result of two": ((HI, turn("assistant", calls=[ULM, ROM]), RESULT), (WEATHER,), ("Rom", "12 degrees")),
    "a call at the end": ((HI, turn("assistant", calls=[ULM])), (WEATHER,), ("Ulm",)),
    "a result of nothing": ((HI, RESULT, BYE), (), ("12 degrees",)),
    "a result first": ((RESULT, BYE), (WEATHER,), ("12 degrees",)),
    "a broken call": ((HI, turn("assistant", calls=[BROKEN]), BYE), (WEATHER,), ("Ulm, please",)),
    "a thought": ((HI, turn("assistant", "Hello friend", thought="Be polite"), BYE), (), ("Hello friend",)),
    "a thought before a call": (
        (HI, turn("assistant", "One moment", calls=[ULM], thought="Ask the sky"), RESULT),
        (WEATHER,),
        ("Ulm", "12 degrees"),
    ),
    "unicode": ((turn("user", "Grüße, 你好 🙂 {{ x }}"),), (), ("Grüße, 你好 🙂 {{ x }}",)),
}


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "templates").glob("*.jinja"))


@pytest.mark.parametrize("quarter", range(4))
def test_no_template_objects_and_nothing_that_was_said_is_lost(engine_models: Path, quarter: int) -> None:
    wrong = {}
    for name in names(engine_models)[quarter::4]:
        source = (engine_models / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
        renderer = Renderer(Template(source, "<s>", "</s>", ("<|im_start|>", "<|im_end|>", "<s>")))
        for kind, (turns, tools, words) in CONVERSATIONS.items():
            asked = [each.text for each in turns if each.role == "user"][-1:]
            for thinks in (None, True, False):
                reply = answer(renderer, Render(1, turns, tools, thinks))
                if isinstance(reply, Refused):
                    wrong[name, kind, thinks] = reply.message
                    continue
                prompt = "".join(span.text for span in reply.prompt)
                if missing := [word for word in (*asked, *words) if word not in prompt]:
                    wrong[name, kind, thinks] = f"{missing} missing"

    assert wrong == {}
