"""A certificate comes into force without a restart: with the next handshake, for whoever names the device or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from edged.errors import ConfigError
from edged.tls.context import Tls
from edged.tls.device import DeviceCertificate
from edged.tls.names import Names, names_of

NEVER_S = 3600.0
MOST_S = 10.0


@dataclass
class Box:
    """A server that answers every line with itself, behind TLS."""

    folder: Path
    found: list[str] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    tls: Tls = field(init=False)
    port: int = 0

    def names(self) -> Names:
        return names_of(["kitchen.local"], self.found)

    def tell(self, _event: str, **facts: object) -> None:
        self.told.append(facts)
        if len(self.told) > 1:
            self.renewed.set()

    async def connect(self, name: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that trusts this device's authority and nobody else. Without a name none is sent."""
        authority = self.tls.facts.authority
        assert authority is not None
        trusting = ssl.create_default_context(cadata=authority.pem)
        trusting.check_hostname = name is not None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=trusting, server_hostname=name or "")

    async def shown(self, name: str | None) -> str:
        """The certificate that a new connection is shown."""
        _, writer = await self.connect(name)
        serial = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        await writer.wait_closed()
        return str(serial)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


@asynccontextmanager
async def serving(folder: Path, look_every_s: float = NEVER_S) -> AsyncIterator[Box]:
    box = Box(folder / "tls")
    async with Tls(DeviceCertificate(box.folder, box.names), box.tell, look_every_s) as box.tls:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=box.tls.context)
        box.port = server.sockets[0].getsockname()[1]
        async with server:
            yield box


async def exchanged(folder: Path) -> None:
    async with serving(folder) as box:
        reader, writer = await box.connect("kitchen.local")
        first = await box.shown("kitchen.local")
        assert await box.shown(None) == first

        box.found.append("10.0.0.9")
        await box.tls.look()

        for name in ("kitchen.local", None, "127.0.0.1", "10.0.0.9"):
            assert await box.shown(name) != first, name
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()
        await writer.wait_closed()
        assert len(box.told) == 2


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.own_loop
def test_the_next_handshake_shows_the_new_one_and_open_connections_go_on(
    run: Callable[..., None], tmp_path: Path
) -> None:
    run(exchanged(tmp_path))


async def test_a_client_that_does_not_trust_it_gets_nowhere_and_harms_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", box.port, ssl=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await box.connect("bank.example")
        assert await box.shown("kitchen.local")


async def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    async with serving(tmp_path) as box:
        assert box.tls.context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_it_is_looked_after_by_itself(tmp_path: Path) -> None:
    async with serving(tmp_path, look_every_s=0.01) as box:
        box.found.append("10.0.0.9")
        async with asyncio.timeout(MOST_S):
            await box.renewed.wait()
        assert "10.0.0.9" in box.tls.facts.names


async def test_what_cannot_be_had_now_leaves_the_old_one_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as box:
        first = await box.shown("kitchen.local")
        box.found.append("10.0.0.9")
        (box.folder / "device.pem").unlink()
        (box.folder / "device.pem").mkdir()

        for _ in range(3):
            await box.tls.look()
        assert await box.shown("kitchen.local") == first
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1

        (box.folder / "device.pem").rmdir()
        await box.tls.look()
        assert await box.shown("kitchen.local") != first


async def test_where_it_cannot_begin_it_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path):
        pass
    (tmp_path / "tls" / "authority.pem").chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        async with serving(tmp_path):
            raise AssertionError
