"""Costs are measured on a real engine while nobody asks, and nothing of it is left behind."""

from __future__ import annotations

from contextlib import suppress

import pytest

from edged.worker.batcher import Batcher
from edged.worker.context import Context
from edged.worker.costs import SIZES
from edged.worker.engine import DecodeFailed, MemoryFull, Row
from edged.worker.rehearsal import Rehearsal


@pytest.fixture(scope="module")
def wide_context(nano_context: Context) -> Context:
    """Large enough for depth to be measured."""
    return Context(nano_context.model, context_tokens=1024, sequences=2, threads=1)


def rehearsal(context: Context, batcher: Batcher) -> Rehearsal:
    return Rehearsal(context, batcher.memory, context.model.vocabulary_tokens)


def cells_of(context: Context) -> int:
    """How many cells the engine can still give."""
    slot, taken = context.slots - 1, 0
    with suppress(MemoryFull):
        while True:
            context.decode([Row(1, taken, slot, False)])
            taken += 1
    context.release(slot)
    return taken


def test_every_size_that_is_quick_enough_is_known_afterwards_at_the_beginning_and_deep(wide_context: Context) -> None:
    trying = rehearsal(wide_context, Batcher(wide_context, wide_context.model))
    while not trying.is_over:
        assert trying.found is None
        trying.step()

    found = trying.found
    assert found is not None
    assert found.rows[:5] == SIZES[:5]
    assert len(found.rows) == len(found.rows_s) >= len(found.deep_rows_s) > 0
    assert 128 <= found.depth_tokens <= wide_context.context_tokens / 4
    assert cells_of(wide_context) == wide_context.context_tokens


@pytest.mark.parametrize("steps", [1, 40, 100, 130])
def test_whoever_asks_meanwhile_finds_every_cell_free_and_it_goes_on_afterwards(
    wide_context: Context, steps: int
) -> None:
    trying = rehearsal(wide_context, Batcher(wide_context, wide_context.model))
    for _ in range(steps):
        trying.step()
    trying.rest()
    assert cells_of(wide_context) == wide_context.context_tokens

    while not trying.is_over:
        trying.step()
    assert trying.found is not None
    assert trying.found.deep_rows_s


def test_it_ends_where_nobody_has_a_number_or_cells_for_it(context: Context) -> None:
    batcher = Batcher(context, context.model)
    while batcher.memory.spare_slot is not None:
        batcher.memory.enter([1], None, batcher.memory.match([1], None))
    trying = rehearsal(context, batcher)
    trying.step()

    assert trying.is_over
    assert trying.found is None


def test_an_engine_that_fails_is_not_asked_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: list[Row]) -> None:
        raise DecodeFailed("a test")

    monkeypatch.setattr(context, "decode", fail)
    trying = rehearsal(context, Batcher(context, context.model))
    trying.step()

    assert trying.is_over
    assert trying.found is None


def test_where_only_depth_cannot_be_tried_the_rest_is_known(
    wide_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = wide_context.decode

    def short_of_cells(rows: list[Row]) -> None:
        if rows[0].position >= 128:
            raise MemoryFull
        decode(rows)

    monkeypatch.setattr(wide_context, "decode", short_of_cells)
    trying = rehearsal(wide_context, Batcher(wide_context, wide_context.model))
    while not trying.is_over:
        trying.step()

    found = trying.found
    assert found is not None
    assert len(found.rows) == len(found.rows_s) > 5
    assert found.deep_rows_s == ()
    monkeypatch.undo()
    assert cells_of(wide_context) == wide_context.context_tokens
