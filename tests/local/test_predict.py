"""When the first word will come: the arithmetic, what it learns from, and where it does not guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Caller, ChatRequest, Message, Role, TextPart
from edged.local.estimate import Sizes
from edged.local.outlook import Outlook
from edged.local.predict import Effort, Rates, StepCosts, forecast, share_out
from edged.wire import Output, Step

STEP_S, ROW_S = 0.04, 0.01


def measured(chunk_alone: int = 100, chunk_beside: int = 20) -> Rates:
    """A machine on which a step costs 40 ms and 10 ms for each row."""
    rates = Rates(chunk_alone=chunk_alone, chunk_beside=chunk_beside)
    for rows in (*range(1, 17), 20, 21, 24, 28, 40, 60, 100, 108, 200):
        rates.costs.observe(rows, STEP_S + rows * ROW_S)
    rates.has_read = rates.has_drawn = True
    return rates


def test_alone_it_takes_as_long_as_reading_takes() -> None:
    expected = forecast([], [Effort(100, 50)], 8, measured())

    assert expected.wait_s == 0
    assert expected.first_token_s == pytest.approx(STEP_S + 100 * ROW_S)
    assert expected.is_measured


def test_beside_others_reading_goes_by_smaller_chunks() -> None:
    expected = forecast([Effort(0, 100)] * 4, [Effort(100, 50)], 4, measured())

    assert expected.wait_s == 0
    assert expected.first_token_s == pytest.approx(5 * (STEP_S + 24 * ROW_S), rel=0.05)


def test_without_a_free_slot_it_waits_for_the_shortest_answer() -> None:
    expected = forecast([Effort(0, 30), Effort(0, 10)], [Effort(20, 50)], 0, measured())

    assert expected.wait_s == pytest.approx(10 * (STEP_S + 2 * ROW_S))
    assert expected.first_token_s > expected.wait_s


def test_who_is_ahead_in_the_line_comes_first() -> None:
    alone = forecast([Effort(0, 10)], [Effort(20, 50)], 0, measured())
    behind = forecast([Effort(0, 10)], [Effort(20, 50), Effort(20, 50)], 0, measured())

    assert behind.wait_s > alone.wait_s + 50 * STEP_S


def test_an_unmeasured_machine_is_a_guess_and_says_so() -> None:
    assert not forecast([], [Effort(100, 50)], 8, Rates()).is_measured


def test_what_makes_first_words_late_is_learnt_and_one_exception_does_not_spoil_it() -> None:
    rates = measured()
    for _ in range(60):
        rates.note_first_word(1.0, 1.5)
    expected = forecast([], [Effort(100, 50)], 8, rates)
    assert expected.first_token_s == pytest.approx(1.5 * expected.reading_s, rel=0.01)

    rates.note_first_word(1.0, 10_000.0)
    assert rates.lateness < 2


efforts = st.builds(Effort, st.integers(0, 5000), st.integers(1, 2048), st.integers(1, 8))


@given(st.lists(efforts, max_size=8), st.lists(efforts, min_size=1, max_size=12), st.integers(0, 8))
def test_every_line_has_an_end(running: list[Effort], line: list[Effort], free: int) -> None:
    expected = forecast(running, line, free, measured())

    assert 0 <= expected.wait_s < expected.first_token_s < float("inf")


@given(st.lists(st.floats(0, 1000), max_size=8), st.floats(0, 3000))
def test_what_a_step_read_is_shared_out_whole(pending: list[float], tokens: float) -> None:
    given_out = share_out(pending, tokens)

    assert sum(given_out) == pytest.approx(min(sum(pending), tokens), abs=1e-6)
    assert all(part <= most + 1e-9 for part, most in zip(given_out, pending, strict=True))


@given(st.lists(st.tuples(st.integers(1, 600), st.floats(0.001, 10)), min_size=1, max_size=30), st.integers(1, 2000))
def test_a_cost_is_never_outside_of_what_was_seen_but_beyond_the_largest(
    steps: list[tuple[int, float]], rows: int
) -> None:
    costs = StepCosts()
    for seen, step_s in steps:
        costs.observe(seen, step_s)

    answer, seen_s = costs.step_s(rows), [step_s for _, step_s in steps]
    assert answer >= min(seen_s) * 0.999
    if rows <= max(seen for seen, _ in steps) / 1.2:
        assert answer <= max(seen_s) * 1.001


def test_rates_follow_a_machine_that_has_become_slower() -> None:
    costs = StepCosts()
    for step_s in (1.0,) * 5 + (2.0,) * 20:
        costs.observe(4, step_s)

    assert costs.step_s(4) == pytest.approx(2.0, rel=0.02)


def step(prompt_tokens: int, *ids: int, step_s: float = 0.5) -> Step:
    return Step(tuple(Output(id, "a", 1) for id in ids), prompt_tokens, step_s, step_s, 0.0)


def test_the_outlook_follows_prompts_and_answers_from_the_frames() -> None:
    outlook = Outlook()
    first, second = outlook.add(Effort(99, 100)), outlook.add(Effort(7, 100))
    first.begin(60)
    second.begin(10)

    outlook.note_step(step(20, 2), [second])
    assert (first.unread, second.unread) == (50, 0)
    assert outlook.rates.has_read
    assert not outlook.rates.is_measured

    outlook.note_step(step(50, 1, 2), [first, second])
    outlook.note_step(step(0, 1, 2), [first, second])
    assert (first.unread, outlook.rates.is_measured, outlook.is_busy) == (0, True, True)

    outlook.remove(first)
    outlook.remove(second)
    assert not outlook.is_busy


def test_a_step_in_which_drafts_were_right_counts_as_the_steps_that_it_saved() -> None:
    outlook = Outlook()
    run = outlook.add(Effort(7, 100))
    run.begin(0)
    outlook.note_step(step(0, 1, step_s=0.5), [run])
    for _ in range(30):
        outlook.note_step(Step((Output(1, "a", 5),), 0, 1.0, 1.0, 0.0, drafted=4, accepted=4), [run])

    assert outlook.rates.costs.step_s(1) == pytest.approx(1.0 / 5, rel=0.05)


def test_a_request_that_has_not_begun_counts_as_expected() -> None:
    outlook = Outlook()
    outlook.rates = measured()
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


def test_a_conversation_that_goes_on_is_recognised_and_its_beginning_counts_as_far_as_it_was_found() -> None:
    sizes = Sizes()
    first, second = conversation("a" * 84), conversation("a" * 84, "b" * 84, "c" * 84)
    sizes.learn(first, sizes.estimate(first), 100, 0)

    estimated = sizes.estimate(second)
    assert (estimated.prompt_tokens, estimated.familiar_tokens, estimated.unread_tokens) == (300, 200, 300)

    sizes.learn(second, estimated, 300, 200)
    third = sizes.estimate(conversation("a" * 84, "b" * 84, "c" * 84, "d" * 84, "e" * 84))
    assert (third.familiar_tokens, third.unread_tokens) == (400, 100)


def test_nobody_finds_what_another_account_has_said() -> None:
    sizes, mine = Sizes(), conversation("a" * 84)
    sizes.learn(mine, sizes.estimate(mine), 100, 0)

    assert sizes.estimate(mine).familiar_tokens == 99
    assert sizes.estimate(conversation("a" * 84, account="another")).familiar_tokens == 0
