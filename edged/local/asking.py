"""Questions to a worker that take no place on it: how many tokens, which, and what they say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from edged.errors import EdgedError
from edged.token_wire import TokenNews


@dataclass(slots=True, eq=False)
class Asking:
    """Those that are not answered yet, by id."""

    _open: dict[int, asyncio.Future[TokenNews]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._open)

    async def reply(self, id: int) -> TokenNews:
        """Wait for the answer to question `id`. Raises what ended the worker."""
        self._open[id] = asyncio.get_running_loop().create_future()
        try:
            return await self._open[id]
        finally:
            del self._open[id]

    def put(self, reply: TokenNews) -> None:
        """An answer has come; nobody may want it any more."""
        waiting = self._open.get(reply.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def fail(self, error: EdgedError) -> None:
        """No further answer will come."""
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(error)
