"""The arithmetic of making vectors: every text is read whole, in order, once, and answered once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edged.wire import Embed, Embedded, Rank, Rejected, Scored
from edged.worker.background import MOST_PASSED_OVER, Allowance
from edged.worker.embedding import Embedder, Portion, normalised, portions
from edged.worker.pace import LONGEST_STEP_S, PREFILL_STEPS_WHILE_DECODING, SMALLEST_CHUNK_TOKENS


class FakeVectors:
    """A `VectorEngine` with llama.cpp's rules; a result is (sum of the tokens, how many)."""

    def __init__(
        self, *, can_split: bool, sequences: int = 4, batch_tokens: int = 16, longest_tokens: int = 64
    ) -> None:
        self.can_split = can_split
        self.sequences = sequences
        self.batch_tokens = batch_tokens
        self.longest_tokens = longest_tokens
        self.prepared_tokens = 0
        self.cells: dict[int, list[int]] = {}
        self.reads: list[int] = []

    def tokens_of(self, wanted: Embed | Rank) -> list[int]:
        """A pair is its two lengths."""
        return [len(wanted.query), len(wanted.document)] if isinstance(wanted, Rank) else list(wanted.tokens)

    def prepare(self, longest_tokens: int) -> None:
        """Larger only while nothing is under way."""
        assert longest_tokens <= self.longest_tokens
        if longest_tokens > self.prepared_tokens:
            assert not self.cells, "a context was exchanged under a text"
            self.prepared_tokens = longest_tokens

    def read(self, portions: Sequence[Portion]) -> list[list[float]]:
        """Every portion continues its slot."""
        count = sum(len(portion.tokens) for portion in portions)
        is_lone = len(portions) == 1 and not self.can_split
        assert 0 < count <= self.batch_tokens or is_lone, f"{count} tokens in a batch of {self.batch_tokens}"
        assert len({portion.slot for portion in portions}) == len(portions) <= self.sequences
        self.reads.append(count)
        results = []
        for portion in portions:
            cells = self.cells.setdefault(portion.slot, [])
            assert portion.first == len(cells)
            assert self.can_split or (portion.first == 0 and portion.is_last)
            cells.extend(portion.tokens)
            assert len(cells) <= self.prepared_tokens
            if portion.is_last:
                results.append([float(sum(cells)), float(len(cells))])
        assert sum(map(len, self.cells.values())) <= self.prepared_tokens + self.batch_tokens, "cells ran out"
        return results

    def forget(self, slot: int) -> None:
        """Empty a slot."""
        assert slot in self.cells
        del self.cells[slot]

    def close(self) -> None:
        """Only when nothing is under way."""
        assert not self.cells
        self.prepared_tokens = 0


lengths = st.lists(st.integers(1, 64), max_size=20)


@given(lengths, st.integers(1, 40), st.booleans())
def test_portions_fill_the_budget_from_the_front_and_cut_only_the_first(
    pending: list[int], budget: int, can_split: bool
) -> None:
    counts = portions(pending, budget, can_split=can_split)

    assert bool(counts) == bool(pending)
    assert counts[1:] == pending[1 : len(counts)]
    if can_split or len(counts) > 1:
        assert sum(counts) <= budget
    if counts and counts[0] == pending[0]:
        assert len(counts) == len(pending) or sum(counts) + pending[len(counts)] > budget, "one more would have fitted"
    else:
        assert counts == ([budget] if pending else [])


actions = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 70)),
        st.tuples(st.just("cancel"), st.integers(0, 12)),
        st.tuples(st.just("step"), st.integers(1, 30)),
    ),
    max_size=40,
)


@given(actions, st.booleans())
def test_whatever_happens_each_text_ends_once_with_its_own_result(todo: list[tuple[str, int]], can_split: bool) -> None:
    engine = FakeVectors(can_split=can_split)
    embedder = Embedder(engine)
    submitted: dict[int, list[int]] = {}
    answered: dict[int, Scored | Embedded] = {}
    cancelled: set[int] = set()

    def step(budget: int) -> None:
        for answer in embedder.step(budget)[0]:
            assert isinstance(answer, Embedded)
            assert answer.id not in answered
            assert answer.id not in cancelled
            answered[answer.id] = answer

    for action, number in todo:
        if action == "submit":
            id, tokens = len(submitted), list(range(number))
            refusal = embedder.submit(Embed(id, "", tuple(tokens)))
            submitted[id] = tokens
            if refusal is not None:
                assert refusal == Rejected(id, number, 64)
                assert number == 0 or number > 64
                cancelled.add(id)
        elif action == "cancel":
            embedder.cancel(number)
            cancelled |= {number} & (submitted.keys() - answered.keys())
        elif not embedder.is_idle:
            step(number)
    while not embedder.is_idle:
        step(16)

    assert answered.keys() == submitted.keys() - cancelled
    assert all(answered[id].prompt_tokens == len(submitted[id]) for id in answered)
    assert engine.cells == {}
    embedder.close()


def test_short_texts_share_a_step() -> None:
    engine = FakeVectors(can_split=True)
    embedder = Embedder(engine)
    for id in range(4):
        embedder.submit(Embed(id, "", (1, 2, 3)))

    answers, read = embedder.step(16)

    assert [answer.id for answer in answers] == [0, 1, 2, 3]
    assert (read, engine.reads) == (12, [12])


def test_a_pair_becomes_a_score() -> None:
    embedder = Embedder(FakeVectors(can_split=False))
    embedder.submit(Rank(5, "ab", "abc"))

    assert embedder.step(16) == ([Scored(5, 5.0, 2)], 2)


def test_a_vector_has_length_one_and_nothing_stays_nothing() -> None:
    assert normalised([3.0, 4.0]) == [0.6, 0.8]
    assert normalised([0.0, 0.0]) == [0.0, 0.0]


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

    most_s = min(PREFILL_STEPS_WHILE_DECODING * chat_step_s, LONGEST_STEP_S)
    assert beside == SMALLEST_CHUNK_TOKENS or beside * token_s <= most_s * 1.001
    assert alone == SMALLEST_CHUNK_TOKENS or alone * token_s <= LONGEST_STEP_S * 1.001
    assert beside <= alone


def test_vectors_are_passed_over_for_prompts_but_not_for_ever() -> None:
    assert 0 < MOST_PASSED_OVER < 32
