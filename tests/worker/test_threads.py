"""The number of threads follows what the machine has to spare, and only where steps become quicker by it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.threads import Ceilings, Threads

# Seconds per step by threads: quiet and with one busy neighbour on two cores; measured, 0.5B in Q4_0.
QUIET = {1: 1 / 27, 2: 1 / 47}
ONE_NEIGHBOUR = {1: 1 / 27, 2: 1 / 15}
PI_5 = {1: 0.11, 2: 0.085, 3: 0.085, 4: 0.1}


def run(threads: Threads, steps: int, cost: Callable[[int], float], neighbour_cores: float | None) -> list[int]:
    """The numbers that `steps` steps ran on."""
    random, used = Random(0), []
    for _ in range(steps):
        used.append(threads.now)
        if neighbour_cores is not None:
            threads.look_around(neighbour_cores)
        threads.observe(1, cost(threads.now) * random.lognormvariate(0, 0.02))
    return used


def test_an_undisturbed_machine_keeps_all_threads_and_tries_fewer_once() -> None:
    threads = Threads(2)
    used = run(threads, 2000, QUIET.__getitem__, 0.0)

    assert used.count(1) <= 4
    assert threads.settled == 2


def test_where_half_of_the_cores_are_as_quick_half_of_the_cores_are_used() -> None:
    threads = Threads(4)
    run(threads, 200, PI_5.__getitem__, 0.0)

    assert threads.now in (2, 3)
    assert threads.settled == threads.now


def test_what_was_found_out_before_is_used_from_the_first_step() -> None:
    threads = Threads(4, settled=2)

    assert threads.now == 2
    assert set(run(threads, 500, PI_5.__getitem__, 0.0)) == {2}


@pytest.mark.parametrize("settled", [None, 2])
def test_a_busy_neighbour_costs_a_thread_within_a_few_steps_and_gives_it_back(settled: int | None) -> None:
    threads = Threads(2, settled)
    run(threads, 100, QUIET.__getitem__, 0.0)

    disturbed = run(threads, 300, ONE_NEIGHBOUR.__getitem__, 1.0)
    assert disturbed[3:] == [1] * 297

    free = run(threads, 300, QUIET.__getitem__, 0.1)
    assert free[3:] == [2] * 297


@pytest.mark.parametrize("quiet_steps", [0, 2, 5, 9])
def test_a_neighbour_that_was_there_from_the_beginning_is_not_taken_for_the_machine(quiet_steps: int) -> None:
    threads = Threads(2)
    run(threads, quiet_steps, QUIET.__getitem__, 0.0)
    run(threads, 300, ONE_NEIGHBOUR.__getitem__, 1.0)

    used = run(threads, 300, QUIET.__getitem__, 0.0)

    assert used[-100:] == [2] * 100
    assert threads.settled == 2


@given(st.integers(0, 40), st.integers(1, 30))
def test_a_step_of_a_hundred_times_its_time_happens_once(quick_steps: int, seed: int) -> None:
    """Beside two loops two threads are as quick as one until they meet badly (0.5B in Q4_0, two cores, measured)."""
    threads, random = Threads(2, settled=2), Random(seed)
    run(threads, 50, QUIET.__getitem__, 0.0)
    slow = 0
    for step in range(200):
        threads.look_around(1.3)
        is_slow = threads.now == 2 and step >= quick_steps
        slow += is_slow
        threads.observe(1, (2.7 if is_slow else 0.034 if threads.now == 1 else 0.03) * random.lognormvariate(0, 0.05))

    assert slow <= 1
    assert threads.now == 1


def test_a_neighbour_that_does_not_matter_changes_nothing_but_for_a_rare_try() -> None:
    threads = Threads(2, settled=2)

    assert run(threads, 2000, QUIET.__getitem__, 1.0).count(1) <= 40


def test_what_disturbs_unseen_is_noticed_by_the_steps() -> None:
    threads = Threads(2, settled=2)
    run(threads, 50, QUIET.__getitem__, None)

    assert run(threads, 200, ONE_NEIGHBOUR.__getitem__, None).count(1) > 150


@given(
    st.integers(1, 16),
    st.none() | st.integers(1, 16),
    st.lists(st.tuples(st.integers(1, 8), st.floats(1e-6, 100), st.none() | st.floats(0, 64))),
)
def test_there_is_always_a_thread_and_never_more_than_allowed(
    most: int, settled: int | None, steps: list[tuple[int, float, float | None]]
) -> None:
    threads = Threads(most, settled)
    for decoding, step_s, neighbour_cores in steps:
        if neighbour_cores is not None:
            threads.look_around(neighbour_cores)
        threads.observe(decoding, step_s)
        assert 1 <= threads.reading <= most
        assert 1 <= threads.now <= most


def test_a_ceiling_is_kept_and_what_was_found_out_without_it_is_there_again_afterwards() -> None:
    ceilings = Ceilings(4)
    run(ceilings.now, 200, PI_5.__getitem__, 0.0)
    alone = ceilings.now.now

    ceilings.allow(1)
    assert (ceilings.now.now, ceilings.now.reading, ceilings.now.decoding(8)) == (1, 1, 1)
    assert (ceilings.is_free, ceilings.whole.settled) == (False, alone)

    ceilings.allow(4)
    assert (ceilings.now.now, ceilings.now.reading, ceilings.is_free) == (alone, 4, True)


def test_who_may_do_nothing_still_has_a_thread_for_a_step_that_is_due() -> None:
    ceilings = Ceilings(2)
    ceilings.allow(0)

    assert (ceilings.now.now, ceilings.is_free) == (1, False)


@given(st.integers(1, 8), st.lists(st.integers(0, 12), min_size=1), st.none() | st.integers(1, 8))
def test_no_step_takes_more_threads_than_are_allowed(most: int, counts: list[int], settled: int | None) -> None:
    ceilings = Ceilings(most, settled)
    for count in counts:
        ceilings.allow(count)
        run(ceilings.now, 20, lambda threads: 1 / threads, 0.0)
        allowed = max(1, min(count, most))
        assert max(ceilings.now.now, ceilings.now.reading, ceilings.now.decoding(8)) <= allowed


def test_a_small_number_beside_another_model_is_not_taken_for_the_best_one() -> None:
    ceilings = Ceilings(4)
    ceilings.allow(2)
    run(ceilings.now, 200, PI_5.__getitem__, 0.0)

    assert ceilings.whole.settled is None
