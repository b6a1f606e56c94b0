"""Steps stay short, whatever the machine: costs are learnt, bounds are kept, and a long prompt still gets through."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.costs import SIZES
from edged.worker.pace import FIRST_CHUNK_TOKENS, LONGEST_READING_STEP_S, PLAIN_STEP_EVERY, Pace

BATCH_ROWS = 512
steps = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 504), st.floats(1e-6, 100)), max_size=30)


@dataclass
class Machine:
    """A processor with tiles of four rows, dear remainders, attention that grows with depth, and a little unrest.

    The numbers are near those of a 0.5B model in Q4_0 on two x86 cores.
    """

    seed: int = 0
    tile_s: float = 0.0288
    odd_row_s: float = 0.018
    cell_s: float = 2.2e-6
    slowness: Callable[[int], float] = lambda step: 1.0
    late_share: float = 0.0
    steps: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def quiet_s(self, decoding: int, prompt_tokens: int, depth_tokens: int) -> float:
        tiles, odd = divmod(decoding + prompt_tokens, 4)
        output_s = 0.005 if decoding else 0.0
        return output_s + tiles * self.tile_s + odd * self.odd_row_s + self.cell_s * prompt_tokens * depth_tokens

    def step(self, decoding: int, prompt_tokens: int, depth_tokens: int) -> float:
        self.steps += 1
        unrest = self._random.lognormvariate(0, 0.03) * (3 if self._random.random() < self.late_share else 1)
        return self.quiet_s(decoding, prompt_tokens, depth_tokens) * unrest * self.slowness(self.steps)


@dataclass
class Reading:
    """How a prompt was read: seconds in all, and each step's seconds."""

    steps_s: list[float]
    chunks: list[int]

    @property
    def total_s(self) -> float:
        return sum(self.steps_s)


def read(machine: Machine, pace: Pace, prompt_tokens: int, *, decoding: int = 0, start: int = 0) -> Reading:
    """Read a prompt beside `decoding` running answers, which ran undisturbed for a while before."""
    for _ in range(10 if decoding else 0):
        plain_s = machine.step(decoding, 0, 0)
        pace.observe(decoding=decoding, prompt_tokens=0, depth_tokens=0, step_s=plain_s)
    depth, reading = start, Reading([], [])
    while depth < prompt_tokens:
        chunk = pace.chunk_tokens(decoding=decoding, depth_tokens=depth, most=BATCH_ROWS)
        chunk = min(chunk, prompt_tokens - depth)
        step_s = machine.step(decoding, chunk, depth)
        pace.observe(decoding=decoding, prompt_tokens=chunk, depth_tokens=depth, step_s=step_s)
        reading.steps_s.append(step_s)
        reading.chunks.append(chunk)
        depth += chunk
    return reading


@pytest.mark.parametrize(("most", "expected"), [(512, FIRST_CHUNK_TOKENS), (16, 16)])
def test_the_first_chunk_is_cautious(most: int, expected: int) -> None:
    assert Pace().chunk_tokens(decoding=0, depth_tokens=0, most=most) == expected


def test_beside_a_new_number_of_answers_undisturbed_steps_are_measured_first() -> None:
    pace = Pace()
    for _ in range(2):
        assert pace.chunk_tokens(decoding=3, depth_tokens=0, most=BATCH_ROWS) == 0
        pace.observe(decoding=3, prompt_tokens=0, depth_tokens=0, step_s=0.03)

    assert pace.chunk_tokens(decoding=3, depth_tokens=0, most=BATCH_ROWS) > 0


@pytest.mark.parametrize("decoding", [1, 3, 8])
@pytest.mark.parametrize(("prompt_tokens", "longest"), [(1500, 6.5), (4000, 8.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_prompt_holds_up_running_answers_for_a_few_steps_and_still_gets_through(
    decoding: int, prompt_tokens: int, longest: float, seed: int
) -> None:
    machine = Machine(seed)
    alone = read(machine, Pace(), prompt_tokens)
    beside = read(machine, Pace(), prompt_tokens, decoding=decoding)

    assert max(beside.steps_s) <= longest * machine.quiet_s(decoding, 0, 0)
    assert beside.total_s <= (1.4 if prompt_tokens <= 1500 else 1.6) * alone.total_s


def test_a_shorter_bound_is_kept_as_well() -> None:
    machine = Machine()
    beside = read(machine, Pace(longest_gap_steps=9.0), 1000, decoding=1)

    assert 6.5 < max(beside.steps_s) / machine.quiet_s(1, 0, 0) <= 9.5


def test_a_prompt_that_goes_on_deep_in_the_context_is_held_to_the_bound_from_its_first_steps() -> None:
    machine, pace = Machine(), Pace()
    read(machine, pace, 1500, decoding=1)
    deep = read(machine, pace, 4000, decoding=1, start=3000)

    assert max(deep.steps_s) <= 8.0 * machine.quiet_s(1, 0, 0)


def test_reading_alone_takes_whole_seconds_and_not_more() -> None:
    alone = read(Machine(), Pace(), 4000)

    assert max(alone.steps_s) <= 1.15 * LONGEST_READING_STEP_S
    assert max(alone.chunks) >= 96


def test_late_steps_now_and_then_change_neither_bound_nor_progress_much() -> None:
    machine = Machine(late_share=0.03)
    alone = read(machine, Pace(), 1500)
    beside = read(machine, Pace(), 1500, decoding=1)
    on_time = sorted(beside.steps_s)[: int(0.9 * len(beside.steps_s))]

    assert max(on_time) <= 7.0 * machine.quiet_s(1, 0, 0)
    assert beside.total_s <= 1.5 * alone.total_s


@pytest.mark.parametrize("begins", [20, 40, 60])
def test_a_machine_that_stumbled_is_trusted_again(begins: int) -> None:
    quiet = read(Machine(), Pace(), 3000, decoding=1)
    stumbling = Machine(slowness=lambda step: 1.7 if begins <= step < begins + 8 else 1.0)

    assert read(stumbling, Pace(), 3000, decoding=1).total_s <= 1.15 * quiet.total_s


def test_a_machine_that_becomes_slower_is_believed_for_sizes_that_were_not_tried_since() -> None:
    pace = Pace()
    for tokens, step_s in ((256, 0.5), (512, 0.9), (512, 0.9), (512, 0.9)):
        pace.observe(decoding=0, prompt_tokens=tokens, depth_tokens=0, step_s=step_s)
    assert pace.chunk_tokens(decoding=0, depth_tokens=0, most=BATCH_ROWS) == 512

    for _ in range(4):
        pace.observe(decoding=0, prompt_tokens=512, depth_tokens=0, step_s=3.5)

    assert pace.chunk_tokens(decoding=0, depth_tokens=0, most=BATCH_ROWS) < 256


def test_the_undisturbed_step_is_measured_again_while_a_long_prompt_is_read() -> None:
    chunks = read(Machine(), Pace(), 4000, decoding=1).chunks

    assert chunks.count(0) == pytest.approx(len(chunks) / (PLAIN_STEP_EVERY + 1), abs=3)


@given(steps, st.integers(0, 8), st.integers(0, 8000), st.integers(9, 512))
def test_a_chunk_fits_the_batch_and_is_empty_only_to_measure_beside_an_answer(
    observed: list[tuple[int, int, float]], decoding: int, depth_tokens: int, most: int
) -> None:
    pace = Pace()
    for beside, prompt_tokens, step_s in observed:
        pace.observe(decoding=beside, prompt_tokens=prompt_tokens, depth_tokens=depth_tokens, step_s=step_s)
    measured = 0
    while (chunk := pace.chunk_tokens(decoding=decoding, depth_tokens=depth_tokens, most=most)) == 0:
        assert decoding
        measured += 1
        pace.observe(decoding=decoding, prompt_tokens=0, depth_tokens=0, step_s=0.02)

    assert measured <= 3
    assert 0 < chunk <= most - decoding


def test_where_a_tile_is_cheaper_than_a_part_of_it_some_of_what_is_known_is_read_again() -> None:
    pace = Pace()
    assert pace.read_again(51, 2000) == 0
    sizes = (20, 24, 28, 32, 40, 48, 56, 64)
    flat_s, deep_s = (0.08, 0.093, 0.1, 0.11, 0.14, 0.172, 0.19, 0.207), (0.17, 0.2, 0.21, 0.23, 0.29, 0.34, 0.39, 0.34)
    pace.costs.calibrate(dict(zip(sizes, flat_s, strict=True)), dict(zip(sizes, deep_s, strict=True)), 1000)

    assert pace.read_again(51, 2000) == 13
    assert pace.read_again(51, 10) == 0
    assert pace.read_again(20, 2000) == 0
    assert pace.read_again(64, 2000) == 0


def test_a_difference_that_nobody_would_notice_is_no_reason_to_read_again() -> None:
    pace = Pace()
    pace.costs.calibrate({1: 0.002, 2: 0.001, 4: 0.001})

    assert pace.read_again(1, 12) == 0


@given(st.integers(1, 2000), st.integers(0, 4000), st.dictionaries(st.sampled_from(SIZES), st.floats(1e-3, 1)))
def test_what_is_read_again_was_known(pending: int, known: int, deep_s: dict[int, float]) -> None:
    pace = Pace()
    pace.costs.calibrate(dict.fromkeys(SIZES[:20], 0.1), {size: deep_s.get(size, 0.2) for size in SIZES[:20]}, 500)

    assert 0 <= pace.read_again(pending, known) <= min(known, pending)
