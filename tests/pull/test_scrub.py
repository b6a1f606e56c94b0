"""What is installed is read again: bad bytes are found, taken away, and fetched anew where they came from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edged.errors import QueueFull
from edged.pull.scrub import Checked, Scrub
from edged.pull.throttle import Clock
from edged.store import Piece, Record
from tests.hub import COMMIT, model, sha256
from tests.pull.conftest import Bench, ended

REPOSITORY = "maker/Small-GGUF"
NAME = f"hf.co/{REPOSITORY}:Q4_K_M"


def bend(path: Path, at: int = 50_000) -> None:
    """One bit, as flash forgets one."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))
    path.chmod(0o400)


async def scrubbed(scrub: Scrub) -> list[Checked]:
    """The last word on every model."""
    return [checked async for checked in scrub.run() if checked.state in ("good", "mended", "bad")]


async def test_what_is_as_it_was_is_noted(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        await asyncio.to_thread(bench.store.touch_verified, NAME, 5)
        found = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert found == [Checked(NAME, "good", len(model()), len(model()))]
    assert (await bench.records())[0].verified_s > 5


async def test_a_bad_file_is_taken_away_and_fetched_again_as_it_was(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    events: list[str] = []
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}", name="other").id)
        blob = bench.store.blob_path(sha256(model()))
        bend(blob)
        states = []
        async for checked in Scrub(bench.store, pulls, lambda event, **_: events.append(event), lambda: False).run():
            states.append(checked.state)
            assert checked.state != "mending" or not blob.exists() or blob.read_bytes() == model()

    assert states[-1] == "good"  # the other name of the same file
    assert "mended" in states
    assert blob.read_bytes() == model()
    assert events == ["model_damaged", "model_mended"]
    assert any(f"/revision/{COMMIT}" in seen.path for seen in bench.hub.seen)


async def test_a_bad_file_that_nobody_has_is_told(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        bend(bench.store.blob_path(sha256(model())))
        bench.hub.repositories.clear()
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert found.state == "bad"
    assert "other content than the SHA-256" in found.message
    assert "could not be fetched again" in found.message
    assert not bench.store.blob_path(sha256(model())).exists()
    assert "missing" in (await asyncio.to_thread(bench.store.find, NAME)).problem


async def test_what_was_imported_can_only_be_imported_again(bench: Bench) -> None:
    data = model(10)
    partial = bench.store.partial_path("x")
    partial.write_bytes(data)
    piece = Piece(sha256(data), len(data))
    with partial.open("r+b") as file:
        await asyncio.to_thread(bench.store.adopt, partial, file.fileno(), piece)
    await asyncio.to_thread(bench.store.enter, Record("mine", (piece,)))
    bend(bench.store.blob_path(piece.sha256), at=len(data) - 1)
    async with bench.pulls() as pulls:
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert (found.name, found.state) == ("mine", "bad")
    assert found.message.endswith("import it again.")


async def test_it_waits_while_somebody_is_answered_and_runs_once_at_a_time(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    busy = True
    waited = asyncio.Event()

    async def sleep(_: float) -> None:
        waited.set()
        await asyncio.sleep(0)

    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        scrub = Scrub(bench.store, pulls, lambda *_, **__: None, lambda: busy, clock=Clock(sleep=sleep))
        running = asyncio.create_task(scrubbed(scrub))
        await waited.wait()
        with pytest.raises(QueueFull, match="being checked already"):
            await scrubbed(scrub)
        assert not running.done()
        busy = False
        assert [checked.state for checked in await running] == ["good"]


async def test_it_reads_no_faster_than_it_may(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    slept: list[float] = []

    async def sleep(wait_s: float) -> None:
        slept.append(wait_s)

    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        clock = Clock(now_s=lambda: 0.0, sleep=sleep)
        scrub = Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False, bytes_per_s=2**20, clock=clock)
        await scrubbed(scrub)

    assert sum(slept) == pytest.approx(len(model()) / 2**20)
