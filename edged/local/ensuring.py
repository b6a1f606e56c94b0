"""Models that the owner wants in memory from the start on: those that are here are loaded in order, then those that
have to be fetched, which may take hours and keeps nobody.

As far as they fit: nobody has to go for them. Nothing here is fatal, because a device that answers with the models that
it has is better than one that does not start; what could not be had is told.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from edged.errors import EdgedError, ModelNotFound

log = logging.getLogger(__name__)

_NO_ROOM = "There is no room for it beside the others, or it could not be loaded."
# Has a model installed under this name, however long that takes. Raises `EdgedError`.
Fetch: TypeAlias = Callable[[str], Awaitable[None]]


class Bringing(Protocol):
    """The part of a pool that is needed here."""

    async def bring(self, model: str) -> bool:
        """Load it if it fits without anybody having to go; whether it is in memory then."""
        ...


async def ensure(pool: Bringing, models: Sequence[str], fetch: Fetch | None, tell: Callable[..., None]) -> None:
    """Bring `models` into memory, in order; those that are not here yet after all others."""
    missing = []
    for model in dict.fromkeys(models):
        try:
            reason = await _bring(pool, model)
        except ModelNotFound as error:
            if fetch is not None:
                missing.append(model)
                continue
            reason = str(error)
        _tell(tell, model, reason)
    for model in missing:
        assert fetch is not None
        tell("model_fetching", model=model)
        try:
            await fetch(model)
            reason = await _bring(pool, model)
        except EdgedError as error:
            reason = str(error)
        _tell(tell, model, reason)


async def _bring(pool: Bringing, model: str) -> str:
    """Why it is not in memory then; empty where it is. Raises `ModelNotFound`."""
    try:
        return "" if await pool.bring(model) else _NO_ROOM
    except ModelNotFound:
        raise
    except EdgedError as error:
        return str(error)


def _tell(tell: Callable[..., None], model: str, reason: str) -> None:
    if reason:
        log.warning("[models] ensure: %s is not in memory: %s", model, reason)
        tell("model_not_ensured", model=model, reason=reason)
