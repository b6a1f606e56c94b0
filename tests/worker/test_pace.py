"""Steps stay short, whatever the machine: rates are learnt, targets are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.pace import FIRST_CHUNK_TOKENS, LONGEST_STEP_S, SMALLEST_CHUNK_TOKENS, Pace

steps = st.lists(st.tuples(st.integers(0, 512), st.floats(1e-6, 100)), max_size=20)


def learnt(*observed: tuple[int, float]) -> Pace:
    pace = Pace()
    for prompt_tokens, step_s in observed:
        pace.observe(prompt_tokens, step_s)
    return pace


@pytest.mark.parametrize(("most", "expected"), [(512, FIRST_CHUNK_TOKENS), (16, 16)])
@pytest.mark.parametrize("has_decoding", [False, True])
def test_the_first_chunk_is_cautious(most: int, expected: int, has_decoding: bool) -> None:
    assert Pace().chunk_tokens(has_decoding=has_decoding, most=most) == expected


def test_reading_alone_takes_up_to_the_longest_step() -> None:
    assert learnt((100, 1.0)).chunk_tokens(has_decoding=False, most=512) == 100 * LONGEST_STEP_S


def test_beside_somebody_who_is_shown_words_a_chunk_takes_a_few_of_their_steps() -> None:
    pace = learnt((0, 0.02), (100, 0.52))  # 5 ms a prompt token once the decode in the same step is taken off

    assert pace.chunk_tokens(has_decoding=True, most=512) == 20
    assert pace.chunk_tokens(has_decoding=False, most=512) == 200


def test_slow_decoding_does_not_lengthen_the_longest_step() -> None:
    assert learnt((0, 3.0), (100, 10.0)).chunk_tokens(has_decoding=True, most=512) <= 100 / (10.0 / 2)


def test_a_machine_that_gets_hot_is_believed() -> None:
    pace = learnt((100, 0.5))
    cool = pace.chunk_tokens(has_decoding=False, most=512)
    for _ in range(20):
        pace.observe(100, 2.0)

    assert cool == 200
    assert pace.chunk_tokens(has_decoding=False, most=512) == pytest.approx(50, abs=2)


def test_a_chunk_too_small_to_measure_by_teaches_nothing() -> None:
    pace = learnt((100, 1.0), (SMALLEST_CHUNK_TOKENS - 1, 50.0))

    assert pace.chunk_tokens(has_decoding=False, most=512) == 100


@given(steps, st.booleans(), st.integers(1, 512))
def test_a_chunk_is_never_empty_nor_larger_than_allowed(
    observed: list[tuple[int, float]], has_decoding: bool, most: int
) -> None:
    chunk = learnt(*observed).chunk_tokens(has_decoding=has_decoding, most=most)

    assert min(SMALLEST_CHUNK_TOKENS, most) <= chunk <= most
