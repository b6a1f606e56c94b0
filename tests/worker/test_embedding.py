"""The arithmetic of making vectors: every text is read whole, in order, once, and answered once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.wire import Embed, Embedded, Rank, Rejected, Scored
from edged.worker.embedding import Embedder, normalised, portions
from tests.fakes import FakeVectors

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
