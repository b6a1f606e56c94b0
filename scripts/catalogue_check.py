"""Is every entry of the catalogue still on the hub? Asked as a pull would ask; what was found gets today's date."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edged.advice import hub
from edged.advice.verified import Look
from edged.catalogue import FILE, Entry, parse
from edged.config import Downloads
from edged.errors import EdgedError
from edged.pull.finder import Hubs


async def check(entries: Sequence[Entry], look: Look) -> dict[str, int | EdgedError]:
    """By name the bytes that the hub has, or why it has none."""
    found: dict[str, int | EdgedError] = {}
    for entry in entries:
        try:
            found[entry.name] = await look(entry.reference)
        except EdgedError as error:
            found[entry.name] = error
    return found


def told(entries: Sequence[Entry], found: Mapping[str, int | EdgedError]) -> str:
    """A line per entry."""
    lines = []
    for entry in entries:
        answer = found[entry.name]
        said = f"{answer / 1e9:6.2f} GB" if isinstance(answer, int) else f"MISSING: {answer}"
        lines.append(f"{entry.name:24} {entry.reference:72} {said}")
    return "\n".join(lines)


def marked(text: str, found: Mapping[str, int | EdgedError], day: str) -> str:
    """The catalogue with `day` beside everything that was found."""
    for name, answer in found.items():
        if isinstance(answer, int):
            text = with_checked(text, name, day)
    return text


def with_checked(text: str, name: str, day: str) -> str:
    """The catalogue's text with `day` as the day on which the entry called `name` was last found; all else as it is.

    Raises `ValueError` where there is no such entry.
    """
    entry = re.compile(rf'(^name = "{re.escape(name)}"$(?:(?!^\[\[).)*?^checked = )"[^"]*"', re.MULTILINE | re.DOTALL)
    changed, times = entry.subn(rf'\g<1>"{day}"', text)
    if times != 1:
        raise ValueError(f"There are {times} entries called {name!r} with a `checked` in the catalogue.")
    return changed


async def _asked(entries: Sequence[Entry], environ: MutableMapping[str, str]) -> dict[str, int | EdgedError]:
    settings = Downloads(modelscope="")
    async with hub.asking(settings, Hubs.of(settings, environ)) as look:
        return await check(entries, look)


def main(arguments: Sequence[str], file: Path = FILE, environ: MutableMapping[str, str] = os.environ) -> int:
    """0 if every entry was found."""
    parser = argparse.ArgumentParser(prog="scripts/catalogue-check", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    text = file.read_text()
    entries = parse(text)
    found = asyncio.run(_asked(entries, environ))
    print(told(entries, found))
    if not options.dry_run:
        file.write_text(marked(text, found, datetime.now(UTC).date().isoformat()))
    return 0 if all(isinstance(answer, int) for answer in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
