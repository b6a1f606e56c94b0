"""When a model is given no more: twice in ten minutes, for one file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.local.quarantine import WINDOW_S, Quarantine, is_too_many


@pytest.mark.parametrize(
    ("deaths_s", "now_s", "verdict"),
    [
        ([], 0, False),
        ([0], 0, False),
        ([0, 0], 0, True),
        ([0, 599], 599, True),
        ([0, 600], 600, False),
        ([0, 500, 1050], 1050, True),
        ([0, 1], 1000, False),
    ],
)
def test_twice_in_ten_minutes(deaths_s: list[float], now_s: float, verdict: bool) -> None:
    assert is_too_many(deaths_s, now_s) == verdict


class Clock:
    """Seconds as the test says."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.floats(1, 2000), max_size=12))
def test_a_case_is_opened_by_the_first_two_deaths_that_are_close(gaps_s: list[float]) -> None:
    clock = Clock()
    quarantine = Quarantine(clock)
    for number, gap_s in enumerate(gaps_s):
        clock.now_s += gap_s
        case = quarantine.note_death("m", "file", "It died.")
        assert (case is not None) == (number > 0 and gap_s < WINDOW_S)
        if case is not None:
            return


def test_a_case_is_about_one_model_and_one_file() -> None:
    quarantine = Quarantine(Clock())
    for file in ("first", "second"):
        assert quarantine.note_death("m", file, "It died.") is None, "two files, one death each"
    assert quarantine.note_death("other", "second", "It died.") is None
    assert quarantine.note_death("m", "second", "It died again.") is not None

    assert quarantine.case_of("other") is None
    quarantine.note_file("m", "second")
    assert quarantine.case_of("m") is not None
    quarantine.note_file("m", "third")
    assert quarantine.case_of("m") is None
    assert quarantine.cases == []


def test_who_asks_is_told_what_happened_and_what_to_do() -> None:
    quarantine = Quarantine(Clock())
    quarantine.note_death("m", "file", "It was killed by SIGABRT.")
    case = quarantine.note_death("m", "file", "It was killed by SIGBUS.")

    assert case is not None
    for words in ("model m", "2 times within 10 minutes", "SIGBUS", "edged scrub", "restart the daemon"):
        assert words in str(case.error)
    quarantine.release("m")
    assert quarantine.case_of("m") is None
    assert quarantine.note_death("m", "file", "It died.") is None, "a released one starts anew"
