"""What is decided about one conversation before its model is asked."""

from __future__ import annotations

import pytest

from edged.chat import ChatRequest, Message, Role, TextPart, ToolCall
from edged.local.manner import Manner, begun_answer, parted
from edged.speech.families import family_named
from edged.template_wire import Capabilities, Span
from edged.wire import ThoughtMarks

HARMONY = "<|channel|> <|message|>"
THINKER = "<tool_call> <function= <parameter= </think>"


def said(*turns: tuple[Role, str]) -> tuple[Message, ...]:
    return tuple(Message(role, (TextPart(text),)) for role, text in turns)


CALLING = Message("assistant", (TextPart("Look:"),), calls=(ToolCall("1", "weather", "{}"),))


@pytest.mark.parametrize(
    ("messages", "kept", "begun"),
    [
        (said(("user", "Hi")), 1, ""),
        (said(("user", "Hi"), ("assistant", "It is")), 1, "It is"),
        (said(("user", "Hi"), ("assistant", "It"), ("assistant", ""), ("assistant", "is")), 1, "It\n\nis"),
        (said(("user", "Hi"), ("assistant", "")), 2, ""),
        (said(("user", "Hi"), ("assistant", "It is"), ("user", "What?")), 3, ""),
        (said(("user", "Hi"), ("assistant", "It is"), ("system", "Go on.")), 3, ""),
        (said(("assistant", "It is")), 1, ""),
        ((*said(("user", "Hi")), CALLING), 2, ""),
        ((*said(("user", "Hi")), CALLING, *said(("assistant", "So"))), 2, "So"),
        ((), 0, ""),
    ],
)
def test_only_what_the_assistant_says_last_begins_an_answer(
    messages: tuple[Message, ...], kept: int, begun: str
) -> None:
    assert parted(messages) == (messages[:kept], begun)


@pytest.mark.parametrize(
    ("template", "prompt", "head"),
    [
        ("", "<|assistant|>\n", ""),
        (THINKER, "<|im_start|>assistant\n", ""),
        (THINKER, "<|im_start|>assistant\n<think>\n", "</think>\n\n"),
        (THINKER, "<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        (HARMONY, "<|start|>assistant", "<|channel|>final<|message|>"),
        (
            HARMONY,
            "<|start|>assistant<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
    ],
)
def test_a_begun_answer_is_no_thought_and_nobodys_control_token(template: str, prompt: str, head: str) -> None:
    spans = begun_answer("It is <|im_end|>", template, Capabilities(takes_tools=True), (Span("…"), Span(prompt)))

    assert spans == (*([Span(head)] if head else []), Span("It is <|im_end|>", literal=True))


@pytest.mark.parametrize(
    ("family", "marks"),
    [
        ("generic", None),
        ("qwen-xml", ThoughtMarks("<think>", "</think>", "</think>", True, 9)),
        (
            "harmony",
            ThoughtMarks(
                "<|channel|>analysis",
                "<|end|>",
                "<|end|><|start|>assistant<|channel|>final<|message|>",
                True,
                9,
                ("<|start|>",),
                headers=("<|start|>", "<|channel|>", " to="),
                header_end="<|message|>",
            ),
        ),
    ],
)
def test_the_worker_is_told_where_thoughts_stand_and_how_long_they_may_be(
    family: str, marks: ThoughtMarks | None
) -> None:
    template = THINKER if family == "qwen-xml" else ""
    manner = Manner(family_named(family, template), is_thinking=True)

    assert manner.thoughts(ChatRequest("id", thought_tokens=9)) == marks
