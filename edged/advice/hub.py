"""Asking the hubs about an entry of the catalogue: the same way as when it is fetched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from edged.advice.verified import Look
from edged.config import Downloads
from edged.errors import ProviderUnavailable
from edged.pull import reference
from edged.pull.finder import Finder, Hubs, tokens
from edged.pull.pace import Patience
from edged.pull.web import Web


@asynccontextmanager
async def asking(settings: Downloads, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Look]:
    """A `Look` while the block lasts. Raises `ConfigError`."""
    hubs = Hubs.of(settings, environ)
    named = hubs.named(settings)
    known = await asyncio.to_thread(tokens, settings, hubs, environ)
    async with Web(named, known, Patience()) as web:
        finder = Finder(web, hubs)

        async def look(text: str) -> int:
            found = await finder.find(reference.parse(text, lambda _: None, named.has))
            if found.size_bytes is None:
                raise ProviderUnavailable(f"The hub does not say how large {text} is.")
            return found.size_bytes

        yield look
