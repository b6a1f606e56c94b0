"""What rows cost is learnt from steps of work, and begins with what was measured while nobody asked."""

from __future__ import annotations

import pytest

from edged.worker.row_costs import Cost, RowCosts


def test_an_unknown_size_costs_what_its_neighbours_say() -> None:
    costs = RowCosts()
    assert costs.expected_s(1) is None
    for rows, step_s in ((1, 1.0), (1, 1.1), (5, 2.6), (5, 2.0)):
        costs.observe(rows, step_s)

    assert [costs.expected_s(rows) for rows in (1, 3, 5)] == [1.0, 1.5, 2.0]
    assert costs.expected_s(10) == pytest.approx(2.0 * 1.2)


def test_one_late_step_says_little_and_many_are_believed() -> None:
    costs = RowCosts()
    for rows in (*[1] * 8, 4, 4):
        costs.observe(rows, float(rows))
    costs.observe(1, 50.0)
    assert (costs.expected_s(1) or 0) < 1.5
    for _ in range(20):
        costs.observe(1, 3.0)

    assert costs.expected_s(1) == pytest.approx(3.0, rel=0.05)
    assert (costs.expected_s(4) or 0) > 6, "it is the machine"


def test_what_was_measured_before_is_where_it_begins() -> None:
    costs = RowCosts()
    costs.calibrate({1: 1.0, 4: 2.0, 8: 3.0})

    assert [costs.expected_s(rows) for rows in (1, 4, 6)] == [1.0, 2.0, 2.5]
    assert costs.is_known(8)
    for _ in range(20):
        costs.observe(1, 2.0)
    assert (costs.expected_s(8) or 0) > 4, "it is the machine"


def test_what_corrects_a_lucky_beginning_is_not_the_machine() -> None:
    costs = RowCosts()
    for _ in range(20):
        costs.observe(1, 1.0)
    for step_s in (1.2, 3.0, *[2.0] * 6):
        costs.observe(4, step_s)

    assert costs.expected_s(1) == 1.0
    assert costs.expected_s(4) == pytest.approx(2.0, rel=0.15)


def test_a_cost_is_known_from_the_quicker_of_two_and_a_late_one_says_little() -> None:
    cost, expected = Cost(), list[float | None]()
    for measured in (5.0, 1.0, 100.0, *[0.5] * 20):
        cost.observe(measured)
        expected.append(cost.expected)

    assert expected[:2] == [None, 1.0]
    assert (expected[2] or 0) < 1.5
    assert expected[-1] == pytest.approx(0.5, rel=0.05)
