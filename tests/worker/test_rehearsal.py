"""Costs are measured on a real engine while nobody asks, and nothing of it is left behind."""

from __future__ import annotations

import pytest

from edged.worker.batcher import Batcher
from edged.worker.context import Context
from edged.worker.costs import SIZES
from edged.worker.engine import DecodeFailed, Row
from edged.worker.pace import Pace
from edged.worker.rehearsal import Rehearsal


def rehearsal(context: Context, batcher: Batcher, pace: Pace) -> Rehearsal:
    return Rehearsal(context, batcher.memory, pace, context.model.vocabulary_tokens)


def test_every_size_that_is_quick_enough_is_known_afterwards(context: Context) -> None:
    pace, batcher = Pace(), Batcher(context, context.model)
    trying = rehearsal(context, batcher, pace)
    while not trying.is_over:
        trying.step()

    expected_s = pace.costs.expected_s(0)
    assert set(expected_s) == set(SIZES)
    assert 0 < expected_s[1] <= expected_s[512]
    assert batcher.memory.free_cells == context.context_tokens


def test_it_ends_where_nobody_has_a_number_or_cells_for_it(context: Context) -> None:
    batcher = Batcher(context, context.model)
    while batcher.memory.spare_slot is not None:
        batcher.memory.enter([1], None, batcher.memory.match([1], None))
    trying = rehearsal(context, batcher, Pace())
    trying.step()

    assert trying.is_over


def test_an_engine_that_fails_is_not_asked_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: list[Row]) -> None:
        raise DecodeFailed("a test")

    monkeypatch.setattr(context, "decode", fail)
    trying = rehearsal(context, Batcher(context, context.model), Pace())
    trying.step()

    assert trying.is_over
