"""Whether the hub has an entry: asked, remembered, forgotten."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

from edged.advice.choice import Found
from edged.advice.verified import due, read, verify, write
from edged.catalogue import entries
from edged.errors import NotFound, Unavailable

TODAY = date(2026, 11, 23)
FEW = entries()[:4]
FIRST, SECOND, THIRD, FOURTH = (entry.reference for entry in FEW)


async def test_what_the_hub_says_is_remembered_with_the_day(tmp_path: Path) -> None:
    async def look(reference: str) -> int:
        return len(reference)

    file = tmp_path / "cache" / "found.json"
    await asyncio.to_thread(write, file, await verify(FEW, {}, look, TODAY, within_s=5))

    assert await asyncio.to_thread(read, file) == {
        reference: Found(len(reference), "2026-11-23") for reference in (FIRST, SECOND, THIRD, FOURTH)
    }


async def test_only_what_is_due_is_asked_what_is_gone_is_forgotten_and_what_fails_stands() -> None:
    asked = []

    async def look(reference: str) -> int:
        asked.append(reference)
        if reference == SECOND:
            raise NotFound("no such repository")
        raise Unavailable("no line")

    known = {
        FIRST: Found(1, "2026-11-20"),
        SECOND: Found(2, "2026-01-01"),
        THIRD: Found(3, "2026-01-01"),
    }
    found = await verify(FEW, known, look, TODAY, within_s=5)

    assert sorted(asked) == sorted([SECOND, THIRD, FOURTH])
    assert found == {FIRST: known[FIRST], THIRD: known[THIRD]}


async def test_a_hub_that_does_not_answer_holds_nobody_up() -> None:
    async def look(reference: str) -> int:
        if reference == FIRST:
            return 7
        await asyncio.Event().wait()
        raise AssertionError

    assert await verify(FEW, {}, look, TODAY, within_s=0.05) == {FIRST: Found(7, "2026-11-23")}


def test_a_month_later_it_is_asked_again() -> None:
    known = {entry.reference: Found(1, "2026-10-24") for entry in FEW}
    assert due(FEW, known, TODAY) == []
    assert due(FEW, known, date(2026, 11, 24)) == list(FEW)


def test_a_file_that_is_none_is_as_good_as_nothing(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    assert read(file) == {}
    file.write_text('{"hf.co/a/b:Q4_0": {"size_bytes": "much"}}')
    assert read(file) == {}
