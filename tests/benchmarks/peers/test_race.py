"""What is made of the rounds: ratios pair by pair, and when they are not published."""

import asyncio

import pytest

from benchmarks.peers import race
from benchmarks.peers.chats import Arrivals
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.race import Results
from benchmarks.peers.scenario import Promise, Scenario, Values, percentile


async def _never(_stage: Stage, _seed: int) -> Values:
    raise AssertionError("nothing is played here")


SCENARIO = Scenario(
    name="example",
    what="an example",
    values={"decode": "tokens/s", "gap": ""},
    plays={"whole": _never, "quick": _never, "nano": _never},
    promises=(
        Promise("decode", "llama-server", least=0.99),
        Promise("gap", most=6.5),
    ),
    needs=Needs(),
    peers=("llama-server",),
)


def results(ours: list[float], theirs: list[float], gap: float = 5.0) -> Results:
    return Results(
        {
            "edged": [{"decode": value, "gap": gap} for value in ours],
            "llama-server": [{"decode": value} for value in theirs],
        }
    )


def test_a_ratio_is_taken_pair_by_pair() -> None:
    ours, theirs = [10.0, 20.0, 40.0, 80.0, 160.0], [20.0, 40.0, 80.0, 160.0, 320.0]

    ratio, own, *rest = race.lines(SCENARIO, results(ours, theirs), "")

    assert (ratio.value, ratio.verdict) == (0.5, "MISSED"), "runs that differ do not matter where the pairs agree"
    assert (own.value, own.verdict) == (5.0, "met")
    assert [line.what for line in rest] == ["decode, edged", "gap, edged", "decode, llama-server"]


def test_pairs_that_disagree_are_not_published() -> None:
    line, *_ = race.lines(SCENARIO, results([1.0, 1.1, 1.2, 1.3, 1.4], [1.0] * 5), "")

    assert line.value is None
    assert line.note == "the middle half differs by 17% (at most 8%); the median would be 1.2"


def test_one_disturbed_pair_of_five_does_not_spoil_the_rest() -> None:
    line, *_ = race.lines(SCENARIO, results([1.0, 1.0, 1.0, 1.0, 9.0], [1.0] * 5), "")

    assert line.value == 1.0


def test_four_pairs_are_not_published() -> None:
    line, *_ = race.lines(SCENARIO, results([1.0] * 4, [1.0] * 4), "")

    assert (line.value, line.note) == (None, "4 of 5 needed; these say 1")


def test_nothing_is_published_of_a_machine_that_was_throttled() -> None:
    line, *_ = race.lines(SCENARIO, results([1.0] * 5, [1.0] * 5), "the processor was throttled")

    assert (line.value, line.note) == (None, "the processor was throttled; it would be 1")


def test_who_gave_nothing_is_named_with_the_reason() -> None:
    found = Results({"edged": [{"decode": 1.0, "gap": 1.0}] * 5}, {"llama-server": "failed in round 1: gone"})

    line, *_, last = race.lines(SCENARIO, found, "")

    assert (line.value, line.note) == (None, "failed in round 1: gone")
    assert (last.what, last.value, last.note) == ("llama-server", None, "failed in round 1: gone")


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.99, 4.0), (0.25, 1.0), (0.0, 1.0)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], share) == value


async def test_whoever_waits_for_more_than_an_answer_has_is_told() -> None:
    arrivals = Arrivals()
    waiting = asyncio.create_task(arrivals.reach(2))
    arrivals.add()
    arrivals.end("it ended with 'length'")

    with pytest.raises(RuntimeError, match="had 1 pieces, before 2: it ended with 'length'"):
        await waiting


def test_a_gap_that_was_open_at_the_moment_counts_from_its_beginning() -> None:
    arrivals = Arrivals([1.0, 2.0, 3.0, 7.0, 7.5])

    assert arrivals.gaps_s(since_s=3.5) == [4.0, 0.5]
    assert arrivals.gaps_s() == [1.0, 1.0, 4.0, 0.5]
