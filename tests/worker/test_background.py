"""When vectors are made: what a portion may take, who has precedence, and when the memory is given back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edged.shares import SMALLEST_CHUNK_TOKENS
from edged.wire import Embed, Embedded, Frame, Rejected, Step
from edged.worker.background import MOST_PASSED_OVER, Allowance, Background
from edged.worker.pace import LONGEST_GAP_STEPS, LONGEST_STEP_S
from tests.fakes import FakeVectors

TEXT = Embed(1, "", (1, 2, 3))
LONG_CHUNK = SMALLEST_CHUNK_TOKENS + 1


@dataclass
class FakePipe:
    """Writes down what is sent; `news` is what a wait for it would find."""

    sent: list[Frame] = field(default_factory=list)
    news: bool = False
    waits: int = 0

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def has_news(self, within_s: float) -> bool:
        self.waits += 1
        return self.news


def background(engine: FakeVectors | None = None) -> tuple[Background, FakePipe]:
    pipe = FakePipe()
    stand_ins: tuple[Any, Any] = (pipe, engine or FakeVectors(can_split=True))
    return Background(*stand_ins), pipe


def test_the_first_portions_are_small_because_nobody_knows_yet_what_they_cost() -> None:
    allowance = Allowance()

    assert allowance.tokens(has_decoding=True) == SMALLEST_CHUNK_TOKENS
    allowance.observe(8, 0.008)
    assert allowance.tokens(has_decoding=True) == SMALLEST_CHUNK_TOKENS, "what a step of the chats costs is not known"


@given(st.floats(1e-4, 1.0), st.floats(1e-5, 0.1))
def test_beside_a_stream_a_portion_keeps_the_bound_of_a_prompts_chunk(chat_step_s: float, token_s: float) -> None:
    allowance = Allowance()
    allowance.observe_chat(chat_step_s)
    allowance.observe(16, 16 * token_s)

    beside, alone = allowance.tokens(has_decoding=True), allowance.tokens(has_decoding=False)

    most_s = min((LONGEST_GAP_STEPS - 1) * chat_step_s, LONGEST_STEP_S)
    assert beside == SMALLEST_CHUNK_TOKENS or beside * token_s <= most_s * 1.001
    assert alone == SMALLEST_CHUNK_TOKENS or alone * token_s <= LONGEST_STEP_S * 1.001
    assert beside <= alone


def test_vectors_are_passed_over_for_prompts_but_not_for_ever() -> None:
    vectors, pipe = background()
    vectors.submit(TEXT)

    for _ in range(MOST_PASSED_OVER):
        assert not vectors.is_due
        vectors.follow(LONG_CHUNK, 0.1, has_decoding=True)
    assert pipe.sent == []

    assert vectors.is_due, "the next step of the chats is asked to be short"
    vectors.follow(SMALLEST_CHUNK_TOKENS, 0.1, has_decoding=True)
    assert [type(frame) for frame in pipe.sent] == [Embedded, Step]
    assert not vectors.is_due


def test_after_a_step_that_read_no_prompt_vectors_have_their_turn() -> None:
    vectors, pipe = background()
    vectors.submit(TEXT)
    vectors.follow(0, 0.1, has_decoding=True)

    assert [type(frame) for frame in pipe.sent] == [Embedded, Step]
    assert isinstance(pipe.sent[1], Step)
    assert pipe.sent[1].prompt_tokens == 3


def test_a_long_text_tells_of_every_step_so_that_nobody_takes_it_for_a_hang() -> None:
    vectors, pipe = background()
    vectors.submit(Embed(1, "", tuple(range(40))))
    while not vectors.is_idle:
        vectors.follow(0, 0.1, has_decoding=True)

    steps = [frame for frame in pipe.sent if isinstance(frame, Step)]
    assert len(steps) > 2
    assert sum(step.prompt_tokens for step in steps) == 40
    assert isinstance(pipe.sent[-2], Embedded)


def test_without_texts_nothing_is_done_and_nobody_was_passed_over() -> None:
    vectors, pipe = background()
    for _ in range(2 * MOST_PASSED_OVER):
        vectors.follow(LONG_CHUNK, 0.1, has_decoding=True)
    vectors.submit(TEXT)

    assert not vectors.is_due
    assert pipe.sent == []


def test_a_text_that_is_too_long_is_refused_at_once_and_a_cancelled_one_is_gone() -> None:
    vectors, pipe = background()
    vectors.submit(Embed(7, "", (1,) * 65))
    assert pipe.sent == [Rejected(7, 65, 64)]

    vectors.submit(TEXT)
    vectors.cancel(TEXT.id)
    assert vectors.is_idle


def test_memory_is_given_back_when_nobody_asks_for_long_and_not_before() -> None:
    engine = FakeVectors(can_split=True)
    vectors, pipe = background(engine)
    vectors.rest()
    assert pipe.waits == 0, "nothing to give back, nothing to wait for"

    vectors.submit(TEXT)
    vectors.follow(0, 0.1, has_decoding=False)
    pipe.news = True
    vectors.rest()
    assert engine.prepared_tokens
    pipe.news = False
    vectors.rest()
    assert not engine.prepared_tokens
