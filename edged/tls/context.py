"""TLS while the daemon runs: the certificate that is shown, looked after, and exchanged without a restart.

A listening socket keeps the context that it was opened with. So that one shows nothing itself: with every handshake it
hands over to the context that is in force at that moment. Connections that are open keep what they began with.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol

from edged.errors import ConfigError

log = logging.getLogger(__name__)

# How long a new address is without a certificate at most: they come late at boot, and nobody announces them to us.
_LOOK_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Trusted:
    """The device's own authority: what people install."""

    pem: str
    fingerprint: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What the certificate in force is for, and how long.

    `authority` is None where the owner gave the certificate. `left_out` are names of this device that its authority
    may not vouch for.
    """

    names: tuple[str, ...]
    ends: datetime
    authority: Trusted | None = None
    left_out: tuple[str, ...] = ()


class Source(Protocol):
    """Where the certificate comes from."""

    def refreshed(self) -> ssl.SSLContext | None:
        """What is to be in force from now on, where that has changed; the first time always. Reads and writes the disk.

        Raises `ConfigError` for what the owner must mend, `OSError` for what the disk refuses.
        """

    def facts(self) -> Facts:
        """Of what was returned last."""


class Tls:
    """The context for a listening socket. An async context, in which the certificate is looked after.

    Entering it raises what `Source.refreshed` does. `tell` hears of every certificate that comes into force.
    """

    def __init__(self, source: Source, tell: Callable[..., None], look_every_s: float = _LOOK_EVERY_S) -> None:
        self.context: ssl.SSLContext
        self.facts: Facts
        self._source = source
        self._tell = tell
        self._look_every_s = look_every_s
        self._in_force: ssl.SSLContext
        self._complaint = ""
        self._tasks = asyncio.TaskGroup()
        self._looking: asyncio.Task[None]

    async def __aenter__(self) -> Tls:
        first = await asyncio.to_thread(self._source.refreshed)
        assert first is not None, "the first time there is always one"
        self._put_in_force(first)
        self.context = first
        self.context.sni_callback = self._hand_over
        await self._tasks.__aenter__()
        self._looking = self._tasks.create_task(self._look_after(), name="tls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._looking.cancel()
        await self._tasks.__aexit__(None, None, None)  # without the error, which it would wrap

    async def look(self) -> None:
        """Put a new certificate in force if there is one. What cannot be had now leaves the old one where it is."""
        try:
            changed = await asyncio.to_thread(self._source.refreshed)
        except (ConfigError, OSError) as error:
            # Without the names in it: those of temporary files are new each time.
            complaint = str(error.strerror if isinstance(error, OSError) else error)
            if complaint != self._complaint:
                log.warning("the certificate stays as it is: %s", error)
            self._complaint = complaint
            return
        self._complaint = ""
        if changed is not None:
            self._put_in_force(changed)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            await self.look()

    def _put_in_force(self, context: ssl.SSLContext) -> None:
        self.facts = self._source.facts()
        self._in_force = context
        names = " ".join(self.facts.names)
        self._tell("certificate", names=names, until=f"{self.facts.ends:%Y-%m-%d}")

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """OpenSSL asks this at every handshake, whether the client has named somebody or not."""
        connection.context = self._in_force
