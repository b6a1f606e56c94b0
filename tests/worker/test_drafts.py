"""Drafts are made where they pay, by turns, and cost next to nothing where they do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Sequence as Items

import pytest

from edged.cells import MOST_DRAFTED_TOKENS
from edged.worker.draft import Draft, guesses_for
from edged.worker.drafts import Drafts
from edged.worker.job import Job
from edged.worker.sequence import Sequence, StopFilter

# In steps of one row: rows by fours, as on two x86 cores with Q4_0; and a device on which rows cost next to nothing.
BY_FOURS = (0.0, 1.0, 1.8, 2.6, 1.8, 2.5, 3.3, 4.0, 3.0, 3.8)
FLAT = tuple(1 + rows / 100 for rows in range(20))


def asking(id: int, prompt: list[int], most: int = 4000, *, looks_up: bool = True) -> Job:
    """Somebody whose text so far is `prompt`."""
    sequence = Sequence(id, prompt, len(prompt), most, StopFilter(()))
    return Job(sequence, None, guesses_for(sequence.tokens, looks_up=looks_up))


class FakeDrafter:
    """A smaller model: so many seconds for a guess and for a token that is read. It is always equally sure."""

    def __init__(self, guess_s: float, read_s: float, likelihood: float = 0.5) -> None:
        self.spent_s = 0.0
        self.known: list[int] = []
        self.pieces: list[int] = []
        self.asked = 0
        self._costs_s = guess_s, read_s
        self._likelihood = likelihood

    def room(self, tokens: Items[int]) -> int:
        return 10_000 - len(tokens)

    def unread(self, tokens: Items[int], partition: str | None) -> int:
        return len(tokens) - min(len(self.known), len(tokens) - 1)

    def read(self, tokens: Items[int], partition: str | None, most: int) -> None:
        count = min(most, self.unread(tokens, partition))
        self.known = list(tokens)[: len(tokens) - self.unread(tokens, partition) + count]
        self.pieces.append(count)
        self.spent_s += count * self._costs_s[1]

    def guess(
        self, tokens: Items[int], partition: str | None, most: int, goes_on: Callable[[float], bool]
    ) -> list[tuple[int, float]]:
        assert self.unread(tokens, partition) <= 16, "it would hold up the answer for long"
        self.asked += 1
        self.known = list(tokens)
        guessed: list[tuple[int, float]] = []
        while len(guessed) < most and goes_on(self._likelihood):
            guessed.append((5, self._likelihood))
        self.spent_s += self._costs_s[0] * max(1, len(guessed))
        return guessed


class Play:
    """Answers that are drafted for a while: seconds by the table of `costs`, right guesses by `chance`.

    With a `drafter` nothing is looked up.
    """

    def __init__(
        self,
        costs: tuple[float, ...],
        chances: dict[int, float],
        seed: int = 1,
        drafter: FakeDrafter | None = None,
        prompt_tokens: int = 40,
        longest_gap_steps: float = 6.0,
    ) -> None:
        self.costs, self.chances = costs, chances
        self.chance = random.Random(seed)
        # One token again and again: there is always something to propose.
        self.jobs = {id: asking(id, [5] * prompt_tokens, looks_up=drafter is None) for id in chances}
        self.drafter = drafter
        self.drafts = Drafts(drafter, longest_gap_steps)
        self.seconds = 0.0
        self.drafted = dict.fromkeys(chances, 0)

    def ask_again(self, prompt_tokens: int) -> None:
        """Somebody else with another text takes the first one's place."""
        self.jobs[1] = asking(1, [6] * prompt_tokens, looks_up=self.drafter is None)
        if self.drafter:
            self.drafter.known.clear()

    def step(self) -> Draft | None:
        jobs = list(self.jobs.values())
        began_s = self.drafter.spent_s if self.drafter else 0.0
        draft = self.drafts.choose(jobs, room=100)
        self.seconds += self.drafter.spent_s - began_s if self.drafter else 0.0
        rows = len(jobs)
        if draft is not None:
            rows += len(draft.tokens)
            chance = self.chances[draft.job.sequence.id]
            while draft.accepted < len(draft.tokens) and self.chance.random() < chance:
                draft.accepted += 1
            draft.right, draft.judged = draft.accepted, min(draft.accepted + 1, len(draft.tokens))
            self.drafted[draft.job.sequence.id] += 1
            draft.job.sequence.tokens.extend([5] * draft.accepted)
        for job in jobs:
            job.sequence.tokens.append(5)
        self.seconds += self.costs[rows]
        self.drafts.observe(len(jobs), self.costs[rows], draft)
        return draft

    def speedup(self, id: int, tokens: int) -> float:
        """Beside answers without drafts, after so many tokens."""
        begun, self.seconds = self.jobs[id].sequence.generated, 0.0
        while self.jobs[id].sequence.generated < begun + tokens:
            self.step()
        return tokens * self.costs[len(self.jobs)] / self.seconds


@pytest.mark.parametrize("costs", [BY_FOURS, FLAT], ids=["by fours", "flat"])
@pytest.mark.parametrize("seed", range(3))
def test_guesses_that_are_always_wrong_cost_next_to_nothing(costs: tuple[float, ...], seed: int) -> None:
    for tokens in (256, 1000):  # the first of them on a device that is not known yet
        assert Play(costs, {1: 0.0}, seed).speedup(1, tokens) >= 0.97


@pytest.mark.parametrize(("chance", "least"), [(0.8, 1.1), (0.9, 1.5), (1.0, 2.2)])
@pytest.mark.parametrize("seed", range(3))
def test_guesses_that_are_mostly_right_pay(chance: float, least: float, seed: int) -> None:
    play = Play(BY_FOURS, {1: chance}, seed)
    play.speedup(1, 100)  # the device is not known yet

    assert play.speedup(1, 1000) >= least


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5])
def test_whatever_the_chance_nothing_is_lost(chance: float) -> None:
    assert Play(BY_FOURS, {1: chance}).speedup(1, 500) >= 0.97


def test_noise_that_makes_rows_seem_free_does_not_keep_wrong_guesses_going() -> None:
    play = Play((0.0, *[1.0] * 12), {1: 0.0})
    play.speedup(1, 1000)

    assert play.drafted[1] <= 150


def test_where_rows_cost_nothing_half_right_is_enough() -> None:
    assert Play(FLAT, {1: 0.5}).speedup(1, 500) >= 1.5


def test_who_stops_being_right_is_not_drafted_for_long() -> None:
    play = Play(BY_FOURS, {1: 1.0})
    play.speedup(1, 200)
    play.chances[1] = 0.0

    assert play.speedup(1, 400) >= 0.97


def test_who_begins_to_be_right_is_drafted_again() -> None:
    play = Play(BY_FOURS, {1: 0.0})
    play.speedup(1, 300)
    play.chances[1] = 1.0
    play.speedup(1, 300)

    assert play.speedup(1, 300) >= 1.5


def test_a_draft_beside_others_is_made_by_turns_and_hardly_slows_them() -> None:
    play = Play(FLAT, {1: 0.9, 2: 0.9, 3: 0.9})
    play.speedup(1, 600)

    assert max(play.drafted.values()) - min(play.drafted.values()) <= 0.2 * max(play.drafted.values())
    dear = Play((0.0, 1.0, 1.2, 2.0, 2.8, 3.6, 4.4, 5.2, 6.0, 6.8, 7.6), {1: 1.0, 2: 0.0})
    assert dear.speedup(2, 1000) >= 0.97


def test_nothing_is_drafted_behind_the_last_token_that_may_come_nor_without_room() -> None:
    play = Play(FLAT, {1: 1.0})
    play.speedup(1, 50)
    job = play.jobs[1]
    job.sequence.max_tokens = job.sequence.generated + 3
    draft = play.drafts.choose([job], room=100)
    assert draft is not None
    assert len(draft.tokens) == 2
    assert play.drafts.choose([job], room=0) is None
    job.sequence.max_tokens = job.sequence.generated + 1
    assert play.drafts.choose([job], room=100) is None


def test_now_and_then_a_step_is_left_undrafted_to_measure_by() -> None:
    play = Play(FLAT, {1: 1.0})
    play.speedup(1, 500)

    assert 1 <= sum(play.step() is None for _ in range(200)) <= 20


def test_a_machine_that_becomes_slower_does_not_turn_drafts_off() -> None:
    play = Play(BY_FOURS, {1: 0.95})
    play.speedup(1, 300)
    play.costs = tuple(3 * cost for cost in BY_FOURS)
    play.speedup(1, 100)

    assert play.speedup(1, 500) >= 1.5


def test_no_more_are_drafted_than_outputs_are_reserved_for() -> None:
    play = Play(FLAT, {1: 1.0})
    play.speedup(1, 300)

    draft = play.drafts.choose(list(play.jobs.values()), room=100)

    assert draft is not None
    assert len(draft.tokens) == MOST_DRAFTED_TOKENS - 1, "eight rows are two whole tiles"


def test_a_quick_smaller_model_that_is_mostly_right_pays() -> None:
    play = Play(BY_FOURS, {1: 0.9}, drafter=FakeDrafter(0.05, 0.005))
    play.speedup(1, 100)

    assert play.speedup(1, 1000) >= 1.4


@pytest.mark.parametrize(("guess_s", "chance"), [(0.05, 0.0), (0.05, 0.3), (0.4, 0.7), (0.9, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_model_that_is_wrong_or_slow_costs_next_to_nothing(guess_s: float, chance: float, seed: int) -> None:
    for tokens in (256, 1000):
        play = Play(BY_FOURS, {1: chance}, seed, FakeDrafter(guess_s, guess_s / 10))
        assert play.speedup(1, tokens) >= 0.96


def test_a_long_text_is_read_in_pieces_once_the_answer_has_lasted() -> None:
    drafter = FakeDrafter(0.0005, 0.00005)
    play = Play(tuple(0.01 * cost for cost in FLAT), {1: 0.9}, drafter=drafter, prompt_tokens=3000)
    play.speedup(1, 400)

    assert sum(drafter.pieces) >= 3000 - 16
    assert max(drafter.pieces) * 0.005 / FLAT[1] <= 5 + 1e-9, "no step becomes longer than six"
    assert drafter.asked > 20


@pytest.mark.parametrize(("longest_gap_steps", "step_s"), [(2.0, 0.01), (6.0, 0.5)])
def test_a_piece_is_no_longer_than_somebodys_prompt_might_be(longest_gap_steps: float, step_s: float) -> None:
    drafter = FakeDrafter(0.05 * step_s, 0.005 * step_s)
    play = Play(tuple(step_s * cost for cost in FLAT), {1: 0.9}, 1, drafter, 3000, longest_gap_steps)
    play.speedup(1, 600)

    assert sum(drafter.pieces) >= 3000 - 16
    most_steps = min(longest_gap_steps, 1 / (step_s * FLAT[1])) - 1
    assert max(drafter.pieces) * 0.005 / FLAT[1] <= most_steps + 1e-9


def test_short_answers_to_long_prompts_are_not_held_up() -> None:
    drafter = FakeDrafter(0.12, 0.02)
    play = Play(FLAT, {1: 0.7}, drafter=drafter, prompt_tokens=1800)
    for _ in range(20):
        play.ask_again(prompt_tokens=1800)

        assert play.speedup(1, 12) >= 0.97


def test_a_text_that_takes_too_long_to_read_is_left_alone() -> None:
    drafter = FakeDrafter(0.05, 0.05)
    play = Play(FLAT, {1: 0.9}, drafter=drafter, prompt_tokens=8000)

    assert play.speedup(1, 200) >= 0.97
    assert drafter.asked == 0
    assert sum(drafter.pieces) <= 64, "two pieces told how slowly it reads"


@pytest.mark.parametrize("bad_answers", [1, 20])
def test_somebody_for_whom_all_was_wrong_spoils_it_for_nobody_else(bad_answers: int) -> None:
    play = Play(FLAT, {1: 0.0}, drafter=FakeDrafter(0.05, 0.005))
    for _ in range(bad_answers):
        play.speedup(1, 200)
        play.ask_again(prompt_tokens=40)
    play.chances[1] = 0.95

    assert play.speedup(1, 300) >= 1.4


def test_a_text_that_becomes_foreseeable_is_guessed_again() -> None:
    play = Play(FLAT, {1: 0.0}, drafter=FakeDrafter(0.05, 0.005))
    play.speedup(1, 300)
    play.chances[1] = 0.95
    play.speedup(1, 300)

    assert play.speedup(1, 300) >= 1.4


def test_the_smaller_model_is_asked_for_somebody_alone_only() -> None:
    drafter = FakeDrafter(0.01, 0.001)
    play = Play(FLAT, {1: 1.0, 2: 1.0}, drafter=drafter)
    play.speedup(1, 300)
    assert drafter.asked == 0

    del play.jobs[2]
    play.speedup(1, 300)
    assert drafter.asked > 0


def test_guesses_stop_where_the_next_one_is_not_worth_its_time() -> None:
    drafter = FakeDrafter(0.05, 0.005)
    play = Play(FLAT, {1: 1.0}, drafter=drafter)
    play.speedup(1, 300)
    longest = [len(draft.tokens) for _ in range(50) if (draft := play.step())]
    play.chances[1] = 0.6
    play.speedup(1, 300)
    shorter = [len(draft.tokens) for _ in range(50) if (draft := play.step())]

    assert max(longest) >= 7
    assert sum(shorter) / len(shorter) < sum(longest) / len(longest)
