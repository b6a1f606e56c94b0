"""scripts/catalogue-check: what the hub has gets a date, what it has not is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalogue_check import main, with_checked
from edged.catalogue import FILE, entries, parse
from tests.hub import model, running

TEXT = FILE.read_text()


async def test_what_the_hub_has_is_marked_with_today_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "catalogue.toml"
    await asyncio.to_thread(file.write_bytes, await asyncio.to_thread(FILE.read_bytes))
    there, gone = entries()[:5], entries()[5:]
    async with running() as hub:
        for entry in there:
            hub.repositories[entry.repository] = {f"a-{entry.quantisation}.gguf": model()}
        environ = {"HF_ENDPOINT": hub.hub_url}
        dry = await asyncio.to_thread(main, ["--dry-run"], file, environ)
        untouched = await asyncio.to_thread(file.read_text)
        code = await asyncio.to_thread(main, [], file, environ)

    assert (dry, code) == (1, 1)
    assert untouched == await asyncio.to_thread(FILE.read_text)
    marked = {entry.name: entry.checked for entry in parse(await asyncio.to_thread(file.read_text))}
    today = datetime.now(UTC).date().isoformat()
    assert [marked[entry.name] for entry in there] == [today] * len(there)
    assert [marked[entry.name] for entry in gone] == [entry.checked for entry in gone]
    said = capsys.readouterr().out
    assert said.count("MISSING") == 2 * len(gone)


def test_marking_an_entry_changes_its_day_and_nothing_else() -> None:
    for entry in entries():
        marked = with_checked(TEXT, entry.name, "2030-01-02")
        assert sum(old != new for old, new in zip(TEXT.splitlines(), marked.splitlines(), strict=True)) == 1
        assert [one.name for one in parse(marked) if one.checked == "2030-01-02"] == [entry.name]


def test_marking_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="0 entries called 'nobody'"):
        with_checked(TEXT, "nobody", "2030-01-02")
