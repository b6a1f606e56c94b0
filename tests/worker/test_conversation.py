"""Conversations as clients send them become conversations that a template takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Role, TextPart, Tool, ToolCall
from edged.template_wire import Capabilities, Turn
from edged.worker.conversation import arguments_of, normalised

PLAIN = Capabilities()
# As Mistral's, as Llama 3.1's, and as one that takes everything.
STRICT = Capabilities(
    takes_system=True, takes_tools=True, calls="object", takes_results=True, call_ids="nine", takes_parallel_calls=True
)
SINGLE = Capabilities(
    takes_system=True,
    opens_with_user=False,
    takes_tools=True,
    calls="object",
    takes_results=True,
    takes_word_after_result=True,
)
ABLE = replace(
    SINGLE,
    takes_parallel_calls=True,
    words_with_calls="beside",
    thought="reasoning_content",
    takes_words_with_thought=True,
)
WEATHER = Tool("weather", "What it is like", '{"type":"object","properties":{"city":{"type":"string"}}}')
ULM = ToolCall("call_ulm", "weather", '{"city":"Ulm"}')
ROM = ToolCall("call_rom", "weather", '{"city":"Rom"}')


def turn(role: Role, text: str = "", calls: Sequence[ToolCall] = (), thought: str = "") -> Turn:
    return Turn(role, (TextPart(text),), thought, tuple(calls))


def result(text: str, call_id: str = "", tool: str = "") -> Turn:
    return Turn("tool", (TextPart(text),), call_id=call_id, tool=tool)


def laid_out(can: Capabilities, *turns: Turn, tools: Sequence[Tool] = ()) -> list[str]:
    """Each turn as one line: its role, the calls it makes, what is said."""
    said, _ = normalised(turns, tools, can)
    return [
        " ".join(filter(None, (each.role, each.thought and f"({each.thought})", each.text, *map(brief, each.calls))))
        for each in said
    ]


def brief(call: ToolCall) -> str:
    return f"→{call.name}{call.arguments}"


def test_what_is_in_order_stays_as_it_is() -> None:
    turns = (
        turn("system", "s"),
        turn("user", "a"),
        turn("assistant", "b", [ULM], thought="t"),
        result("12", "call_ulm", "weather"),
        turn("assistant", "c"),
        turn("user", "d"),
    )

    assert normalised(turns, (WEATHER,), ABLE) == (turns, (WEATHER,))


def test_all_system_messages_come_first_as_one() -> None:
    said = (turn("user", "a"), turn("system", "one"), turn("assistant", "b"), turn("system", "two"))

    assert laid_out(ABLE, *said) == ["system one\n\ntwo", "user a", "assistant b"]


def test_a_template_without_a_system_turn_has_its_words_in_the_first_users() -> None:
    assert laid_out(PLAIN, turn("system", "be brief"), turn("user", "a")) == ["user be brief\n\na"]
    assert laid_out(PLAIN, turn("system", "be brief"), turn("assistant", "b"), turn("user", "a")) == [
        "user be brief",
        "assistant b",
        "user a",
    ]


def test_empty_assistants_vanish_and_neighbours_are_joined() -> None:
    said = (
        turn("user", "a"),
        turn("assistant", " \n"),
        turn("user", "b"),
        turn("assistant", "c"),
        turn("assistant", "d"),
    )

    assert laid_out(ABLE, *said) == ["user a\n\nb", "assistant c\n\nd"]


def test_a_conversation_that_an_assistant_begins_gets_a_user_where_one_has_to_begin() -> None:
    assert laid_out(STRICT, turn("assistant", "a")) == ["user", "assistant a"]
    assert laid_out(ABLE, turn("assistant", "a")) == ["assistant a"]


def test_results_come_in_the_order_of_the_calls_by_id_by_name_or_by_order() -> None:
    calls = turn("assistant", calls=[ULM, replace(ROM, name="sky")])
    expected = ["user a", 'assistant →weather{"city":"Ulm"} →sky{"city":"Rom"}', "tool 12", "tool 25"]

    for one, other in (
        (result("25", "call_rom"), result("12", "call_ulm")),
        (result("25", tool="sky"), result("12", tool="weather")),
        (result("12"), result("25")),
    ):
        assert laid_out(ABLE, turn("user", "a"), calls, one, other) == expected


def test_a_call_that_was_never_answered_says_so() -> None:
    said = (turn("user", "a"), turn("assistant", calls=[ULM, ROM]), result("25", "call_rom"), turn("user", "b"))

    assert laid_out(ABLE, *said)[2:] == ["tool (no result)", "tool 25", "user b"]


def test_a_result_that_belongs_to_no_call_is_a_users_word() -> None:
    said = (turn("user", "a"), turn("assistant", calls=[ULM]), result("12", "call_ulm"), result("x", "other", "sky"))

    assert laid_out(ABLE, *said)[2:] == ["tool 12", "user Result of sky:\nx"]
    assert laid_out(ABLE, result("x"), turn("user", "b")) == ["user Result of a tool:\nx\n\nb"]


def test_where_calls_have_no_place_they_and_their_results_are_words() -> None:
    said = (turn("user", "a"), turn("assistant", "Wait.", [ULM]), result("12", "call_ulm"), turn("user", "b"))

    assert laid_out(PLAIN, *said) == [
        "user a",
        'assistant Wait.\n\n{"tool_calls": [{"name": "weather", "arguments": {"city": "Ulm"}}]}',
        "user Result of weather:\n12\n\nb",
    ]


def test_where_only_calls_have_no_place_results_have_theirs() -> None:
    said = (turn("user", "a"), turn("assistant", calls=[ULM]), result("12", "call_ulm"), result("x", tool="sky"))

    assert laid_out(replace(PLAIN, takes_results=True, takes_word_after_result=True), *said) == [
        "user a",
        'assistant {"tool_calls": [{"name": "weather", "arguments": {"city": "Ulm"}}]}',
        "tool 12",
        "user Result of sky:\nx",
    ]


def test_where_tools_have_no_place_the_system_describes_them() -> None:
    said, tools = normalised(
        (turn("system", "Be brief."), turn("user", "a")), (WEATHER,), replace(PLAIN, takes_system=True)
    )

    assert tools == ()
    assert said[0].text == (
        "Be brief.\n\nYou can use these tools:\n"
        '{"name": "weather", "description": "What it is like", '
        '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}\n\n'
        "To use tools, answer with nothing but JSON of this form:\n"
        '{"tool_calls": [{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}]}\n'
        "You will be told the results. Where no tool is needed, answer in words."
    )


def test_one_call_at_a_time_where_a_template_takes_only_one() -> None:
    calls = turn("assistant", "Wait.", [ULM, ROM])
    said = (turn("user", "a"), calls, result("25", "call_rom"), result("12", "call_ulm"))

    assert laid_out(replace(SINGLE, words_with_calls="beside"), *said) == [
        "user a",
        'assistant Wait. →weather{"city":"Ulm"}',
        "tool 12",
        'assistant →weather{"city":"Rom"}',
        "tool 25",
    ]


def test_a_word_behind_a_result_waits_for_an_answer_where_it_has_to() -> None:
    said = (turn("user", "a"), turn("assistant", calls=[ULM]), result("12", "call_ulm"), turn("user", "b"))

    assert laid_out(STRICT, *said)[2:] == ["tool 12", "assistant OK.", "user b"]


def test_thoughts_go_where_the_template_has_a_place_for_them() -> None:
    said = turn("assistant", "Wait.", [ULM], thought="Hm")
    narrow = replace(ABLE, takes_words_with_thought=False)

    assert laid_out(ABLE, said)[0] == 'assistant (Hm) Wait. →weather{"city":"Ulm"}'
    assert laid_out(narrow, said)[0] == 'assistant (Hm\n\nWait.) →weather{"city":"Ulm"}'
    assert laid_out(replace(ABLE, thought="none"), said)[0] == 'assistant Wait. →weather{"city":"Ulm"}'


def test_words_beside_a_call_go_before_it_or_are_left_out_where_they_have_no_place() -> None:
    said = (turn("user", "a"), turn("assistant", "Wait.", [ULM]), result("12", "call_ulm"))

    assert laid_out(replace(ABLE, words_with_calls="before"), *said)[1:3] == [
        "assistant Wait.",
        'assistant →weather{"city":"Ulm"}',
    ]
    assert laid_out(replace(ABLE, words_with_calls="none"), *said)[1] == 'assistant →weather{"city":"Ulm"}'


def ids(can: Capabilities, *turns: Turn) -> list[str]:
    said, _ = normalised(turns, (), can)
    return [call.id for each in said for call in each.calls] + [each.call_id for each in said if each.role == "tool"]


def test_ids_have_the_form_that_the_template_wants_and_stay_pairs() -> None:
    said = (turn("user", "a"), turn("assistant", calls=[ULM, ROM]), result("25", "call_rom"), result("12", "call_ulm"))

    assert ids(ABLE, *said) == ["call_ulm", "call_rom"] * 2
    assert ids(replace(ABLE, call_ids="named"), *said) == ["functions.weather:0", "functions.weather:1"] * 2
    nine = ids(STRICT, *said)
    assert nine[:2] == nine[2:]
    assert len(set(nine)) == 2
    assert all(len(id) == 9 and id.isalnum() for id in nine)
    assert ids(STRICT, turn("user", "other"), *said) == nine


def test_an_id_that_has_the_form_already_stays() -> None:
    call = replace(ULM, id="Ab3456789")

    assert ids(STRICT, turn("user", "a"), turn("assistant", calls=[call]), result("12", call.id)) == ["Ab3456789"] * 2


def test_calls_without_ids_get_some() -> None:
    bare = (replace(ULM, id=""), replace(ROM, id=""))

    assert ids(STRICT, turn("user", "a"), turn("assistant", calls=bare), result("12"), result("25")) == [
        "call00000",
        "call00001",
        "call00000",
        "call00001",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ("Ulm, please", {"arguments": "Ulm, please"}),
        ("{", {"arguments": "{"}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(text: str, value: object) -> None:
    assert arguments_of(replace(ULM, arguments=text)) == value


words = st.text("ab \n", max_size=4)
some_ids = st.sampled_from(["", "1", "2", "123456789"])
some_calls = st.builds(ToolCall, some_ids, st.sampled_from(["f", "g"]), st.sampled_from(["", "{}", '{"a":"b"}', "x"]))
some_turns = st.builds(
    lambda role, text, thought, calls, id: Turn(
        role, (TextPart(text),), thought, tuple(calls) if role == "assistant" else (), id if role == "tool" else ""
    ),
    st.sampled_from(["system", "user", "assistant", "tool"]),
    words,
    words,
    st.lists(some_calls, max_size=3),
    some_ids,
)


@given(st.lists(some_turns, max_size=8), st.sampled_from([PLAIN, STRICT, SINGLE, ABLE]))
def test_whatever_is_said_the_order_is_one_that_templates_take(turns: list[Turn], can: Capabilities) -> None:
    said, _ = normalised(turns, (), can)

    roles = [each.role for each in said]
    assert "system" not in roles[1:]
    assert can.takes_system or "system" not in roles
    assert all(each.text.strip() or each.calls for each in said if each.role == "assistant")
    assert not [pair for pair in pairwise(roles) if pair in (("user",) * 2, ("assistant",) * 2)]
    if can.opens_with_user:
        assert roles[roles[:1] == ["system"]] == "user"
    open_calls: list[str] = []
    for each in said:
        if each.role == "tool":
            assert each.call_id == open_calls.pop(0)
        else:
            assert open_calls == []
            open_calls = [call.id for call in each.calls]
            assert can.takes_parallel_calls or len(open_calls) <= 1
    assert open_calls == []


@given(st.lists(some_turns, max_size=8))
def test_roles_alternate_around_calls_where_a_template_insists(turns: list[Turn]) -> None:
    said, _ = normalised(turns, (), STRICT)

    speaking = [each.role for each in said if each.role in ("user", "assistant") and not each.calls]
    assert speaking == [("user", "assistant")[index % 2] for index in range(len(speaking))]


@given(st.lists(some_turns, max_size=8), st.sampled_from([PLAIN, STRICT, SINGLE, ABLE]))
def test_to_normalise_twice_is_to_normalise_once(turns: list[Turn], can: Capabilities) -> None:
    once, _ = normalised(turns, (), can)

    assert normalised(once, (), can) == (once, ())


@given(st.lists(some_turns, max_size=8), st.sampled_from([PLAIN, STRICT, SINGLE, ABLE]))
def test_every_word_of_users_systems_and_tools_is_kept(turns: list[Turn], can: Capabilities) -> None:
    marked = [
        replace(each, parts=(TextPart(f"<{index}>{each.text}"),))
        for index, each in enumerate(turns)
        if each.role != "assistant"
    ]
    said, _ = normalised(marked, (), can)

    everything = "".join(each.text for each in said)
    assert all(each.text in everything for each in marked)
