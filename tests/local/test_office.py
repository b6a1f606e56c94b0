"""The forecasts and the refusals in an office that is played with a clock of its own (`tests/office.py`)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.office import SLOTS, TURNS, Machine, Office, Person, Told


def office(callers: int, seed: int, *, longest_thought_s: float = 0.0, neighbours: float = 0.0) -> list[Told]:
    chance = random.Random(seed)

    def thinks_s() -> float:
        return chance.uniform(0, longest_thought_s)

    machine = Machine(chance, unrest=0.03, neighbours=neighbours)
    return Office(machine).play(Person(number, thinks_s(), thinks_s=thinks_s) for number in range(callers))


def share_near(told: Sequence[Told]) -> float:
    return sum(one.is_near for one in told) / len(told)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("callers", [1, 4, SLOTS])
def test_four_of_five_first_words_come_within_a_quarter_of_what_was_expected(callers: int, seed: int) -> None:
    """The first of all, of whom nothing could be expected, count as missed."""
    told = office(callers, seed)

    assert len(told) == callers * TURNS
    assert share_near(told) >= 0.8


@pytest.mark.parametrize("seed", range(3))
def test_so_they_do_in_an_office_that_thinks_between_turns(seed: int) -> None:
    assert share_near(office(SLOTS, seed, longest_thought_s=20.0)) >= 0.8


@pytest.mark.parametrize("seed", range(3))
def test_and_on_a_machine_that_others_slow_down_now_and_then(seed: int) -> None:
    """Once it is known: within an answer or two of everybody."""
    told = [one for one in office(SLOTS, seed, neighbours=1.0) if one.turn > 0]

    assert share_near(told) >= 0.8


TARGET_S = 5.0


@pytest.mark.parametrize("seed", range(3))
def test_four_times_too_much_costs_nobody_who_is_let_in_and_is_refused_at_once(seed: int) -> None:
    """What `benchmarks.peers` overload measures: 60 words in, 32 out, capacity from eight who ask again at once."""
    chance = random.Random(seed)
    playing = Office(Machine(chance, unrest=0.05, neighbours=0.2), has_shared_prompt=False)

    def stranger(number: int, starts_s: float, turns: int = 1, deadline_s: float | None = TARGET_S) -> Person:
        return Person(
            number,
            starts_s,
            turns,
            shares_prompt=False,
            is_forgetful=True,
            deadline_s=deadline_s,
            answer_tokens=32,
            turn_words=60,
        )

    closed = playing.play(stranger(number, 0.0, turns=6, deadline_s=None) for number in range(SLOTS))
    capacity_per_s = len(closed) / playing.now_s
    began_s, count = playing.now_s, 200
    answered = playing.play(stranger(number % 64, began_s + number / (4 * capacity_per_s)) for number in range(count))

    good = sum(one.real_s <= TARGET_S for one in answered)
    assert len(answered) + len(playing.refused) == count
    assert good / (playing.now_s - began_s) >= 0.9 * capacity_per_s
    assert good >= 0.99 * len(answered)
    assert all(one.after_s == 0 for one in playing.refused)
