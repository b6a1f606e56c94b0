"""The owner's figures are medians of what was asked, whoever answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from edged import bench
from edged.bench import Answered
from edged.config import Config
from edged.store import Store

pytestmark = pytest.mark.own_loop


async def test_a_single_late_answer_does_not_move_the_figures() -> None:
    late: Iterator[float] = cycle([1.0, 1.0, 5.0, 1.0])
    asked: list[str] = []

    async def ask(prompt: str, tokens: int) -> Answered:
        asked.append(prompt)
        slow = next(late)
        if tokens == 1:
            return Answered(2.0 * slow, 2.0 * slow, 500, 1)
        return Answered(0.1 * slow, 0.1 * slow + 3.15 * slow, 20, 64)

    figures = await bench.speed(ask)

    assert round(figures.decode_tokens_per_s) == 20
    assert figures.first_token_s == 0.1
    assert figures.reading_tokens_per_s == 250
    assert len(set(asked)) == len(asked)  # nothing can be remembered from the last one


async def test_without_a_daemon_the_bench_starts_a_worker_of_its_own(tmp_path: Path) -> None:
    body = await bench.measure(Config(), tmp_path, Store(tmp_path / "models").find("guide"), is_running=False)

    assert body["through"] == "a worker of its own"
    assert body["ours"]["reading_tokens_per_s"] > 0
