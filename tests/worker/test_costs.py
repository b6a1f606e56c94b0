"""Costs are looked up, bounded where nothing was measured, and believed again when the machine changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.costs import SIZES, StepCosts

measured = st.lists(st.tuples(st.integers(1, 512), st.integers(0, 8000), st.floats(1e-5, 10)), min_size=1, max_size=30)


def table(*steps: tuple[int, int, float]) -> StepCosts:
    costs = StepCosts()
    for rows, depth_tokens, step_s in steps:
        costs.observe(rows, depth_tokens, step_s)
    return costs


def test_nothing_is_expected_before_anything_was_measured() -> None:
    assert StepCosts().expected_s(0) == {}


def test_fewer_rows_cost_no_more_and_more_rows_no_more_than_in_proportion() -> None:
    costs = table((16, 0, 0.134))

    assert costs.expected_s(0)[4] == 0.134
    assert costs.expected_s(0)[32] == pytest.approx(0.268)


def test_a_measured_tile_is_not_averaged_with_its_neighbours() -> None:
    costs = table((16, 0, 0.134), (20, 0, 0.2), (16, 0, 0.134))

    assert costs.expected_s(0)[16] == 0.134
    assert costs.expected_s(0)[20] == pytest.approx(0.134 * 20 / 16)


def test_a_step_between_two_sizes_counts_for_the_smaller() -> None:
    assert table((19, 0, 0.3)).expected_s(0)[16] == 0.3


def test_two_late_steps_of_five_are_not_believed() -> None:
    costs = table(*[(16, 0, 0.1)] * 6, *[(16, 0, 1.0)] * 2, (16, 0, 0.1))

    assert costs.expected_s(0)[16] == pytest.approx(0.1)


def test_the_same_rows_are_dearer_deeper_in_the_context_also_where_that_was_not_measured() -> None:
    guessed = table((16, 0, 0.1))

    assert guessed.expected_s(1000)[16] > guessed.expected_s(500)[16] > 0.1


def test_sizes_grow_with_depth_as_each_was_measured_to() -> None:
    costs = StepCosts()
    costs.calibrate({8: 0.044, 16: 0.061, 64: 0.207, 512: 1.77}, {8: 0.078, 16: 0.136, 64: 0.337}, 1000)

    expected_s = costs.expected_s(2000)
    assert (expected_s[8], expected_s[16], expected_s[64]) == pytest.approx((0.112, 0.211, 0.467))
    assert expected_s[512] == pytest.approx(1.77 + 8 * 0.26)


def test_a_deep_step_says_how_quick_the_machine_is_and_not_how_deep_it_was() -> None:
    costs = StepCosts()
    costs.calibrate({8: 0.044, 16: 0.061}, {8: 0.078, 16: 0.136}, 1000)
    for _ in range(5):
        costs.observe(16, 1000, 2 * 0.136)

    assert costs.expected_s(0)[8] == pytest.approx(0.088)


def test_a_change_of_speed_is_believed_for_every_size_and_so_is_its_end() -> None:
    costs = StepCosts()
    costs.calibrate({16: 0.1, 32: 0.2})
    for step_s, expected_s in ((0.3, 0.6), (0.1, 0.2)):
        for _ in range(5):
            costs.observe(16, 0, step_s)

        assert costs.expected_s(0)[32] == pytest.approx(expected_s)


def test_a_tile_that_fits_is_known_without_approaching_it() -> None:
    """Four rows take half of what twenty take: nobody who only knew the four would dare to try twenty."""
    costs = table((1, 0, 0.09))
    costs.calibrate({4: 0.047, 20: 0.084})

    assert (costs.expected_s(0)[20], costs.expected_s(0)[16]) == (0.084, 0.084)


@given(measured, st.integers(0, 8000))
def test_every_size_has_a_finite_cost_once_one_was_measured(
    steps: list[tuple[int, int, float]], depth_tokens: int
) -> None:
    expected_s = table(*steps).expected_s(depth_tokens)

    assert set(expected_s) == set(SIZES)
    assert all(0 < cost_s < math.inf for cost_s in expected_s.values())


@given(st.floats(1e-4, 0.05), st.floats(0, 0.5), st.lists(st.sampled_from(SIZES), min_size=1), st.sampled_from(SIZES))
def test_on_a_machine_without_surprises_nothing_is_underestimated(
    row_s: float, step_s: float, sizes: list[int], asked: int
) -> None:
    def cost(rows: int) -> float:
        return step_s + row_s * rows

    costs = table(*[(size, 0, cost(size)) for size in sizes])

    assert costs.expected_s(0)[asked] >= cost(asked) * 0.999
