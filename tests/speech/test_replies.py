"""A worker's text becomes events: nothing is lost on the way, neither tokens nor log-probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Tool
from edged.completion import CallDelta, Delta, Event, Finish, FinishReason, Progress, Thought, TokenLogprob
from edged.speech.families import GENERIC, Family, family_named
from edged.speech.replies import new_call_id, read

TOOLS = (Tool("now"),)
QWEN = family_named("hermes", "<think>")
CALL = '<tool_call>\n{"name": "now", "arguments": {"at": 1}}\n</tool_call>'


async def sent(events: Iterable[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


async def heard(
    events: Iterable[Event], family: Family = QWEN, tools: tuple[Tool, ...] = TOOLS, *, is_thinking: bool = False
) -> list[Event]:
    ids = count(1)
    reading = read(sent(events), family, tools, is_thinking=is_thinking, new_id=lambda: f"call_{next(ids)}")
    return [event async for event in reading]


def answer(*texts: str, reason: FinishReason = "stop", choice: int = 0) -> list[Event]:
    """Two tokens a piece, and one that ends the turn."""
    return [*[Delta(choice, text, 2) for text in texts], Finish(choice, reason, 2 * len(texts) + 1)]


async def test_thoughts_words_and_calls() -> None:
    events = await heard(answer("<thi", "nk>\nHm", ".\n</think>\n", "\nWell", ".", "\n" + CALL[:40], CALL[40:]))
    assert events == [
        Thought(0, "Hm", 4),
        Thought(0, ".", 2),
        Delta(0, "Well", 2),
        Delta(0, ".", 2),
        CallDelta(0, 0, '{"at": 1}', "call_1", "now", 4),
        Finish(0, "tool_calls", 15),
    ]


async def test_every_choice_is_read_for_itself() -> None:
    one, other = answer("<think>a", "b</think>c"), answer("x", "y", choice=1)
    mixed = [event for pair in zip(one, other, strict=True) for event in pair]
    events = await heard(mixed)
    assert "".join(event.text for event in events if isinstance(event, Thought)) == "ab"
    assert "".join(event.text for event in events if isinstance(event, Delta) and event.choice == 1) == "xy"
    assert [event.choice for event in events if isinstance(event, Finish)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        (CALL, "stop", "tool_calls"),
        (CALL, "length", "length"),
        (CALL[:30], "stop", "stop"),
        ("Well.", "stop", "stop"),
        (CALL + CALL[:-20], "stop", "tool_calls"),
    ],
)
async def test_a_reply_with_a_whole_call_ended_for_it(text: str, reason: FinishReason, expected: FinishReason) -> None:
    assert (await heard(answer(text, reason=reason)))[-1] == Finish(0, expected, 3)


async def test_what_needs_no_reading_passes_as_it_is() -> None:
    events = sent(answer("<tool_call>"))
    assert read(events, GENERIC, (), is_thinking=False) is events


async def test_words_come_at_once() -> None:
    assert await heard(answer("Well", " <b", ">.")) == [
        Delta(0, "Well", 2),
        Delta(0, " <b", 2),
        Delta(0, ">.", 2),
        Finish(0, "stop", 7),
    ]


def scored(text: str) -> list[TokenLogprob]:
    return [TokenLogprob(piece.encode(), -1.0) for piece in re.findall(r"<[^>]*>|\w+|\s+|.", text)]


@given(st.integers(1, 5))
async def test_log_probabilities_go_with_the_words_that_are_shown(most: int) -> None:
    text = f"<think>Hm ä.</think>\n\nIt rains, ö.\n{CALL}"
    scores = scored(text)
    events: list[Event] = []
    for start in range(0, len(scores), most):
        batch = tuple(scores[start : start + most])
        events.append(Delta(0, b"".join(score.piece for score in batch).decode(), len(batch), batch))
    events.append(Finish(0, "stop", len(scores) + 1))
    found = await heard(events)
    shown = [score.piece.decode() for event in found if isinstance(event, Delta) for score in event.logprobs]
    assert "".join(shown) == "It rains, ö."
    assert sum(event.tokens for event in found if not isinstance(event, Finish | Progress)) <= len(scores)
    assert math.isclose(found[-1].completion_tokens if isinstance(found[-1], Finish) else 0, len(scores) + 1)


@given(st.text("<think>/ab\n", max_size=60), st.integers(1, 7))
async def test_tokens_add_up(text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)] + ["!"]
    found = await heard([*[Delta(0, piece, 3) for piece in pieces], Finish(0, "length", 3 * len(pieces))])
    assert sum(event.tokens for event in found if not isinstance(event, Finish | Progress)) == 3 * len(pieces)


def test_ids_are_as_long_as_the_template_wants_them() -> None:
    assert re.fullmatch(r"call_[0-9a-f]{24}", new_call_id(QWEN))
    assert re.fullmatch(r"[0-9a-f]{9}", new_call_id(family_named("mistral-list")))
    assert new_call_id(QWEN) != new_call_id(QWEN)
