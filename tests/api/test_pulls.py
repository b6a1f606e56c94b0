"""Downloads over HTTP: they belong to the daemon, are watched by whoever wants, and speak Ollama's words as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from edged import catalogue
from edged.advice import hub as asks
from edged.advice.adviser import Adviser
from edged.api import listening
from edged.api.exposed import Exposed
from edged.api.server import build_app
from edged.catalogue import reference_of
from edged.config import Downloads
from edged.pull.finder import Hubs
from edged.pull.pace import Patience
from edged.pull.queue import Pulls
from tests.api.shelves import owners_headers
from tests.api.test_server import exposed_without_sockets
from tests.hub import Fault, Hub, model, running

SHORT = Patience(stall_s=0.3, window_s=0.4, attempts=2, backoff_s=0.01, answer_s=2.0)
REPOSITORY, REFERENCE = "someone/Small-GGUF", "hf.co/someone/Small-GGUF:Q4_0"
MOST_S = 20


@dataclass
class Device:
    """A daemon's HTTP side with a hub on loopback."""

    hub: Hub
    exposed: Exposed
    client: aiohttp.ClientSession

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        async with self.client.post(path, json=body) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(path) as response:
            return response.status, await response.json()

    async def events(self, id: str) -> list[dict[str, Any]]:
        """Every event of a download, to its end."""
        path, headers = f"/edged/v1/pulls/{id}", {"Accept": "text/event-stream"}
        async with self.client.get(path, headers=headers) as response:
            assert response.content_type == "text/event-stream"
            return [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: ")]

    async def ollama(self, name: str) -> list[dict[str, Any]]:
        """Every line of Ollama's stream."""
        async with self.client.post("/api/pull", json={"model": name}) as response:
            assert response.status == 200
            assert response.content_type == "application/x-ndjson"
            return [json.loads(line) async for line in response.content]


@asynccontextmanager
async def device(tmp_path: Path, *, has_modelscope: bool = False, **downloads: Any) -> AsyncIterator[Device]:
    exposed = exposed_without_sockets(tmp_path)
    await asyncio.to_thread(exposed.store.ready)
    async with running() as hub:
        hub.repositories[REPOSITORY] = {"Small-Q4_0.gguf": model()}
        settings = Downloads(
            huggingface=hub.hub_url, modelscope=hub.hub_url if has_modelscope else "", ollama=hub.hub_url,
            reserve_bytes=0, hosts=(urlsplit(hub.files_url).netloc,), **downloads,
        )  # fmt: skip
        hubs = Hubs.of(settings, {})
        exposed.pulls = Pulls(exposed.store, settings, hubs, exposed.journal.tell, reference_of, patience=SHORT)
        asking = partial(asks.asking, settings, hubs)
        exposed.adviser = Adviser(tmp_path / "cache", exposed.store.folder, 0, asking)
        async with (
            asyncio.timeout(MOST_S),
            exposed.pulls,
            listening.serving(build_app(exposed), "127.0.0.1", 0, tmp_path / "sock") as addresses,
            aiohttp.ClientSession(addresses[0], headers=owners_headers(exposed.access)) as client,
        ):
            yield Device(hub, exposed, client)


async def test_a_model_is_fetched_whoever_watches(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        status, begun = await box.post("/edged/v1/pulls", model=REFERENCE)
        assert status == 202
        assert begun["state"] in ("queued", "resolving")
        events = await box.events(begun["id"])

        assert events[-1]["state"] == "done"
        assert events[-1]["done_bytes"] == events[-1]["total_bytes"] == len(model())
        assert await box.get(f"/edged/v1/pulls/{begun['id']}") == (200, events[-1])
        assert await box.get("/edged/v1/pulls") == (200, {"pulls": [events[-1]]})
        found = {one["name"]: one for one in (await box.get("/edged/v1/models"))[1]["models"]}
        assert found[REFERENCE]["record"]["source"].startswith("hf.co/someone/Small-GGUF")
        assert found["guide"]["record"] is None


async def test_a_name_of_the_catalogue_is_what_the_model_is_called(tmp_path: Path) -> None:
    entry = catalogue.entries()[0]
    async with device(tmp_path) as box:
        box.hub.repositories[entry.repository] = {f"x-{entry.quantisation}.gguf": model()}
        lines = await box.ollama(f"{entry.name}:latest")

        assert lines[-1] == {"status": "success"}
        assert entry.name in {one["name"] for one in (await box.get("/edged/v1/models"))[1]["models"]}


async def test_a_client_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        box.hub.faults = [Fault(bytes_per_s=2_000_000)]
        async with box.client.post("/api/pull", json={"model": REFERENCE}) as response:
            assert json.loads(await response.content.readline()) == {"status": "pulling manifest"}
        (pull,) = box.exposed.pulls.list()

        assert not pull.has_ended
        assert (await box.events(pull.id))[-1]["state"] == "done"


async def test_the_same_model_asked_for_twice_is_one_download(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        box.hub.faults = [Fault(stall_at=1000)]
        first, second = [await box.post("/edged/v1/pulls", model=REFERENCE) for _ in range(2)]
        assert first[1]["id"] == second[1]["id"]


async def test_a_download_can_be_cancelled_and_what_there_was_of_it_is_gone(tmp_path: Path) -> None:
    async with device(tmp_path, bytes_per_s=2**17) as box:
        _, begun = await box.post("/edged/v1/pulls", model=REFERENCE)
        followed = asyncio.ensure_future(box.events(begun["id"]))
        async for progress in box.exposed.pulls.follow(begun["id"]):
            if progress.state == "fetching":
                async with box.client.delete(f"/edged/v1/pulls/{begun['id']}") as response:
                    assert response.status == 200

        assert (await followed)[-1]["state"] == "cancelled"
        assert [path.name for path in (tmp_path / "partial").glob("*.part")] == []


@pytest.mark.parametrize("wanted", [
    {"model": ""}, {"model": "ftp://x/y.gguf"}, {"model": REFERENCE, "sha256": "abc"},
    {"model": REFERENCE, "name": "../x"}, {"reference": REFERENCE},
])  # fmt: skip
async def test_what_cannot_be_fetched_is_refused_at_once(wanted: dict[str, Any], tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        status, body = await box.post("/edged/v1/pulls", **wanted)
        assert status == 400
        assert body["error"]["message"]
        assert (await box.get("/edged/v1/pulls"))[1] == {"pulls": []}


async def test_nobody_but_the_owner_names_a_host_without_encryption(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        status, body = await box.post("/edged/v1/pulls", model="http://192.168.0.1/x.gguf")
        assert (status, body["error"]["code"]) == (403, "forbidden")
        status, body = await box.post("/api/pull", model=REFERENCE, insecure=True)
        assert (status, body["code"]) == (400, "unsupported_parameter")


async def test_what_is_not_known_is_not_found(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        assert (await box.get("/edged/v1/pulls/nobody"))[0] == 404
        async with box.client.get("/edged/v1/pulls/nobody", headers={"Accept": "text/event-stream"}) as response:
            assert response.status == 404
        async with box.client.delete("/edged/v1/pulls/nobody") as response:
            assert response.status == 404


async def test_ollamas_stream_is_as_its_programs_know_it(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        box.hub.faults = [Fault(bytes_per_s=1_000_000)]
        lines = await box.ollama(REFERENCE)

    assert lines[0] == {"status": "pulling manifest"}
    assert [line["status"] for line in lines[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
    pulling = [line for line in lines if "digest" in line]
    assert pulling
    assert len({line["digest"] for line in pulling}) == 1
    for line in pulling:
        assert line["status"] == f"pulling {line['digest'].removeprefix('sha256:')[:12]}"
        assert 0 <= line.get("completed", 0) <= line["total"] == len(model())


async def test_ollamas_answer_without_a_stream_is_one_word_or_an_error(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        assert await box.post("/api/pull", model=REFERENCE, stream=False) == (200, {"status": "success"})
        status, body = await box.post("/api/pull", model="hf.co/nobody/nothing", stream=False)
        assert status == 500
        assert "nobody/nothing" in body["error"]


async def test_a_failure_in_ollamas_stream_is_its_last_line(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        lines = await box.ollama("hf.co/nobody/nothing")
        assert "nobody/nothing" in lines[-1]["error"]
        assert "status" not in lines[-1]


async def test_the_owners_own_file_is_there_already_whatever_hubs_have(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        assert await box.ollama("guide:latest") == [{"status": "success"}]
        assert box.exposed.pulls.list() == []


async def test_a_name_with_slashes_is_deleted_by_its_path(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        await box.ollama(REFERENCE)
        async with box.client.delete(f"/edged/v1/models/{quote(REFERENCE, safe='')}") as response:
            assert response.status == 200
            assert (await response.json())["size_bytes"] == len(model())
        assert [one["name"] for one in (await box.get("/edged/v1/models"))[1]["models"]] == ["guide"]
        async with box.client.delete("/edged/v1/models/guide") as response:
            assert response.status == 400


async def test_names_with_tags_are_copied_and_deleted_in_ollamas_words(tmp_path: Path) -> None:
    async with device(tmp_path) as box:
        await box.ollama(REFERENCE)
        async with box.client.post("/api/copy", json={"source": REFERENCE, "destination": "mine:1b"}) as response:
            assert response.status == 200, await response.text()
        async with box.client.delete("/api/delete", json={"model": REFERENCE}) as response:
            assert response.status == 200
        _, tags = await box.get("/api/tags")
        assert {one["name"] for one in tags["models"]} == {"mine:1b", "guide:latest"}


async def test_the_catalogue_is_judged_and_what_the_hub_has_is_remembered(tmp_path: Path) -> None:
    entry = catalogue.entries()[0]
    async with device(tmp_path) as box:
        box.hub.repositories[entry.repository] = {f"x-{entry.quantisation}.gguf": model()}
        status, body = await box.get("/edged/v1/catalogue")

        assert status == 200
        judged = {one["name"]: one for one in body["models"]}
        assert judged[entry.name]["size_bytes"] == len(model())
        assert judged[entry.name]["checked"]
        others = {one["verdict"] for one in body["models"] if one["name"] != entry.name}
        assert others <= {"unverified", "no_memory", "no_disk"}
        assert body["best"]["chat"] == entry.name
        box.hub.is_down = True
        assert (await box.get("/edged/v1/catalogue"))[1]["best"]["chat"] == entry.name


async def test_what_came_from_the_other_hub_is_told_as_installed(tmp_path: Path) -> None:
    entry = catalogue.entries()[0]
    async with device(tmp_path, has_modelscope=True) as box:
        box.hub.repositories[entry.repository] = {f"x-{entry.quantisation}.gguf": model()}
        box.hub.is_down = True
        assert (await box.ollama(entry.name))[-1] == {"status": "success"}

        (here,) = await asyncio.to_thread(box.exposed.store.records)
        assert here.source.startswith("modelscope.cn/")
        judged = {one["name"]: one for one in (await box.get("/edged/v1/catalogue"))[1]["models"]}
        assert judged[entry.name]["installed"]
