"""When runs may become a figure."""

from benchmarks.spread import Runs, ratio, steady


def test_a_ratio_is_the_median_of_its_pairs() -> None:
    value, note = ratio(Runs([1.0, 1.1, 1.2]), Runs([2.0, 2.0, 2.4]))

    assert value == 0.5
    assert note == "3 pairs, 0.50 to 0.55"


def test_two_pairs_are_not_published_but_told() -> None:
    value, note = ratio(Runs([1.0, 1.0]), Runs([2.0, 2.0]))

    assert value is None
    assert note == "2 of 3 pairs needed; these say 0.50"


def test_disturbed_runs_are_not_published() -> None:
    value, note = ratio(Runs([1.0, 1.0, 1.5]), Runs([2.0, 2.0, 3.0]))

    assert value is None, "pairs that agree do not excuse runs that differ"
    assert note == "runs differ by 50% (at most 25%): measure on a quiet machine"


def test_the_middle_half_of_five_or_more_decides() -> None:
    assert steady(Runs([1.0, 1.0, 1.02, 1.04, 3.0])) == (1.02, "5 pairs, 1 to 3")


def test_a_middle_half_that_differs_is_not_published() -> None:
    assert steady(Runs([1.0, 1.2, 1.4, 1.6, 1.8]))[0] is None


def test_four_are_too_few() -> None:
    assert steady(Runs([1.0] * 4)) == (None, "4 of 5 needed; these say 1")
