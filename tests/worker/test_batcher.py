"""Batching changes nobody's words, loses nobody, and gives back everything, whatever comes and goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from edged.wire import Output
from edged.worker.batcher import Batcher, Row, shares
from tests.fakes import PIECES, FakeLlama, job

# More than any test's sequences could need, preemptions included: being stuck is reported, not waited for.
MANY_STEPS = 5000

prompts = st.lists(st.integers(1, len(PIECES) - 1), min_size=1, max_size=24)
stops = st.lists(st.sampled_from(["STOP", "ab", "你好", "the"]), max_size=2, unique=True).map(tuple)


def run(batcher: Batcher, prefill_tokens: int = 16) -> dict[int, list[Output]]:
    """Steps until nothing is left to do; the outputs by id."""
    came: dict[int, list[Output]] = {}
    for _ in range(MANY_STEPS):
        if batcher.is_idle:
            return came
        for output in batcher.step(prefill_tokens)[0]:
            came.setdefault(output.id, []).append(output)
    raise AssertionError("the batcher got stuck")


def told(outputs: list[Output]) -> tuple[str, str | None, int]:
    """Text, finish and total of one answer, after checking that it ended once and its tokens add up."""
    assert [output.finish is not None for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert sum(output.tokens for output in outputs) == outputs[-1].total
    return "".join(output.text for output in outputs), outputs[-1].finish, outputs[-1].total


def alone(prompt: list[int], *, context_tokens: int, **wanted: object) -> tuple[str, str | None, int]:
    """The same answer with the engine to itself."""
    llama = FakeLlama(context_tokens)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, prompt, **wanted))  # type: ignore[arg-type]
    return told(run(batcher)[1])


class Crowd(RuleBasedStateMachine):
    """Requests come, go and are cancelled between steps, on an engine that is much too small for all of them."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.llama = FakeLlama(context_tokens=96, sequences=4, batch_tokens=24)
        self.batcher = Batcher(self.llama, self.llama)
        self.asked: dict[int, dict[str, object]] = {}
        self.came: dict[int, list[Output]] = {}
        self.cancelled: set[int] = set()

    @rule(target=ids, prompt=prompts, max_tokens=st.integers(1, 90), stop=stops, seed=st.integers(0, 9))
    def submit(self, prompt: list[int], max_tokens: int, stop: tuple[str, ...], seed: int) -> int:
        id = len(self.asked) + 1
        self.asked[id] = {"prompt": prompt, "max_tokens": max_tokens, "stop": stop, "seed": seed, "end_in": 40}
        self.batcher.submit(job(self.llama, id, prompt, max_tokens=max_tokens, stop=stop, seed=seed, end_in=40))
        return id

    @rule(id=ids)
    def cancel(self, id: int) -> None:
        has_ended = id in self.came and self.came[id][-1].finish is not None
        self.batcher.cancel(id)
        if not has_ended:
            self.cancelled.add(id)

    @rule(prefill_tokens=st.integers(1, 32), steps=st.integers(1, 20))
    def step(self, prefill_tokens: int, steps: int) -> None:
        for _ in range(steps):
            if not self.batcher.is_idle:
                outputs, read = self.batcher.step(prefill_tokens)
                assert read <= prefill_tokens
                for output in outputs:
                    assert output.id not in self.cancelled, "a cancelled answer went on"
                    self.came.setdefault(output.id, []).append(output)

    @invariant()
    def samplers_are_open_only_for_those_that_run(self) -> None:
        ended = {id for id, outputs in self.came.items() if outputs[-1].finish}
        assert self.llama.open_samplers == len(self.asked) - len(ended | self.cancelled)

    @precondition(lambda self: self.asked)
    @rule()
    def finish_all(self) -> None:
        for id, outputs in run(self.batcher).items():
            self.came.setdefault(id, []).extend(outputs)
        for id, wanted in self.asked.items():
            if id not in self.cancelled:
                assert told(self.came[id]) == alone(context_tokens=96, **wanted)  # type: ignore[arg-type]
        assert self.llama.cells == {}, "cells leaked"
        assert self.llama.open_samplers == 0

    def teardown(self) -> None:
        if self.asked:
            self.finish_all()


Crowd.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCrowd = Crowd.TestCase


@settings(max_examples=40, deadline=None)
@given(st.lists(prompts, min_size=2, max_size=12), st.integers(30, 60), st.integers(1, 40))
def test_a_context_far_too_small_for_all_changes_no_text(
    asked: list[list[int]], context_tokens: int, prefill_tokens: int
) -> None:
    llama = FakeLlama(context_tokens, sequences=8, batch_tokens=30)
    batcher = Batcher(llama, llama)
    for id, prompt in enumerate(asked):
        batcher.submit(job(llama, id, prompt, max_tokens=50, seed=id, end_in=60))

    came = run(batcher, prefill_tokens)

    for id, prompt in enumerate(asked):
        assert told(came[id]) == alone(prompt, context_tokens=context_tokens, max_tokens=50, seed=id, end_in=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(prompts, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_an_engine_that_runs_full_at_random_cuts_an_answer_at_most_short(
    asked: list[list[int]], chance: random.Random
) -> None:
    llama = FakeLlama(200, sequences=4, is_full=lambda: chance.random() < 0.1)
    batcher = Batcher(llama, llama)
    for id, prompt in enumerate(asked):
        batcher.submit(job(llama, id, prompt, max_tokens=40, seed=id))

    came = run(batcher)

    for id, prompt in enumerate(asked):
        text, finish, _ = told(came[id])
        whole = alone(prompt, context_tokens=200, max_tokens=40, seed=id)
        if finish == "stop":
            assert text == whole[0]
        else:
            assert whole[0].startswith(text.removesuffix("�"))
    assert (llama.cells, llama.open_samplers) == ({}, 0)


def test_running_full_beside_others_ends_nobody() -> None:
    answers = iter([False] * 6 + [True, True] + [False] * 1000)
    llama = FakeLlama(200, is_full=lambda: next(answers))
    batcher = Batcher(llama, llama)
    for id in range(4):
        batcher.submit(job(llama, id, [1, 2, 3], seed=id, end_in=30))

    came = run(batcher)

    assert next(answers) is False, "the engine was never full"
    for id in range(4):
        assert told(came[id]) == alone([1, 2, 3], context_tokens=200, seed=id, end_in=30)


def test_a_lone_sequence_for_which_there_are_no_cells_is_at_its_end_and_keeps_nothing_back() -> None:
    wanted = {"max_tokens": 3, "seed": 1, "end_in": 1000}
    text, _, total = alone([1], context_tokens=100, **wanted)
    refusals = iter([False] * total + [True] * 9)
    llama = FakeLlama(100, is_full=lambda: next(refusals))
    batcher = Batcher(llama, llama)
    # The whole answer so far might be the beginning of the stop string, so all of it is held back.
    batcher.submit(job(llama, 1, [1], max_tokens=50, seed=1, end_in=1000, stop=(text + " and on",)))

    assert told(run(batcher)[1]) == (text, "length", total)


def test_more_sequences_than_slots_wait_and_are_served_in_order() -> None:
    llama = FakeLlama(sequences=2)
    batcher = Batcher(llama, llama)
    for id in range(5):
        batcher.submit(job(llama, id, [1, 2], max_tokens=3, end_in=1000))

    ends = [output.id for _ in range(50) if not batcher.is_idle for output in batcher.step(8)[0] if output.finish]

    assert ends == [0, 1, 2, 3, 4]
    assert max(len({row.slot for row in rows}) for rows in llama.decodes) == 2


def test_nobody_is_asked_for_an_output_before_the_prompt_is_in_memory() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, list(range(1, 11)), max_tokens=1, end_in=1000))

    read = [batcher.step(4) for _ in range(3)]

    assert [tokens for _, tokens in read] == [4, 4, 2]
    assert [[row.has_output for row in rows] for rows in llama.decodes] == [[False] * 4, [False] * 4, [False, True]]


def test_a_short_prompt_is_through_at_once_beside_a_long_one() -> None:
    llama = FakeLlama(batch_tokens=512)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1] * 400, max_tokens=1, end_in=1000))
    batcher.submit(job(llama, 2, [2] * 6, max_tokens=1, end_in=1000))

    outputs, _ = batcher.step(32)

    assert [output.id for output in outputs] == [2]


def test_words_go_on_while_a_prompt_is_read() -> None:
    llama = FakeLlama(batch_tokens=512)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1], max_tokens=100, end_in=100_000))
    batcher.step(8)
    assert batcher.decoding == 1
    batcher.submit(job(llama, 2, [2] * 300, max_tokens=1, end_in=1000))

    rows = [batcher.step(8) and llama.decodes[-1] for _ in range(10)]

    assert all(sum(row.slot == rows[0][0].slot for row in step) == 1 for step in rows)


def test_cancelling_gives_back_cells_sampler_and_slot_at_once() -> None:
    llama = FakeLlama(sequences=1)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1], max_tokens=100, end_in=100_000))
    batcher.submit(job(llama, 2, [2], max_tokens=2, end_in=100_000))
    batcher.step(8)

    batcher.cancel(1)
    assert (llama.cells, llama.open_samplers) == ({}, 1)

    assert list(run(batcher)) == [2]


def test_cancelling_the_unknown_and_the_ended_is_nothing() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1], max_tokens=1))
    run(batcher)

    batcher.cancel(1)
    batcher.cancel(99)

    assert batcher.is_idle


def test_the_youngest_gives_way() -> None:
    llama = FakeLlama(context_tokens=40, sequences=2)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1] * 10, max_tokens=29, end_in=100_000))
    batcher.step(16)
    batcher.submit(job(llama, 2, [2] * 10, max_tokens=29, end_in=100_000))

    ends = [output.id for _ in range(200) if not batcher.is_idle for output in batcher.step(16)[0] if output.finish]

    assert ends == [1, 2]


def test_a_lone_sequence_may_use_the_whole_context() -> None:
    llama = FakeLlama(context_tokens=50)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1] * 20, max_tokens=10_000, end_in=1_000_000))

    assert told(run(batcher)[1])[1:] == ("length", 30)


@given(st.lists(st.integers(1, 1000), max_size=12), st.integers(0, 2000))
def test_shares_spend_the_budget_and_are_fair(pending: list[int], budget: int) -> None:
    given = shares(pending, budget)

    assert sum(given) == min(budget, sum(pending))
    assert all(0 <= share <= need for share, need in zip(given, pending, strict=True))
    unserved = [share for share, need in zip(given, pending, strict=True) if share < need]
    assert max(given, default=0) - min(unserved, default=max(given, default=0)) <= 1, "somebody got more than a waiter"


@pytest.mark.parametrize(
    ("pending", "budget", "expected"),
    [([], 8, []), ([5], 0, [0]), ([100, 3], 32, [29, 3]), ([10, 10], 8, [4, 4]), ([9, 9, 9], 2, [0, 1, 1])],
)
def test_shares(pending: list[int], budget: int, expected: list[int]) -> None:
    assert shares(pending, budget) == expected


def test_the_fake_itself_refuses_what_llama_would_refuse() -> None:
    def breaches() -> Iterator[list[tuple[int, int, int]]]:
        yield []
        yield [(1, 1, 0)]
        yield [(1, 0, 9)]
        yield [(1, 0, 0)] * 65

    for rows in breaches():
        with pytest.raises(AssertionError):
            FakeLlama().decode([Row(token, position, slot, False) for token, position, slot in rows])


def test_a_step_without_room_for_prompts_advances_only_the_answers() -> None:
    llama = FakeLlama(batch_tokens=512)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1], max_tokens=100, end_in=100_000))
    batcher.step(8)
    batcher.submit(job(llama, 2, [2] * 300, max_tokens=1, end_in=1000))
    batcher.step(100)
    assert (batcher.is_reading, batcher.depth_tokens) == (True, 100)

    _, read = batcher.step(0)

    assert (read, batcher.depth_tokens, len(llama.decodes[-1])) == (0, 100, 1)


def test_where_nobody_answers_even_a_step_without_room_for_prompts_reads_on() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1] * 10, max_tokens=1, end_in=1000))

    assert batcher.step(0)[1] == 1
