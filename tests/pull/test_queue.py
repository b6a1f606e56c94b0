"""Pulls as a whole: what is asked for is there in the end, however the way was, and whoever asked may leave."""

from __future__ import annotations

import asyncio

from tests.hub import COMMIT, model, sha256
from tests.pull.conftest import Bench

REPOSITORY = "maker/Small-GGUF"
NAME = f"hf.co/{REPOSITORY}:Q4_K_M"


async def test_a_model_of_hugging_face_is_fetched_verified_and_named(bench: Bench) -> None:
    data = model()
    bench.hub.repositories[REPOSITORY] = {"small-Q8_0.gguf": model(10), "small-Q4_K_M.gguf": data}

    done = await bench.pull(f"hf.co/{REPOSITORY}")

    assert (done.state, done.name, done.done_bytes, done.total_bytes) == ("done", NAME, len(data), len(data)), done
    (record,) = await bench.records()
    assert (record.name, record.source, record.revision, record.license) == (NAME, NAME, COMMIT, "apache-2.0")
    assert bench.store.blob_path(sha256(data)).read_bytes() == data
    assert (await asyncio.to_thread(bench.store.find, NAME)).problem == ""
    assert [event for event, _ in bench.events] == ["pull_started", "pull_done"]
    assert list(bench.store.partials.iterdir()) == []
