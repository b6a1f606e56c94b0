"""Batching changes nobody's words, loses nobody, and gives back everything, whatever comes and goes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from collections.abc import Sequence as Items
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from edged.cells import MOST_DRAFTED_TOKENS
from edged.prefix_wire import Discard, PrefixNews
from edged.shares import shares
from edged.wire import Failed, Output
from edged.worker import memory as memory_module
from edged.worker import stored as stored_module
from edged.worker.account import Account
from edged.worker.batcher import Batcher
from edged.worker.draft import Draft
from edged.worker.drafts import Drafts
from edged.worker.engine import Row
from edged.worker.job import CannotDraw, Job
from edged.worker.stored import StoredPrefixes
from tests.fakes import PIECES, FakeLlama, FakeSampler, job
from tests.worker.files import a_file_of

# More than any test's sequences could need, preemptions included: being stuck is reported, not waited for.
MANY_STEPS = 5000

# Common beginnings of various lengths, which somebody may have in memory already.
BEGINNINGS: tuple[list[int], ...] = (
    [],
    [1, 2, 3, 4, 5, 6, 7, 8],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    [1, 2, 3, 9],
)
tails = st.lists(st.integers(1, len(PIECES) - 1), min_size=1, max_size=12)
prompts = st.builds(lambda beginning, tail: [*beginning, *tail], st.sampled_from(BEGINNINGS), tails)
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


def forget(batcher: Batcher) -> None:
    """Drops everything that is cached."""
    for prefix in batcher.memory.cached:
        batcher.memory.drop(prefix)


def alone(prompt: list[int], *, context_tokens: int, **wanted: object) -> tuple[str, str | None, int]:
    """The same answer with the engine to itself."""
    llama = FakeLlama(context_tokens)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, prompt, **wanted))  # type: ignore[arg-type]
    return told(run(batcher)[1])


class WildDrafts(Drafts):
    """Drafts whenever it may, for anybody, so much as there is room for: some tokens that will come, then any."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.drafted = self.accepted = 0

    def choose(self, decoding: Items[Job], room: int) -> Draft | None:
        if room < 1 or not decoding:
            return None
        job = self.chance.choice(decoding)
        assert isinstance(job.sampler, FakeSampler)
        coming = job.sampler.peek(job.sequence.tokens, MOST_DRAFTED_TOKENS)
        right = self.chance.randrange(MOST_DRAFTED_TOKENS + 1)
        any = [self.chance.randrange(len(PIECES)) for _ in range(MOST_DRAFTED_TOKENS)]
        tokens = [*coming[:right], *any][: self.chance.randint(1, min(room, MOST_DRAFTED_TOKENS))]
        return Draft(job, tokens, [0.0] * len(tokens), Account())


class RightDrafts(Drafts):
    """Drafts five tokens in every step, all of them right."""

    def choose(self, decoding: Items[Job], room: int) -> Draft | None:
        (job,) = decoding
        assert isinstance(job.sampler, FakeSampler)
        return Draft(job, job.sampler.peek(job.sequence.tokens, 5), [0.0] * 5, Account())


class Crowd(RuleBasedStateMachine):
    """Requests come, go and are cancelled between steps, on an engine that is much too small for all of them.

    Meanwhile prefixes go to disk, the disk forgets and fails, and the worker is replaced by another one.
    """

    ids = Bundle("ids")
    is_cuttable = True

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        for module in (memory_module, stored_module):
            self.patches.setattr(module, "WORTH_STORING_TOKENS", 3)
        self.failures = 0
        self.asked: dict[int, dict[str, object]] = {}
        self.came: dict[int, list[Output]] = {}
        self.cancelled: set[int] = set()
        self.damaged: set[int] = set()
        self.files = 0
        self.stored = StoredPrefixes(b"i" * 32, 96, self.hear)
        self.begin()

    def begin(self) -> None:
        self.llama = FakeLlama(
            context_tokens=96, sequences=4, batch_tokens=24, slots=7, is_cuttable=self.is_cuttable, fails=self.fails
        )
        drafts = WildDrafts(random.Random(7))
        self.batcher = Batcher(self.llama, self.llama, snapshot_bytes=400, stored=self.stored, drafts=drafts)

    def hear(self, news: PrefixNews) -> None:
        if isinstance(news, Discard) and news.reason != "replaced":
            assert news.id in self.damaged, f"a whole file was discarded: {news.detail}"

    @rule(
        target=ids,
        prompt=prompts,
        max_tokens=st.integers(1, 90),
        stop=stops,
        seed=st.integers(0, 9),
        late_in=st.sampled_from([0, 2, 3, 7]),
        partition=st.sampled_from(["ann", "ben"]),
        thought_tokens=st.none() | st.integers(0, 9),
    )
    def submit(
        self,
        prompt: list[int],
        max_tokens: int,
        stop: tuple[str, ...],
        seed: int,
        late_in: int,
        partition: str,
        thought_tokens: int | None,
    ) -> int:
        id = len(self.asked) + 1
        self.asked[id] = {"prompt": prompt, "max_tokens": max_tokens, "stop": stop, "seed": seed, "end_in": 40}
        self.asked[id]["thought_tokens"] = thought_tokens
        marks = (len(prompt) - 2, len(prompt) - 1)
        asked: dict[str, Any] = self.asked[id]
        self.batcher.submit(job(self.llama, id, late_in=late_in, partition=partition, marks=marks, **asked))
        return id

    def fails(self) -> bool:
        self.failures = max(0, self.failures - 1)
        return self.failures > 0

    @precondition(lambda self: self.failures == 0 and self.batcher._failures == 0)
    @rule()
    def fail(self) -> None:
        self.failures = 3

    @rule(ids=st.data())
    def evict(self, ids: st.DataObject) -> None:
        cached = self.batcher.memory.cached
        if cached:
            self.batcher.memory.evict(ids.draw(st.sampled_from(cached)))

    @rule(data=st.data(), share=st.floats(0.1, 1))
    def put_on_disk(self, data: st.DataObject, share: float) -> None:
        known = [one for one in self.batcher.memory.outside_of_files if one.length]
        if known:
            source = data.draw(st.sampled_from(known))
            snapshot = self.batcher.memory.copied_out(source, max(1, int(source.length * share)))
            if snapshot is not None:
                self.files += 1
                self.stored.add(self.files, a_file_of(snapshot, self.stored.identity))

    @precondition(lambda self: bool(list(self.stored)))
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        stored = data.draw(st.sampled_from(list(self.stored)))
        size = os.fstat(stored.descriptor).st_size
        if not size:  # an earlier damage left nothing of it
            return
        at, change = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 255))
        if change:
            byte = os.pread(stored.descriptor, 1, at)
            os.pwrite(stored.descriptor, bytes([byte[0] ^ change]), at)
        else:
            os.ftruncate(stored.descriptor, at)
        self.damaged.add(stored.id)

    @precondition(lambda self: bool(list(self.stored)))
    @rule(data=st.data())
    def forget_on_disk(self, data: st.DataObject) -> None:
        self.stored.forget(data.draw(st.sampled_from(list(self.stored))).id)

    @rule()
    def restart(self) -> None:
        self.finish_all()
        files = [(stored.id, os.dup(stored.descriptor)) for stored in self.stored]
        for id, descriptor in files:
            self.stored.forget(id)
            self.stored.add(id, descriptor)
        self.begin()

    @precondition(lambda self: self.batcher.is_idle)
    @rule()
    def clear_ahead(self) -> None:
        self.batcher.memory.clear_ahead(self.llama.sequences)

    @rule(prompt=st.sampled_from(BEGINNINGS[1:]))
    def pin(self, prompt: list[int]) -> None:
        self.batcher.pin(list(prompt))

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

    @invariant()
    def the_books_are_exact(self) -> None:
        assert self.batcher.memory.free_cells == self.llama.context_tokens - self.llama.used_cells

    @rule()
    def finish_all(self) -> None:
        for id, outputs in run(self.batcher).items():
            self.came.setdefault(id, []).extend(outputs)
        for id, wanted in self.asked.items():
            if id not in self.cancelled:
                assert told(self.came[id]) == alone(context_tokens=96, **wanted)  # type: ignore[arg-type]
        forget(self.batcher)
        assert self.llama.cells == {}, "cells leaked"
        assert self.llama.open_samplers == 0

    def teardown(self) -> None:
        try:
            self.finish_all()
        finally:
            self.patches.undo()
            for stored in list(self.stored):
                self.stored.forget(stored.id)


Crowd.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCrowd = Crowd.TestCase


class UncuttableCrowd(Crowd):
    """The same with a window or a recurrent state."""

    is_cuttable = False


UncuttableCrowd.TestCase.settings = Crowd.TestCase.settings
TestUncuttableCrowd = UncuttableCrowd.TestCase


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
    forget(batcher)
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


def test_an_engine_that_has_fewer_cells_than_it_says_gets_fewer_at_once() -> None:
    llama = FakeLlama(200, sequences=4)
    llama._is_full = lambda: len(llama.decodes) > 3 and llama.used_cells > 40
    batcher = Batcher(llama, llama)
    for id in range(4):
        batcher.submit(job(llama, id, [id + 1] * 3, max_tokens=30, seed=id, end_in=100_000))

    came = run(batcher)

    assert [told(came[id])[1:] for id in range(4)] == [("length", 30)] * 4


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


def test_cancelling_gives_back_sampler_and_slot_at_once() -> None:
    llama = FakeLlama(sequences=1)
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1], max_tokens=100, end_in=100_000))
    batcher.submit(job(llama, 2, [2], max_tokens=2, end_in=100_000))
    batcher.step(8)

    batcher.cancel(1)
    assert llama.open_samplers == 1

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


def cached_tokens_of(batcher_of: FakeLlama, asked: list[tuple[list[int], str]]) -> list[int]:
    """One after the other, each to its end: how many tokens of each prompt were not computed."""
    came: list[int] = []
    batcher = Batcher(batcher_of, batcher_of, admitted=lambda sequence, cached: came.append(cached))
    for id, (prompt, partition) in enumerate(asked):
        batcher.submit(job(batcher_of, id, prompt, max_tokens=4, end_in=100_000, partition=partition))
        run(batcher)
    return came


def test_what_an_answer_left_in_memory_is_not_computed_again() -> None:
    llama = FakeLlama()
    first = [1, 2, 3, 4, 5]

    assert cached_tokens_of(llama, [(first, ""), ([*first, 9, 9], ""), ([1, 2, 3, 8], "")]) == [0, 5, 3]
    assert sum(map(len, llama.decodes)) == (5 + 3) + (2 + 3) + (1 + 3)


def test_a_whole_answer_is_part_of_the_prefix_that_the_next_turn_reuses() -> None:
    llama = FakeLlama()
    cached_tokens_of(llama, [([1, 2, 3], "")])
    (held,) = llama.cells.values()

    assert len(held) == 3 + 3, "the last of four tokens was never decoded"
    assert cached_tokens_of(FakeLlama(), [([1, 2, 3], ""), ([*held, 5], "")]) == [0, 6]


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    assert cached_tokens_of(FakeLlama(), [([1, 2, 3], ""), ([1, 2, 3], ""), ([1], "")]) == [0, 2, 0]


def test_nobody_reuses_what_another_partition_asked() -> None:
    prompt = [1, 2, 3, 4, 5]

    assert cached_tokens_of(FakeLlama(), [(prompt, "ann"), (prompt, "ben"), (prompt, "ann")]) == [0, 0, 4]


def test_an_owners_prompt_is_read_while_nobody_asks_and_then_serves_every_partition() -> None:
    llama, system = FakeLlama(), [1, 2, 3, 4, 5, 6, 7, 8]
    came: list[int] = []
    batcher = Batcher(llama, llama, admitted=lambda sequence, cached: came.append(cached))
    assert batcher.pin(system)
    assert not batcher.is_idle
    run(batcher)
    assert [row.token for rows in llama.decodes for row in rows] == system

    for id, partition in enumerate(["ann", "ben", "ann"]):
        batcher.submit(job(llama, id, [*system, 9 + id], max_tokens=2, end_in=100_000, partition=partition))
        run(batcher)

    assert came == [8, 8, 8]


def test_an_owners_prompt_that_had_to_give_way_is_read_again_when_it_is_quiet() -> None:
    llama, system = FakeLlama(context_tokens=60), [1] * 20
    batcher = Batcher(llama, llama)
    batcher.pin(system)
    run(batcher)
    batcher.submit(job(llama, 1, [2] * 30, max_tokens=25, end_in=100_000))

    assert told(run(batcher)[1]) == alone([2] * 30, context_tokens=60, max_tokens=25, end_in=100_000)
    assert system in llama.cells.values()


def test_owners_prompts_leave_half_of_the_cells_to_conversations() -> None:
    llama = FakeLlama(context_tokens=100)
    batcher = Batcher(llama, llama)

    assert [batcher.pin([1] * 30), batcher.pin([2] * 30), batcher.pin([3] * 20)] == [True, False, True]


def test_the_background_gives_way_before_somebody_younger_who_waits_for_words() -> None:
    llama = FakeLlama(context_tokens=40, sequences=2)
    batcher = Batcher(llama, llama)
    background = job(llama, 1, [1] * 5, max_tokens=30, end_in=100_000)
    background.sequence.lane = "background"
    batcher.submit(background)
    batcher.step(16)
    batcher.submit(job(llama, 2, [2] * 5, max_tokens=30, end_in=100_000))
    batcher._fits = lambda newcomer, match: True  # type: ignore[method-assign]

    ends = [output.id for _ in range(200) if not batcher.is_idle for output in batcher.step(16)[0] if output.finish]

    assert ends == [2, 1]


def test_a_prompt_that_many_ask_at_once_is_read_once() -> None:
    llama = FakeLlama(batch_tokens=64)
    batcher = Batcher(llama, llama)
    for id in range(8):
        batcher.submit(job(llama, id, [*range(1, 17)] * 10, max_tokens=3, seed=id, end_in=30))

    came = run(batcher)

    assert sum(row.position < 159 for rows in llama.decodes for row in rows) == 159
    for id in range(8):
        assert told(came[id]) == alone([*range(1, 17)] * 10, context_tokens=1024, max_tokens=3, seed=id, end_in=30)


def test_a_leader_that_is_cancelled_leaves_what_it_has_read_to_the_others() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    for id in range(2):
        batcher.submit(job(llama, id, [1] * 100, max_tokens=3, seed=id, end_in=30))
    batcher.step(40)

    batcher.cancel(0)

    assert told(run(batcher)[1]) == alone([1] * 100, context_tokens=1024, max_tokens=3, seed=1, end_in=30)
    assert sum(row.position < 99 for rows in llama.decodes for row in rows) == 99


def test_cached_prefixes_go_before_anybody_is_paused_and_the_oldest_goes_first() -> None:
    llama = FakeLlama(context_tokens=60)
    batcher = Batcher(llama, llama)
    for id, token in enumerate((1, 2, 3)):
        batcher.submit(job(llama, id, [token] * 15, max_tokens=3, end_in=100_000))
        run(batcher)
    batcher.submit(job(llama, 3, [1] * 16, max_tokens=3, end_in=100_000))  # makes the first the last used
    run(batcher)

    batcher.submit(job(llama, 4, [4] * 10, max_tokens=12, end_in=100_000))
    run(batcher)

    assert {tokens[0] for tokens in llama.cells.values()} == {1, 3, 4}


def test_more_conversations_than_slots_keep_the_latest() -> None:
    llama = FakeLlama(sequences=1, slots=3)
    cached_tokens_of(llama, [([token] * 5, "") for token in (1, 2, 3, 4)])

    assert sorted(tokens[0] for tokens in llama.cells.values()) == [2, 3, 4]


@given(st.lists(st.integers(1, 1000), max_size=12), st.integers(0, 2000))
def test_shares_spend_the_budget_and_the_first_always_moves(pending: list[int], budget: int) -> None:
    given = shares(pending, budget)

    assert sum(given) == min(budget, sum(pending))
    assert all(0 <= share <= need for share, need in zip(given, pending, strict=True))
    assert not pending or 2 * given[0] >= min(budget, pending[0])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(1, 64))
def test_whoever_is_read_first_no_step_has_room_left(pending: list[int], budget: int) -> None:
    left, steps = list(pending), 0
    while any(left):
        steps += 1
        unread = [index for index, tokens in enumerate(left) if tokens]
        for index, count in zip(unread, shares([left[index] for index in unread], budget), strict=True):
            left[index] -= count
    assert steps == -(-sum(pending) // budget)


@pytest.mark.parametrize(
    ("pending", "budget", "expected"),
    [
        ([], 8, []),
        ([5], 0, [0]),
        ([100, 3], 32, [29, 3]),
        ([100, 40, 50], 32, [16, 16, 0]),
        ([10, 10], 8, [8, 0]),
        ([40, 10], 1, [1, 0]),
        ([9, 9, 9], 12, [9, 3, 0]),
    ],
)
def test_shares(pending: list[int], budget: int, expected: list[int]) -> None:
    assert shares(pending, budget) == expected


def test_the_fake_itself_refuses_what_llama_would_refuse() -> None:
    def breaches() -> Iterator[list[tuple[int, int, int]]]:
        yield []
        yield [(1, 1, 0)]
        yield [(1, 0, 17)]
        yield [(1, 0, 0)] * 65

    for rows in breaches():
        with pytest.raises(AssertionError):
            FakeLlama().decode([Row(token, position, slot, False) for token, position, slot in rows])


class NeverReady(FakeSampler):
    """Waits for its grammar until it is told that none will come."""

    refuses = False

    @property
    def is_ready(self) -> bool:
        return self.refuses

    def draw(self, row: int | None) -> int:
        raise CannotDraw("No grammar.", code="grammar_invalid")


def test_whoever_waits_for_a_sampler_delays_nobody_and_a_refusal_ends_only_its_own() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1, 2, 3], max_tokens=9, seed=4, end_in=100))
    waiting = job(llama, 2, [4, 5])
    llama.open_samplers -= 1  # the one that is replaced
    sampler = waiting.sampler = NeverReady(llama)
    batcher.submit(waiting)

    outputs = [output for _ in range(20) for output in batcher.step(16)[0]]

    assert told(outputs) == alone([1, 2, 3], context_tokens=1024, max_tokens=9, seed=4, end_in=100)
    assert batcher.is_stalled
    decodes = len(llama.decodes)
    assert batcher.step(16) == ([], 0)
    assert len(llama.decodes) == decodes, "nothing was left to decode"
    assert batcher.take_failed() == []
    sampler.refuses = True
    assert batcher.step(16) == ([], 0)
    assert batcher.take_failed() == [Failed(2, "grammar_invalid", "No grammar.")]
    assert batcher.is_idle
    assert llama.open_samplers == 0


def test_scores_come_with_the_words_and_are_complete_at_the_end() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama)
    batcher.submit(job(llama, 1, [1, 2, 3], max_tokens=40, seed=1, end_in=1000, is_scored=True))

    outputs = run(batcher)[1]

    scores = [score for output in outputs for score in output.logprobs]
    assert len(scores) == outputs[-1].total
    assert b"".join(score.piece for score in scores).decode(errors="replace") == told(outputs)[0]


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


@settings(max_examples=80, deadline=None)
@given(
    st.lists(prompts, min_size=1, max_size=6),
    stops,
    st.integers(1, 60),
    st.sampled_from([0, 2, 3]),
    st.randoms(use_true_random=False),
)
def test_whatever_is_drafted_the_answers_are_those_without_drafts(
    asked: list[list[int]], stop: tuple[str, ...], most: int, late_in: int, chance: random.Random
) -> None:
    told_by: list[dict[int, list[Output]]] = []
    for drafts in (None, WildDrafts(chance)):
        llama = FakeLlama(300, sequences=3)
        batcher = Batcher(llama, llama, drafts=drafts)
        for id, prompt in enumerate(asked):
            wanted = {"max_tokens": most, "stop": stop, "seed": id, "end_in": 40, "late_in": late_in}
            batcher.submit(job(llama, id, prompt, is_scored=True, **wanted))  # type: ignore[arg-type]
        told_by.append(run(batcher))
        assert batcher.memory.free_cells == llama.context_tokens - llama.used_cells
        forget(batcher)
        assert (llama.cells, llama.open_samplers) == ({}, 0)

    plain, drafted = told_by
    for id in range(len(asked)):
        assert told(drafted[id]) == told(plain[id])
        scores = [[score for output in came[id] for score in output.logprobs] for came in told_by]
        assert scores[0] == scores[1]


def test_a_draft_that_is_right_brings_several_tokens_in_one_step() -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama, drafts=RightDrafts())
    batcher.submit(job(llama, 1, [1, 2, 3], max_tokens=13, seed=3, end_in=100_000))

    outputs = run(batcher)[1]

    assert len(llama.decodes) == 3, "the prompt, and twice six tokens"
    assert sum(output.tokens for output in outputs) == 13
    assert told(outputs) == alone([1, 2, 3], context_tokens=1024, max_tokens=13, seed=3, end_in=100_000)


def test_a_draft_gives_way_to_whoever_reads_and_where_cells_are_short() -> None:
    llama = FakeLlama(context_tokens=40)
    batcher = Batcher(llama, llama, drafts=WildDrafts(random.Random(1)))
    batcher.submit(job(llama, 1, [1], max_tokens=39, end_in=100_000))
    batcher.step(8)
    batcher.submit(job(llama, 2, [2] * 6, max_tokens=1, end_in=1000))
    batcher._fits = lambda newcomer, match: True  # type: ignore[method-assign]
    for _ in range(3):
        batcher.step(2)
        assert batcher.draft is None

    (*_, last) = run(batcher)[1]
    assert (last.finish, last.total) == ("length", 39)


def test_an_engine_without_cells_for_a_draft_goes_on_without_it() -> None:
    llama = FakeLlama(200)
    batcher = Batcher(llama, llama, drafts=WildDrafts(random.Random(1)))
    batcher.submit(job(llama, 1, [1, 2, 3], max_tokens=50, seed=2, end_in=100_000))
    batcher.step(8)
    full = iter([True, False] * 100)
    llama._is_full = lambda: next(full)

    (*_, last) = run(batcher)[1]

    assert (last.finish, last.total) == ("length", 50)
    assert all(len(rows) == 1 for rows in llama.decodes[1:])
