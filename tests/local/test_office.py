"""The predictions in an office that is played with a clock of its own: what the daemon sees are frames, as always."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from edged.local.outlook import Outlook, Run
from edged.local.predict import Effort
from edged.wire import Output, Step
from edged.worker.job import shares

SLOTS, ANSWER_TOKENS, TURNS = 8, 64, 8
SYSTEM_TOKENS, TURN_TOKENS = 300, 40
BATCH_TOKENS = 512


@dataclass(slots=True)
class Caller:
    """Somebody who asks again as soon as the answer is there."""

    turn: int = 0
    came_s: float = 0.0
    expected_s: float | None = None
    pending: int = 0
    left: int = 0
    run: Run | None = None


def step_cost_s(rows: int, chance: random.Random, noise: float) -> float:
    """Not linear, as on real processors: a fixed part, a part per row, and a jump at each full tile of sixteen."""
    return (0.05 + 0.004 * rows + 0.02 * (rows // 16)) * chance.uniform(1 - noise, 1 + noise)


def play(callers: int, *, reuse: bool, noise: float, thinks_s: float, seed: int) -> list[float]:
    """Real by predicted, for every request that something was known for."""
    chance, outlook, now_s, ratios = random.Random(seed), Outlook(), 0.0, list[float]()
    everybody = [Caller(came_s=chance.uniform(0, 2)) for _ in range(callers)]
    while any(caller.turn < TURNS for caller in everybody):
        here = [caller for caller in everybody if caller.run is not None]
        for caller in everybody:
            if caller.run is None and caller.turn < TURNS and len(here) < SLOTS and caller.came_s <= now_s:
                ask(caller, outlook, SLOTS - len(here), reuse=reuse)
                caller.came_s = now_s  # between two steps, as the worker hears of it
                here.append(caller)
        if not here:
            now_s += 0.1
            continue
        reading = [caller for caller in here if caller.pending]
        drawing = [caller for caller in here if not caller.pending]
        chunk = 60 if drawing else BATCH_TOKENS
        given = shares([caller.pending for caller in reading], chunk)
        step_s = step_cost_s(sum(given) + len(drawing), chance, noise)
        now_s += step_s
        for caller, tokens in zip(reading, given, strict=True):
            caller.pending -= tokens
        spoke = [caller for caller in here if not caller.pending]
        step = Step(tuple(Output(1, "a", 1) for _ in spoke), sum(given), step_s, step_s, 0.0)
        outlook.note_step(step, [caller.run for caller in spoke if caller.run is not None])
        for caller in spoke:
            if caller.left == ANSWER_TOKENS and caller.expected_s is not None:
                ratios.append((now_s - caller.came_s) / caller.expected_s)
            speak(caller, outlook, now_s, chance.uniform(0, thinks_s))
    return ratios


def ask(caller: Caller, outlook: Outlook, free: int, *, reuse: bool) -> None:
    fresh = TURN_TOKENS if reuse and caller.turn else SYSTEM_TOKENS + TURN_TOKENS
    tokens = fresh if reuse else fresh + caller.turn * (TURN_TOKENS + ANSWER_TOKENS)
    expected = outlook.forecast([Effort(tokens, ANSWER_TOKENS)], free)
    caller.expected_s = expected.first_token_s if expected.is_measured else None
    caller.pending, caller.left = tokens, ANSWER_TOKENS
    caller.run = outlook.add(Effort(tokens, ANSWER_TOKENS))
    caller.run.begin(tokens)


def speak(caller: Caller, outlook: Outlook, now_s: float, thinks_s: float) -> None:
    assert caller.run is not None
    caller.left -= 1
    caller.run.drawn += 1
    if caller.left == 0:
        outlook.rates.note_answer(ANSWER_TOKENS)
        outlook.remove(caller.run)
        caller.run, caller.turn, caller.came_s = None, caller.turn + 1, now_s + thinks_s


@pytest.mark.parametrize("reuse", [False, True], ids=["everything is read again", "only the new turn is read"])
@pytest.mark.parametrize("seed", range(3))
def test_four_of_five_predictions_for_a_lone_caller_are_within_a_quarter(reuse: bool, seed: int) -> None:
    ratios = play(1, reuse=reuse, noise=0.1, thinks_s=1.0, seed=seed)

    good = sum(abs(ratio - 1) <= 0.25 for ratio in ratios)
    assert len(ratios) == TURNS - 1
    assert good >= 0.8 * len(ratios), sorted(round(ratio, 2) for ratio in ratios)


@pytest.mark.parametrize("seed", range(3))
def test_of_eight_callers_who_think_between_turns_half_is_told_within_a_quarter(seed: int) -> None:
    """Who comes while a prompt is being read shares its steps, and cannot be foreseen: first words come later then."""
    ratios = sorted(play(SLOTS, reuse=True, noise=0.1, thinks_s=20.0, seed=seed))

    assert sum(abs(ratio - 1) <= 0.25 for ratio in ratios) >= 0.5 * len(ratios)
    assert 0.8 <= ratios[len(ratios) // 2] <= 1.25
