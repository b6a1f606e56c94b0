"""The books of the cells: when they are cleared, and what survives that."""

from __future__ import annotations

from edged.worker.batcher import Batcher
from tests.fakes import FakeLlama, job

SYSTEM = list(range(1, 9)) * 5
BUDGET_BYTES = 2**20


def answered(llama: FakeLlama, batcher: Batcher, id: int, prompt: list[int], cached: list[int]) -> None:
    """One answer from its question to its end; `cached` learns what it had not to read."""
    batcher.submit(job(llama, id, prompt, max_tokens=4, end_in=1000))
    while not batcher.is_idle:
        batcher.step(64)
    cached.append(batcher.memory.match(prompt, "").count)


def test_while_nobody_runs_conversations_leave_their_cells_and_are_not_forgotten() -> None:
    llama = FakeLlama(context_tokens=1024, sequences=4)
    batcher, cached = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES), list[int]()
    answered(llama, batcher, 1, SYSTEM, cached)

    batcher.memory.clear_ahead(4)

    assert (batcher.memory.free_cells, llama.cells) == (1024, {})
    assert batcher.memory.match(SYSTEM, "").count == cached[0] == len(SYSTEM) - 1


def test_what_would_push_others_out_of_memory_stays_in_its_cells() -> None:
    llama = FakeLlama(context_tokens=1024, sequences=4)
    batcher, cached = Batcher(llama, llama), list[int]()
    answered(llama, batcher, 1, [1] * 40, cached)
    state_bytes = llama.save_bytes(batcher.memory.cached[0].slot)
    batcher = Batcher(llama, llama, snapshot_bytes=2 * state_bytes)
    for id in range(1, 4):
        answered(llama, batcher, id, [id] * 40, cached)
        batcher.memory.clear_ahead(4)

    assert batcher.memory.free_cells < 1024
    for id in range(1, 4):
        assert batcher.memory.match([id] * 40, "").count == 39


def test_those_who_share_most_of_their_cells_stay_in_them() -> None:
    llama = FakeLlama(context_tokens=1024, sequences=4)
    batcher, cached = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES), list[int]()
    batcher.pin(list(SYSTEM))
    while not batcher.is_idle:
        batcher.step(64)
    for id in range(1, 5):
        answered(llama, batcher, id, [*SYSTEM, id, id], cached)
    free_cells = batcher.memory.free_cells

    batcher.memory.clear_ahead(4)

    assert batcher.memory.free_cells == free_cells > 1024 - 2 * len(SYSTEM)


def test_a_pool_that_is_nearly_full_is_cleared_to_its_beginning_and_forgets_nothing() -> None:
    llama = FakeLlama(context_tokens=256, sequences=4)
    batcher, cached = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES), list[int]()
    for id in range(1, 6):
        answered(llama, batcher, id, [id] * 40, cached)
    assert batcher.memory.free_cells < 256 / 4

    batcher.memory.clear_ahead(4)

    assert (batcher.memory.free_cells, llama.cells) == (256, {})
    for id in range(1, 6):
        assert batcher.memory.match([id] * 40, "").count == 39


def test_the_owners_prefixes_stay() -> None:
    llama = FakeLlama(context_tokens=256, sequences=4)
    batcher = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES)
    batcher.pin(list(SYSTEM))
    while not batcher.is_idle:
        batcher.step(64)
    for id in range(1, 6):
        answered(llama, batcher, id, [id] * 40, [])

    batcher.memory.clear_ahead(4)

    assert batcher.memory.has_pinned(SYSTEM)
    assert batcher.memory.free_cells == 256 - len(SYSTEM)


def test_where_sequence_numbers_run_short_it_is_cleared_too() -> None:
    llama = FakeLlama(context_tokens=1024, sequences=4)
    batcher = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES)
    for id in range(1, llama.slots - 2):
        answered(llama, batcher, id, [id % 9 + 1, id // 9 + 1, 5, 5, 5], [])

    batcher.memory.clear_ahead(4)

    assert llama.cells == {}


def read_all(batcher: Batcher) -> int:
    """Run until all is over; how many prompt tokens were read."""
    read = 0
    while not batcher.is_idle:
        read += batcher.step(64)[1]
    return read


def test_what_is_read_again_is_still_the_same_conversation() -> None:
    llama = FakeLlama(context_tokens=1024, sequences=4)
    batcher = Batcher(llama, llama, snapshot_bytes=BUDGET_BYTES, read_again=lambda pending, known: min(known, 5))
    first = job(llama, 1, SYSTEM, max_tokens=4, end_in=1000)
    batcher.submit(first)
    read_all(batcher)
    said = list(first.sequence.tokens)
    batcher.memory.clear_ahead(4)
    batcher.submit(job(llama, 2, [*said, 7, 7], max_tokens=4, end_in=1000))

    assert read_all(batcher) == 5 + len([*said, 7, 7]) - (len(said) - 1)
    kept = max(batcher.memory.outside_of_files, key=lambda kept: kept.used)
    assert (kept.resumed, kept.shared) == (1, 0)
