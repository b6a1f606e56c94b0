"""The models on this device over HTTP: how each goes, whatever became of its file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from edged.api import listening
from edged.api.exposed import Exposed
from edged.api.server import build_app
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from tests.api.test_server import exposed_without_sockets
from tests.hub import model


@asynccontextmanager
async def device(tmp_path: Path) -> AsyncIterator[tuple[Exposed, aiohttp.ClientSession]]:
    """One with a sound model, `mine`, and a file that is none, `half`."""
    exposed = exposed_without_sockets(tmp_path)
    (tmp_path / "mine.gguf").write_bytes(model(10))
    (tmp_path / "half.gguf").write_bytes(model(10)[:1000])
    async with (
        asyncio.timeout(20),
        listening.serving(build_app(exposed), "127.0.0.1", 0, tmp_path / "sock") as addresses,
        aiohttp.ClientSession(addresses[0]) as client,
    ):
        yield exposed, client


async def test_what_is_only_in_memory_any_more_can_be_deleted_in_both_dialects(tmp_path: Path) -> None:
    async with device(tmp_path) as (exposed, client):
        (tmp_path / "mine.gguf").unlink()
        async with client.delete("/edged/v1/models/mine") as response:
            assert response.status == 404
        for method, path, body in (
            ("DELETE", "/edged/v1/models/mine", None),
            ("DELETE", "/api/delete", {"model": "mine:latest"}),
        ):
            resident = Resident(WorkerProcess("mine", lambda error: None), slots=1, free=0)
            exposed.pool.memory.all["mine"] = resident
            async with client.request(method, path, json=body) as response:
                assert response.status == 200, path
            assert resident.keep_s == 0.0, "it leaves when whoever has it is done"
            del exposed.pool.memory.all["mine"]
        assert [happened.event for happened in exposed.journal.happenings] == ["model_deleted"] * 2
