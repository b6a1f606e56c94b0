"""Where thoughts begin and end, however an answer is cut, and that they end."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.chat import ChatRequest, Tool
from edged.local.manner import Manner
from edged.speech.families import _TABLE as TABLE
from edged.speech.families import Family, family_named
from edged.wire import ThoughtMarks
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.thinking import Thinking
from tests.speech.test_reply import read

MARKS = ThoughtMarks("<t>", "</t>", "</t>")
BEGUN = replace(MARKS, has_begun=True)
CALLING = replace(BEGUN, breaks=("<call>",))
ANYWHERE = replace(MARKS, is_anywhere=True)
HEADED = ThoughtMarks(
    "|analysis", "|end", "|end|start", breaks=("|start",), headers=("|start", "|channel"), header_end="|message"
)


def pieces(text: str, marks: ThoughtMarks, places: list[int]) -> list[tuple[str, bool]]:
    """What an answer consists of that is cut at `places`, with neighbours of a kind put together."""
    thinking = Thinking(marks)
    bounds = sorted({0, *(min(place, len(text)) for place in places), len(text)})
    found = [piece for start, end in pairwise(bounds) for piece in thinking.split(text[start:end])]
    joined: list[tuple[str, bool]] = []
    for piece, is_thought in [*found, *thinking.flush()]:
        if joined and joined[-1][1] == is_thought:
            piece = joined.pop()[0] + piece
        joined.append((piece, is_thought))
    return joined


@pytest.mark.parametrize(
    ("marks", "text", "expected"),
    [
        (MARKS, "Hello", [("Hello", False)]),
        (MARKS, " \n<t>so</t>\n\nHello <t>", [(" \n<t>so</t>\n\n", True), ("Hello <t>", False)]),
        (MARKS, "<div>", [("<div>", False)]),
        (MARKS, "\n" * 40, [("\n" * 40, False)]),
        (BEGUN, "so</t> Hello</t>", [("so</t> ", True), ("Hello</t>", False)]),
        (BEGUN, "so it is", [("so it is", True)]),
        (BEGUN, "so <call>x", [("so <call>x", True)]),
        (CALLING, "so <call>x</t>", [("so ", True), ("<call>x</t>", False)]),
        (CALLING, "so</t> <call>x", [("so</t> ", True), ("<call>x", False)]),
        (ANYWHERE, "Hi <t>so</t> you<t>!", [("Hi ", False), ("<t>so</t> ", True), ("you", False), ("<t>!", True)]),
        (HEADED, "|channel|final|messageHi", [("|channel|final|message", True), ("Hi", False)]),
        (
            HEADED,
            "|channel|analysis|messageso|end|start|channel|analysis|messageand|end|start|channel|final|messageHi",
            [
                (
                    "|channel|analysis|messageso|end|start|channel|analysis|messageand|end|start|channel|final|message",
                    True,
                ),
                ("Hi", False),
            ],
        ),
        (HEADED, "Hi", [("Hi", False)]),
        (HEADED, "|start" + "x" * 600, [("|start" + "x" * 600, False)]),
        (replace(HEADED, has_begun=True), "so|endHi", [("so|end", True), ("Hi", False)]),
    ],
)
def test_any_cut_finds_the_same_thoughts(marks: ThoughtMarks, text: str, expected: list[tuple[str, bool]]) -> None:
    for cut in range(len(text) + 1):
        assert pieces(text, marks, [cut]) == expected
    assert pieces(text, marks, list(range(len(text)))) == expected


WORDS = ["<t>", "</t>", "<call>", "<", "/", "t>", " ", "\n", "x", "|end", "|start", "|channel", "|analysis", "|message"]


@given(
    st.lists(st.sampled_from(WORDS), max_size=12),
    st.lists(st.integers(0, 60), max_size=12),
    st.sampled_from([MARKS, BEGUN, CALLING, ANYWHERE, HEADED]),
)
@example(["<t>", "x", "</t>", "x", "</t>"], [1, 2, 5, 6, 7], MARKS)
def test_however_it_is_cut_nothing_is_lost_and_nothing_changes(
    words: list[str], places: list[int], marks: ThoughtMarks
) -> None:
    text = "".join(words)
    found = pieces(text, marks, places)

    assert "".join(piece for piece, _ in found) == text
    assert found == pieces(text, marks, [])


FAMILIES = [row for row, _ in TABLE] + [family_named("hermes", "</think>"), family_named("qwen-xml", "</think>")]


@given(
    st.sampled_from([family for family in FAMILIES if family.first_thought]),
    st.lists(st.sampled_from(["so ", "Hello. ", "\n\n", "[OPEN]", "[CLOSE]", "[FINAL]"]), max_size=8),
    st.booleans(),
)
def test_what_is_a_thought_for_the_reader_of_a_reply_is_one_for_the_worker(
    family: Family, words: list[str], is_thinking: bool
) -> None:
    tags = family.first_thought
    assert tags is not None
    final = "<|start|>assistant<|channel|>final<|message|>" if family.is_harmony else ""
    marks = {"[OPEN]": tags.open, "[CLOSE]": tags.close, "[FINAL]": final}
    text = "".join(marks.get(word, word) for word in words)
    manner = Manner(family, (Tool("f"),), is_thinking)
    worker = manner.thoughts(ChatRequest("id"))
    assert worker is not None

    def letters(words: str) -> str:
        """Without marks: where they are out of place it is not said who shows them."""
        for mark in (tags.open, tags.close, final, "<|start|>assistant", "<|end|>"):
            words = words.replace(mark, "")
        return "".join(words.split())

    here = "".join(piece for piece, is_thought in pieces(text, worker, []) if not is_thought)
    there = read(family, [text], (Tool("f"),), is_thinking=is_thinking)[0].words
    assert letters(here) == letters(there)


def sequence(thinking: Thinking, *stops: str) -> Sequence:
    return Sequence(1, [7], 1, 100, StopFilter(stops or ("stop",)), thinking=thinking)


def tell(sequence: Sequence, *pieces: str) -> str:
    """What is shown of an answer of these pieces."""
    for token, piece in enumerate(pieces):
        if sequence.finish is None:
            sequence.accept(token, piece.encode(), is_end=False)
    return sequence.take_said()[0]


@pytest.mark.parametrize(
    ("thinking", "stop", "pieces", "shown", "finish"),
    [
        (Thinking(BEGUN), "stop", ["I must not stop", "</t>", "Now s", "top here"], "I must not stop</t>Now ", "stop"),
        (Thinking(MARKS), "stop", [" <t", ">stop", "</t>stop"], " <t>stop</t>", "stop"),
        (Thinking(MARKS), "stop", ["Do stop"], "Do ", "stop"),
        (Thinking(BEGUN), "stop", ["stop ", "</"], "stop ", None),
        (Thinking(BEGUN), "\n", ["a\n", "</t>", "\n", "\nHello", "\n"], "a\n</t>\n\nHello", "stop"),
        (Thinking(HEADED), "final", ["|channel|final", "|messageHi", " final"], "|channel|final|messageHi ", "stop"),
        (Thinking(ANYWHERE), "stop", ["sto<t>", "stop", "</t>p stop"], "sto<t>stop</t>p ", "stop"),
    ],
)
def test_stop_strings_end_answers_and_not_thoughts(
    thinking: Thinking, stop: str, pieces: list[str], shown: str, finish: str | None
) -> None:
    told = sequence(thinking, stop)

    assert tell(told, *pieces) == shown
    assert told.finish == finish


def test_an_answer_that_ends_in_its_thought_loses_nothing() -> None:
    told = sequence(Thinking(BEGUN))
    tell(told, "so it is <", "/t")

    told.end("length")

    assert told.take_said()[0] == "</t"


def test_a_stop_string_that_might_have_been_a_thought_stops() -> None:
    told = sequence(Thinking(MARKS), "\n")
    tell(told, "\n")

    told.end("length")

    assert (told.take_said()[0], told.finish, told.stops.met) == ("", "stop", "\n")


@pytest.mark.parametrize(
    ("marks", "pieces", "ends_after"),
    [
        (replace(BEGUN, most_tokens=3), ["a", "b", "c", "d"], [3]),
        (replace(BEGUN, most_tokens=3), ["a", "b</t>", "c", "d"], []),
        (replace(BEGUN, most_tokens=0), ["a", "b"], [1]),
        (replace(MARKS, most_tokens=2), ["<", "t>", "b", "c"], [3]),
        (replace(MARKS, most_tokens=2), ["a", "b", "c", "d"], []),
        (replace(MARKS, most_tokens=0), ["<", "div>"], []),
        (replace(MARKS, most_tokens=0), ["\n", "Hi"], []),
        (BEGUN, ["a"] * 50, []),
        (replace(CALLING, most_tokens=2), ["a", "<call>", "b", "c"], []),
        (replace(HEADED, most_tokens=0), ["|channel", "|final", "|message", "a"], []),
        (
            replace(HEADED, most_tokens=1),
            ["|channel|analysis|message", "a", "|end|start|channel|analysis|message"],
            [1, 3],
        ),
        (replace(ANYWHERE, most_tokens=2), ["a", "<t>", "b", "</t>", "c", "<t>", "d"], [3, 6]),
    ],
)
def test_thoughts_are_ended_once_each_and_in_time(
    marks: ThoughtMarks, pieces: list[str], ends_after: list[int]
) -> None:
    told, ended = sequence(Thinking(marks, [5, 6])), []
    for count, piece in enumerate(pieces, start=1):
        told.accept(0, piece.encode(), is_end=False)
        if tokens := told.take_ending():
            assert tokens == (5, 6)
            ended.append(count)

    assert ended == ends_after


def test_a_thought_is_not_ended_inside_of_a_character() -> None:
    told = sequence(Thinking(replace(BEGUN, most_tokens=1), [5]))
    ended = []
    for piece in (b"\xe4\xbd", b"\xa0"):
        told.accept(0, piece, is_end=False)
        ended.append(told.take_ending())

    assert ended == [(), (5,)]
    assert told.take_said()[0] == "你"
