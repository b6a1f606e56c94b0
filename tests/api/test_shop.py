"""The models on this device over HTTP: how each fits, and how it goes whatever became of its file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edged.api import listening
from edged.api.exposed import Exposed
from edged.api.server import build_app
from edged.host import memory
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from tests.api.test_server import exposed_without_sockets
from tests.hub import model

GIB = 2**30


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


async def fits(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/edged/v1/models") as response:
        return {one["name"]: one["fit"] for one in (await response.json())["models"]}


async def test_how_each_model_fits_now_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with device(tmp_path) as (_, client):
        monkeypatch.setattr(memory, "available_bytes", lambda: 8 * GIB)
        found = await fits(client)
        assert found["half"] is None
        mine = found["mine"]
        assert (mine["fits"], mine["sequences"], mine["lowered"], mine["reason"]) == (True, 8, None, None)
        assert 0 < mine["context_tokens"] <= 8192

        monkeypatch.setattr(memory, "available_bytes", lambda: mine["needed_bytes"] - 1)
        tight = (await fits(client))["mine"]
        assert tight["fits"]
        assert tight["needed_bytes"] < mine["needed_bytes"]
        assert "lowered from" in tight["lowered"] or "in place of" in tight["lowered"]

        monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
        none = (await fits(client))["mine"]
        assert (none["fits"], none["context_tokens"], none["lowered"]) == (False, None, None)
        assert none["needed_bytes"] > 2**20
        assert "The model mine needs" in none["reason"]


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
