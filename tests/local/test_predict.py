"""When the first word will come: the arithmetic, what it learns from, and where it does not guess."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.chat import Caller, ChatRequest, Message, Role, TextPart
from edged.local.estimate import Sizes
from edged.local.outlook import Outlook
from edged.local.predict import Effort, Forecast, Running, forecast
from edged.local.speed import Speed, StepCosts
from edged.wire import Output, Step

STEP_S, ROW_S = 0.04, 0.01


@dataclass(frozen=True, slots=True)
class Known:
    """A machine on which a step costs 40 ms and 10 ms for each row, and reads 20 tokens beside others, 100 alone."""

    is_measured: bool = True
    hand_over_s: float = 0.0

    def step_s(self, decoding: int, read: int) -> float:
        return STEP_S + (decoding + read) * ROW_S

    def chunk_tokens(self, decoding: int) -> int:
        return 20 if decoding else 100


def drawing(tokens: int) -> Running:
    return Running(Effort(0, tokens))


def test_alone_it_takes_as_long_as_reading_takes() -> None:
    expected = forecast([], [Effort(100, 50)], 8, Known())

    assert expected.wait_s == 0
    assert expected.first_token_s == pytest.approx(STEP_S + 100 * ROW_S)
    assert expected.latest_s is None


def test_beside_others_reading_goes_by_smaller_chunks() -> None:
    expected = forecast([drawing(100)] * 4, [Effort(100, 50)], 4, Known())

    assert expected.wait_s == 0
    assert expected.first_token_s == pytest.approx(5 * (STEP_S + 24 * ROW_S))


def test_the_step_that_is_under_way_ends_before_anybody_is_read() -> None:
    expected = forecast([drawing(100)], [Effort(20, 50)], 7, Known(), rest_s=0.5)

    assert expected.first_token_s == pytest.approx(0.5 + STEP_S + 21 * ROW_S)


def test_who_has_not_come_to_the_worker_yet_waits_for_the_next_step() -> None:
    expected = forecast([drawing(100)], [Effort(20, 50)], 7, Known(hand_over_s=0.06), rest_s=0.05)

    assert expected.first_token_s == pytest.approx(0.05 + STEP_S + ROW_S + STEP_S + 21 * ROW_S)


def test_who_was_granted_before_is_read_before() -> None:
    coming = Running(Effort(100, 50), begins_s=0.01)
    expected = forecast([coming], [Effort(20, 50)], 7, Known(hand_over_s=0.02))

    assert expected.first_token_s == pytest.approx(0.01 + (STEP_S + 100 * ROW_S) + (STEP_S + 21 * ROW_S))


def test_without_a_free_slot_it_waits_for_the_shortest_answer() -> None:
    expected = forecast([drawing(30), drawing(10)], [Effort(20, 50)], 0, Known())

    assert expected.wait_s == pytest.approx(10 * (STEP_S + 2 * ROW_S))
    assert expected.first_token_s > expected.wait_s


def test_who_is_ahead_in_the_line_comes_first() -> None:
    alone = forecast([drawing(10)], [Effort(20, 50)], 0, Known())
    behind = forecast([drawing(10)], [Effort(20, 50), Effort(20, 50)], 0, Known())

    assert behind.wait_s > alone.wait_s + 50 * STEP_S


def test_an_unmeasured_machine_is_a_guess_and_says_so() -> None:
    assert not forecast([], [Effort(100, 50)], 8, Speed()).is_measured


efforts = st.builds(Effort, st.integers(0, 5000), st.integers(1, 2048), st.integers(1, 8))
holders = st.builds(Running, efforts, st.none() | st.floats(0, 2))
rests = st.none() | st.floats(0, 3)


@settings(deadline=None)
@given(st.lists(holders, max_size=8), st.lists(efforts, min_size=1, max_size=12), st.integers(0, 8), rests)
def test_every_line_has_an_end(running: list[Running], line: list[Effort], free: int, rest_s: float | None) -> None:
    expected = forecast(running, line, free, Known(hand_over_s=0.003), rest_s)

    assert 0 <= expected.wait_s < expected.first_token_s < float("inf")


@given(st.lists(st.tuples(st.integers(1, 600), st.floats(0.001, 10)), min_size=1, max_size=30), st.integers(1, 2000))
def test_a_cost_is_never_outside_of_what_was_seen_but_beyond_the_largest(
    steps: list[tuple[int, float]], rows: int
) -> None:
    costs = StepCosts()
    for seen, step_s in steps:
        costs.observe(seen, step_s)

    seen_s = [step_s for _, step_s in steps]
    answer = costs.step_s(rows, (0.0, min(seen_s)))
    assert answer >= min(seen_s) * 0.999
    if rows <= max(seen for seen, _ in steps) / 1.2:
        assert answer <= max(seen_s) * 1.001


def measured() -> Speed:
    speed = Speed()
    for rows in (*range(1, 9), 20, 40, 100):
        for _ in range(8):
            decoding, read = (rows, 0) if rows < 9 else (0, rows)
            speed.note_step(decoding, read, 100, STEP_S + rows * ROW_S)
    return speed


def test_steps_cost_what_they_have_cost_and_those_in_between_something_in_between() -> None:
    speed = measured()

    assert speed.is_measured
    assert speed.step_s(4, 0) == pytest.approx(STEP_S + 4 * ROW_S)
    assert speed.step_s(0, 40) == pytest.approx(STEP_S + 40 * ROW_S)
    assert speed.step_s(5, 65) == pytest.approx(STEP_S + 70 * ROW_S, rel=0.02)
    assert speed.step_s(2, 8) == pytest.approx(STEP_S + 10 * ROW_S, rel=0.02)


def test_a_machine_that_has_become_slower_is_believed_for_every_step() -> None:
    speed = measured()
    for _ in range(20):
        speed.note_step(4, 0, 0, 2 * (STEP_S + 4 * ROW_S))

    assert speed.step_s(0, 40) == pytest.approx(2 * (STEP_S + 40 * ROW_S))
    assert speed.step_s(4, 0) == pytest.approx(2 * (STEP_S + 4 * ROW_S))


def test_two_late_steps_change_nothing_but_their_own_kind() -> None:
    speed = measured()
    for _ in range(2):
        speed.note_step(4, 0, 0, 10.0)

    assert speed.step_s(0, 40) == pytest.approx(STEP_S + 40 * ROW_S)


def test_chunks_are_those_of_the_nearest_number_of_answers_and_alone_is_a_case_of_its_own() -> None:
    speed = Speed()
    speed.note_step(0, 512, 512, 1.0)
    speed.note_step(1, 10, 12, 0.1)
    speed.note_step(6, 48, 48, 0.4)

    assert [speed.chunk_tokens(decoding) for decoding in (0, 1, 2, 5, 8)] == [512, 12, 12, 48, 48]


@pytest.mark.parametrize("decoding", [1, 2, 5])
def test_beside_answers_that_were_never_seen_a_chunk_is_what_keeps_the_gap(decoding: int) -> None:
    speed = Speed(longest_gap_steps=5.0)
    speed.calibrate((1, 2, 4, 8, 16, 32, 64), (0.015, 0.019, 0.03, 0.047, 0.07, 0.13, 0.25))
    speed.note_step(0, 512, 512, 1.9)
    chunk, bound_s = speed.chunk_tokens(decoding), 0.93 * 5 * speed.step_s(decoding, 0)

    assert speed.step_s(decoding, chunk) <= bound_s < speed.step_s(decoding, chunk + 1)


def test_how_late_first_words_are_is_learnt_within_bounds() -> None:
    speed = Speed()
    assert speed.lateness == 1.25
    for _ in range(20):
        speed.note_first_word(1.0, 0.9)
    assert speed.lateness == 1
    for _ in range(50):
        speed.note_first_word(1.0, 10.0)
    assert speed.lateness == 2


def step(prompt_tokens: int, *ids: int, decoding: int = 0, chunk_tokens: int = 0) -> Step:
    outputs = tuple(Output(id, "a", 1) for id in ids)
    return Step(outputs, prompt_tokens, 0.5, 0.5, 0.0, decoding, chunk_tokens)


def test_the_outlook_follows_prompts_and_answers_from_the_frames() -> None:
    outlook = Outlook()
    first, second = outlook.add(Effort(99, 100)), outlook.add(Effort(7, 100))
    outlook.begin(first, 60)
    outlook.begin(second, 10)

    outlook.note_step(step(20, 2, chunk_tokens=20), [(second, 1)])
    assert (first.unread, second.unread) == (50, 0)
    assert not outlook.speed.is_measured

    outlook.note_step(step(50, 1, 2, decoding=1, chunk_tokens=50), [(first, 1), (second, 1)])
    outlook.note_step(step(0, 1, 2, decoding=2), [(first, 1), (second, 1)])
    assert (first.unread, first.drawn, second.drawn) == (0, 2, 3)
    assert outlook.speed.is_measured


def test_vectors_that_are_made_between_steps_are_nobodys_prompt() -> None:
    outlook = Outlook()
    run = outlook.add(Effort(99, 100))
    outlook.begin(run, 60)
    outlook.note_step(step(40), [])

    assert run.unread == 60


def test_a_slot_whose_answer_has_ended_is_as_good_as_free() -> None:
    outlook = Outlook()
    run = outlook.add(Effort(9, 100))
    outlook.begin(run, 9)
    waiting = outlook.forecast([Effort(50, 10)], 0)
    outlook.note_end(run, 100)

    assert waiting.wait_s > 0
    assert outlook.forecast([Effort(50, 10)], 0).wait_s == 0


def test_what_was_expected_is_compared_with_what_came_counted_from_the_question() -> None:
    now = [100.0]
    outlook = Outlook(lambda: now[0])
    for _ in range(10):
        run = outlook.add(Effort(9, 100), Forecast(2.0, 1.0, is_measured=True), waited_s=3.0)
        now[0] += 1.5
        outlook.begin(run, 9)
        outlook.note_step(step(9, 1, chunk_tokens=9), [(run, 1)])
        outlook.remove(run)

    assert outlook.speed.lateness == pytest.approx(1.5)


def test_a_machine_that_was_slow_is_found_out_to_be_quicker() -> None:
    """Nobody is refused for ever: who comes to an idle worker is let in sooner or later, and measured."""
    now = [100.0]
    outlook = Outlook(lambda: now[0])
    outlook.speed = measured()
    run = outlook.add(Effort(9, 100))
    outlook.begin(run, 9)
    for _ in range(5):
        outlook.note_step(Step((), 0, 50.0, 50.0, 0.0, decoding=1), [])
    busy = outlook.forecast([Effort(50, 10)], 7)
    outlook.remove(run)

    rested = outlook.forecast([Effort(50, 10)], 8)
    now[0] += 60
    later = outlook.forecast([Effort(50, 10)], 8)
    assert busy.latest_s is not None
    assert busy.latest_s > 100
    assert rested.latest_s == rested.first_token_s < 2
    assert (later.is_measured, later.latest_s) == (True, None)


def test_a_step_in_which_drafts_were_right_counts_as_the_steps_that_it_saved() -> None:
    drafting, plain = Outlook(), Outlook()
    for outlook in (drafting, plain):
        run = outlook.add(Effort(7, 100))
        outlook.begin(run, 7)
        outlook.note_step(step(7, 1, chunk_tokens=32), [(run, 1)])
    for _ in range(30):
        quicker = Step((Output(1, "a", 5),), 0, 1.0, 1.0, 0.0, decoding=1, drafted=4, accepted=4)
        drafting.note_step(quicker, [])
        plain.note_step(Step((Output(1, "a", 1),), 0, 0.2, 0.2, 0.0, decoding=1), [])

    assert drafting.forecast([Effort(50, 10)], 0).first_token_s == pytest.approx(
        plain.forecast([Effort(50, 10)], 0).first_token_s, rel=0.01
    )


def test_a_request_that_has_not_begun_counts_as_expected() -> None:
    outlook = Outlook()
    free = outlook.forecast([Effort(50, 10)], 8)
    outlook.add(Effort(500, 100))

    assert outlook.forecast([Effort(50, 10)], 7).first_token_s > free.first_token_s


def conversation(*texts: str, account: str = "open") -> ChatRequest:
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = tuple(Message(roles[index % 2], (TextPart(text),)) for index, text in enumerate(texts))
    return ChatRequest("id", messages=messages, caller=Caller(account=account))


def test_sizes_are_learnt_from_what_was_accepted() -> None:
    sizes, first = Sizes(), conversation("a" * 984)
    sizes.learn(first, sizes.estimate(first), 500, 0)

    assert sizes.estimate(conversation("b" * 184)).prompt_tokens == 100


def test_of_a_conversation_that_goes_on_only_what_is_new_is_guessed() -> None:
    sizes = Sizes()
    first = conversation("a" * 84)
    sizes.learn(first, sizes.estimate(first), 100, 0)
    sizes.answered(first, 64)

    second = conversation("a" * 84, "b" * 184, "c" * 84)
    estimated = sizes.estimate(second)
    assert (estimated.familiar_tokens, estimated.prompt_tokens, estimated.unread_tokens) == (164, 264, 100)

    sizes.learn(second, estimated, 264, 164)
    sizes.answered(second, 64)
    third = sizes.estimate(conversation("a" * 84, "b" * 184, "c" * 84, "d" * 500, "e" * 184))
    assert (third.familiar_tokens, third.unread_tokens) == (264 + 64, 200)


def test_the_same_prompt_again_is_found_without_its_answer() -> None:
    sizes, mine = Sizes(), conversation("a" * 84)
    sizes.learn(mine, sizes.estimate(mine), 100, 0)
    sizes.answered(mine, 64)

    assert sizes.estimate(mine).familiar_tokens == 100


def opened(text: str) -> ChatRequest:
    return ChatRequest("id", messages=(Message("system", (TextPart("a" * 84),)), Message("user", (TextPart(text),))))


def test_a_beginning_that_several_conversations_share_is_as_long_as_what_was_found_of_it() -> None:
    sizes = Sizes()
    for last in "bcd":
        request = opened(last * 84)
        estimated = sizes.estimate(request)
        sizes.learn(request, estimated, 150, 0 if last == "b" else 70)

    assert (estimated.familiar_tokens, sizes.estimate(opened("e" * 84)).familiar_tokens) == (70, 70)


def test_the_owners_prompt_is_in_memory_before_anybody_asks() -> None:
    sizes = Sizes(["a" * 84])

    assert sizes.estimate(opened("b" * 184)).unread_tokens == 60
    assert Sizes().estimate(opened("b" * 184)).unread_tokens == 90


def test_nobody_finds_what_another_account_has_said() -> None:
    sizes, mine = Sizes(), conversation("a" * 84)
    sizes.learn(mine, sizes.estimate(mine), 100, 0)

    assert sizes.estimate(mine).familiar_tokens == 100
    assert sizes.estimate(conversation("a" * 84, account="another")).familiar_tokens == 0


def test_what_was_measured_while_nobody_asked_is_where_it_begins() -> None:
    speed = Speed()
    speed.note_step(1, 0, 0, 2.0)  # late, and the only one
    assert speed.step_s(8, 0) > 10
    for _ in range(5):
        speed.calibrate((1, 2, 4, 8, 16), (0.015, 0.025, 0.03, 0.045, 0.06))

    assert speed.is_measured
    assert speed.step_s(8, 0) == pytest.approx(0.045)
    assert speed.step_s(2, 10) == pytest.approx(0.045 + 0.015 * 4 / 8)
    for _ in range(9):
        speed.note_step(8, 0, 0, 0.09)
    assert speed.step_s(8, 0) == pytest.approx(0.09, rel=0.1), "work says more"
