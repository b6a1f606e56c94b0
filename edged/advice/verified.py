"""Which entries the hub really has: asked when somebody wants to know, remembered with the day and the size.

An answer is good for a month; after that it is asked again, and if nobody answers the old one stands. An entry that the
hub no longer has is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from edged import remembered
from edged.advice.choice import Found
from edged.catalogue import Entry
from edged.checked import reader
from edged.errors import EdgedError, NotFound

log = logging.getLogger(__name__)

_GOOD_FOR = timedelta(days=30)
_AT_ONCE = 4

Look: TypeAlias = Callable[[str], Awaitable[int]]
"""How many bytes the hub has for a reference. Raises `NotFound` where it has none, another `EdgedError` otherwise."""


def read(file: Path) -> dict[str, Found]:
    """What is remembered, by reference."""
    return remembered.read(file, _parsed, {})


def due(entries: Iterable[Entry], found: Mapping[str, Found], today: date) -> list[Entry]:
    """The entries about which the hub should be asked: never asked, or long ago."""
    oldest = (today - _GOOD_FOR).isoformat()
    return [entry for entry in entries if (known := found.get(entry.reference)) is None or known.day < oldest]


async def verify(
    entries: Iterable[Entry], found: Mapping[str, Found], look: Look, today: date, within_s: float
) -> dict[str, Found]:
    """`found` with what the hub says about those that are due. Whoever has not answered `within_s` counts as silent."""
    places, answers = asyncio.Semaphore(_AT_ONCE), dict(found)

    async def ask(entry: Entry) -> None:
        async with places:
            try:
                answers[entry.reference] = Found(await look(entry.reference), today.isoformat())
            except NotFound:
                answers.pop(entry.reference, None)
            except EdgedError as error:
                log.debug("the hub does not say whether it has %s: %s", entry.reference, error)

    try:
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as asking:
            for entry in due(entries, found, today):
                asking.create_task(ask(entry))
    except TimeoutError:
        log.debug("the hub did not answer for every entry within %s s", within_s)
    return answers


def write(file: Path, found: Mapping[str, Found]) -> None:
    """Remember; where that cannot be, the next time asks again."""
    remembered.write(file, dict(found), "the hub will be asked again")


def _parsed(body: Any) -> dict[str, Found]:
    return {reference: reader(Found)(found) for reference, found in body.items()}
