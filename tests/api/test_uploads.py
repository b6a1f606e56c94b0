"""Models that are sent here over HTTP: resumable, checked, no body in the sense of the limit."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from edged.api import listening
from edged.api.patience import Deadlines
from edged.api.server import build_app
from tests.api.shelves import owners_headers
from tests.api.test_server import exposed_without_sockets
from tests.daemon_process import until
from tests.hub import model, sha256

IMPORTS = "/edged/v1/imports"
BYTES = "application/offset+octet-stream"
DATA = model()


@asynccontextmanager
async def device(tmp_path: Path, deadlines: Deadlines | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    exposed = exposed_without_sockets(tmp_path)
    await asyncio.to_thread(exposed.store.ready)
    async with (
        asyncio.timeout(20),
        listening.serving(build_app(exposed, deadlines), "127.0.0.1", 0, tmp_path / "sock") as addresses,
        aiohttp.ClientSession(addresses[0], headers=owners_headers(exposed.access)) as client,
    ):
        yield client


async def announce(client: aiohttp.ClientSession, **more: Any) -> tuple[int, Any]:
    body = {"name": "mine", "size_bytes": len(DATA), "sha256": sha256(DATA), **more}
    async with client.post(IMPORTS, json=body) as response:
        return response.status, await response.json()


async def send(client: aiohttp.ClientSession, id: str, data: bytes, offset: int, kind: str = BYTES) -> tuple[int, Any]:
    headers = {"Upload-Offset": str(offset), "Content-Type": kind}
    async with client.patch(f"{IMPORTS}/{id}", data=io.BytesIO(data), headers=headers) as response:
        return response.status, await response.json()


async def begun(
    client: aiohttp.ClientSession, id: str, data: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends `data`, which is not all that it says it will send."""
    assert client._base_url is not None
    reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port)
    head = (
        f"PATCH {IMPORTS}/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {BYTES}\r\n"
        f"Authorization: {client.headers['Authorization']}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {len(DATA)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()
    return reader, writer


def nobody_writes(part: Path) -> bool:
    """Whether nobody holds the lock of whoever writes."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def names(client: aiohttp.ClientSession) -> list[str]:
    async with client.get("/edged/v1/models") as response:
        return [one["name"] for one in (await response.json())["models"]]


async def test_a_model_is_sent_in_portions_and_is_there_with_the_last(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        status, upload = await announce(client)
        assert (status, upload["offset"], upload["installed"]) == (201, 0, False)
        half = len(DATA) // 2
        assert (await send(client, upload["id"], DATA[:half], 0))[1]["offset"] == half
        assert await names(client) == ["guide"]
        async with client.get(IMPORTS) as response:
            assert [one["offset"] for one in (await response.json())["imports"]] == [half]
        status, sent = await send(client, upload["id"], DATA[half:], half)

        assert (status, sent["installed"]) == (200, True)
        assert sorted(await names(client)) == ["guide", "mine"]
        assert (await announce(client))[1]["installed"]  # whoever missed that asks again


async def test_whoever_was_cut_off_asks_how_far_it_is_and_goes_on(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        _, upload = await announce(client)
        _, writer = await begun(client, upload["id"], DATA[:2_000_000])
        part = tmp_path / "partial" / f"upload-{upload['id']}.part"
        await asyncio.to_thread(until, lambda: part.stat().st_size >= 2**20, "a portion is written")
        writer.close()
        await writer.wait_closed()
        note = part.with_suffix(".json")
        await asyncio.to_thread(until, lambda: json.loads(note.read_text())["offset_bytes"], "it is noted")
        await asyncio.to_thread(until, lambda: nobody_writes(part), "the line that was cut lets go of it")
        offset = (await announce(client))[1]["offset"]

        assert 2**20 <= offset <= 2_000_000
        assert (await send(client, upload["id"], DATA[offset:], offset))[1]["installed"]


async def test_who_was_cut_off_at_the_very_end_finishes_it_with_nothing_more(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        _, upload = await announce(client)
        part = tmp_path / "partial" / f"upload-{upload['id']}.part"
        await asyncio.to_thread(part.write_bytes, DATA)  # as after a power cut behind the last note
        note = part.with_suffix(".json")
        text = json.dumps({**json.loads(note.read_text()), "offset_bytes": len(DATA)})
        await asyncio.to_thread(note.write_text, text)
        async with client.get(f"{IMPORTS}/{upload['id']}") as response:
            told = await response.json()

        assert (told["offset"], told["installed"]) == (len(DATA), False)
        assert (await announce(client))[1]["installed"] is False
        assert await names(client) == ["guide"]
        assert (await send(client, upload["id"], b"", len(DATA)))[1]["installed"] is True
        assert sorted(await names(client)) == ["guide", "mine"]


async def test_who_vanishes_without_a_word_keeps_nobody_from_going_on(tmp_path: Path) -> None:
    async with device(tmp_path, Deadlines(body_grace_s=0.2, body_silence_s=0.2)) as client:
        _, upload = await announce(client)
        reader, writer = await begun(client, upload["id"], DATA[:100_000])
        assert b"200 OK" not in await reader.readline()

        assert (await announce(client))[1]["offset"] == 100_000
        assert (await send(client, upload["id"], DATA[100_000:], 100_000))[1]["installed"]
        writer.close()
        await writer.wait_closed()


async def test_another_offset_is_a_conflict_that_says_the_right_one(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        _, upload = await announce(client)
        status, body = await send(client, upload["id"], b"x", 5)
        assert (status, body["error"]["code"]) == (409, "conflict")
        assert "byte 0" in body["error"]["message"]
        for offset, kind, expected in (("", BYTES, 400), ("-1", BYTES, 400), ("0", "application/json", 415)):
            headers = {"Upload-Offset": offset, "Content-Type": kind}
            async with client.patch(f"{IMPORTS}/{upload['id']}", data=b"x", headers=headers) as response:
                assert response.status == expected


async def test_what_is_not_what_was_announced_becomes_no_model(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        _, upload = await announce(client)
        status, body = await send(client, upload["id"], DATA[:-1] + b"\xff", 0)
        assert (status, body["error"]["code"]) == (422, "checksum_mismatch")
        _, upload = await announce(client, size_bytes=100, sha256="")
        status, body = await send(client, upload["id"], b"x" * 100, 0)
        assert (status, body["error"]["code"]) == (422, "model_invalid")
        _, upload = await announce(client, size_bytes=10, sha256="")
        assert (await send(client, upload["id"], b"x" * 11, 0))[0] == 400

        assert await names(client) == ["guide"]


async def test_an_upload_that_is_called_off_leaves_nothing(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        _, upload = await announce(client)
        await send(client, upload["id"], DATA[:1000], 0)
        async with client.delete(f"{IMPORTS}/{upload['id']}") as response:
            assert response.status == 204
        async with client.get(f"{IMPORTS}/{upload['id']}") as response:
            assert response.status == 404
        assert [path.name for path in (tmp_path / "partial").iterdir()] == []


async def test_a_name_that_no_model_can_have_and_a_size_that_no_disk_has_are_refused(tmp_path: Path) -> None:
    async with device(tmp_path) as client:
        assert (await announce(client, name="../mine"))[0] == 400
        assert (await announce(client, name="guide"))[0] == 400
        assert (await announce(client, size_bytes=2**43))[0] == 507


async def test_a_model_larger_than_any_body_may_be_is_taken(tmp_path: Path) -> None:
    large = model(300_000)
    async with device(tmp_path) as client:
        _, upload = await announce(client, size_bytes=len(large), sha256=sha256(large))
        assert len(large) > 16 * 2**20
        assert (await send(client, upload["id"], large, 0))[1]["installed"]
