"""Models that the owner wants in memory from the start on: loaded in order, fetched first where one is missing.

As far as they fit: nobody has to go for them. Nothing here is fatal, because a device that answers with the models that
it has is better than one that does not start; what could not be had is told.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from edged.errors import EdgedError, ModelNotFound

log = logging.getLogger(__name__)

# Has a model installed under this name, however long that takes. Raises `EdgedError`.
Fetch: TypeAlias = Callable[[str], Awaitable[None]]


class Bringing(Protocol):
    """The part of a pool that is needed here."""

    async def bring(self, model: str) -> bool:
        """Load it if it fits without anybody having to go; whether it is in memory then."""
        ...


async def ensure(pool: Bringing, models: Sequence[str], fetch: Fetch | None, tell: Callable[..., None]) -> None:
    """Bring `models` into memory, in order."""
    for model in dict.fromkeys(models):
        try:
            try:
                is_there = await pool.bring(model)
            except ModelNotFound:
                if fetch is None:
                    raise
                tell("model_fetching", model=model)
                await fetch(model)
                is_there = await pool.bring(model)
        except EdgedError as error:
            reason = str(error)
        else:
            if is_there:
                continue
            reason = "There is no room for it beside the others, or it could not be loaded."
        log.warning("[models] ensure: %s is not in memory: %s", model, reason)
        tell("model_not_ensured", model=model, reason=reason)
