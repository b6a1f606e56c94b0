"""The one scrub that goes on, and what came of the last: it belongs to the daemon, not to who asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import TracebackType

from edged.errors import EdgedError
from edged.pull.scrub import Checked, Scrub

log = logging.getLogger(__name__)

_LEAST_BETWEEN_S = 0.25


class Scrubbing:
    """Runs a scrub when somebody asks for it. An async context."""

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub
        self._checked: dict[str, Checked] = {}
        self._failed = ""
        self._work: asyncio.Task[None] | None = None
        self._tasks = asyncio.TaskGroup()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Scrubbing:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
        await self._tasks.__aexit__(None, None, None)  # without the error, which it would wrap

    @property
    def is_running(self) -> bool:
        """Whether one goes on."""
        return self._work is not None and not self._work.done()

    @property
    def checked(self) -> list[Checked]:
        """What is known of every model that was reached, in the order in which they were."""
        return [*self._checked.values()]

    @property
    def failed(self) -> str:
        """Why the last one ended before its end; empty where it did not."""
        return self._failed

    def start(self) -> None:
        """Begin one, unless one goes on: then that is the one."""
        if not self.is_running:
            self._checked, self._failed = {}, ""
            self._work = self._tasks.create_task(self._run(), name="scrub")

    async def follow(self) -> AsyncIterator[list[Checked]]:
        """What is known now, then every change, four a second at most, until the scrub has ended."""
        while True:
            changed, was_running = self._changed, self.is_running
            yield self.checked
            if not was_running:
                return
            await changed.wait()
            await asyncio.sleep(_LEAST_BETWEEN_S)

    async def _run(self) -> None:
        try:
            async for checked in self._scrub.run():
                self._checked[checked.name] = checked
                if checked.state == "gone":
                    del self._checked[checked.name]
                self._tell()
        except asyncio.CancelledError:
            self._failed = "The check ended early: the daemon is stopping."
            raise
        except OSError as error:
            log.exception("checking what is installed failed")
            self._failed = f"The check ended early: {error.strerror or error}."
        except EdgedError as error:
            self._failed = f"The check ended early: {error}"
        except Exception:  # a disk that fails in a new way must not end the daemon
            log.exception("checking what is installed failed")
            self._failed = "The check ended early: something went wrong here; the log says what."
        finally:
            self._work = None
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
