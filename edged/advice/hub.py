"""Asking the hubs about an entry of the catalogue: the same way as when it is fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edged.advice.verified import Look
from edged.config import Downloads
from edged.errors import ProviderUnavailable
from edged.pull import reference
from edged.pull.finder import Finder, Hubs
from edged.pull.pace import Patience
from edged.pull.web import Web


@asynccontextmanager
async def asking(settings: Downloads, hubs: Hubs) -> AsyncIterator[Look]:
    """A `Look` while the block lasts. Raises `ConfigError`."""
    named = hubs.named(settings)
    async with Web(named, hubs.tokens(), Patience()) as web:
        finder = Finder(web, hubs)

        async def look(text: str) -> int:
            found = await finder.find(reference.parse(text, lambda _: None, named.has))
            if found.size_bytes is None:
                raise ProviderUnavailable(f"The hub does not say how large {text} is.")
            return found.size_bytes

        yield look
