"""What is installed is read again: bad bytes are found, taken away, and fetched anew where they came from."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edged.errors import QueueFull
from edged.local.quarantine import Quarantine, identity_of
from edged.pull.scrub import Checked, Scrub
from edged.pull.throttle import Clock
from edged.store import Piece, Record
from tests.hub import COMMIT, Fault, model, sha256, split_model
from tests.pull.conftest import SHORT, Bench, ended

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
    return [checked async for checked in scrub.run() if checked.state not in ("checking", "mending")]


async def imported(bench: Bench, name: str = "mine") -> Record:
    """One without a source."""
    data = model(10)
    partial, piece = bench.store.partial_path("x"), Piece(sha256(data), len(data))
    partial.write_bytes(data)
    with partial.open("r+b") as file:
        await asyncio.to_thread(bench.store.adopt, partial, file.fileno(), piece)
    record = Record(name, (piece,))
    await asyncio.to_thread(bench.store.enter, record)
    return record


async def test_what_is_as_it_was_is_noted(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        await asyncio.to_thread(bench.store.touch_verified, (await bench.records())[0], 5)
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


async def test_a_good_file_is_not_blamed_for_what_the_bad_one_did_under_any_of_its_names(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    bench.hub.links["sound.gguf"] = model(10)
    quarantine = Quarantine()
    async with bench.pulls() as pulls:
        links = [f"hf.co/{REPOSITORY}", f"hf.co/{REPOSITORY}", f"{bench.hub.files_url}/sound.gguf"]
        for text, name in zip(links, ("one", "two", "sound"), strict=True):
            await ended(pulls, pulls.submit(text, name=name).id)
            for _ in range(2):
                quarantine.note_death(name, identity_of(await asyncio.to_thread(bench.store.find, name)), "SIGABRT.")
        bend(bench.store.blob_path(sha256(model())))
        found = await scrubbed(
            Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False, is_good_again=quarantine.release)
        )

    assert [(one.name, one.state) for one in found] == [("one", "mended"), ("sound", "good"), ("two", "good")]
    assert [case.model for case in quarantine.cases] == ["sound"]


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
    (piece,) = (await imported(bench)).pieces
    bend(bench.store.blob_path(piece.sha256), at=piece.size_bytes - 1)
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


@pytest.mark.parametrize("is_bent", [False, True])
async def test_what_is_deleted_while_it_is_read_stays_deleted(bench: Bench, is_bent: bool) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        if is_bent:
            bend(bench.store.blob_path(sha256(model())))
        is_first = True

        async def sleep(_: float) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                await asyncio.to_thread(bench.store.remove, NAME)

        clock = Clock(now_s=lambda: 0.0, sleep=sleep)
        scrub = Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False, bytes_per_s=2**20, clock=clock)
        (found,) = await scrubbed(scrub)
        assert len(pulls.list()) == 1

    assert found.state == "gone"
    assert await bench.records() == []


async def test_what_is_deleted_while_it_is_mended_stays_deleted(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    states: list[str] = []
    async with bench.pulls(replace(SHORT, stall_s=30.0)) as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        bend(bench.store.blob_path(sha256(model())))
        bench.hub.faults = [Fault(stall_at=2**20)]
        async with asyncio.timeout(20):
            async for checked in Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False).run():
                states.append(checked.state)
                if checked.state == "mending" and len(await bench.records()) == 1:
                    await asyncio.to_thread(bench.store.remove, NAME)

    assert states[-1] == "gone"
    assert await bench.records() == []


async def test_what_cannot_be_opened_now_is_not_damaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (piece,) = (await imported(bench)).pieces
    path, really = bench.store.blob_path(piece.sha256), os.open

    def refuse(file: Any, *arguments: Any, **more: Any) -> int:
        if file == path:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(file, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    async with bench.pulls() as pulls:
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert found.state == "unchecked"
    assert "Too many open files" in found.message
    assert path.exists()


async def test_what_was_misread_once_is_good(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (piece,) = (await imported(bench)).pieces
    really, misread = os.pread, [b"x"]

    def once(descriptor: int, count: int, at: int) -> bytes:
        came = really(descriptor, count, at)
        is_blob = Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith(piece.sha256)
        return misread.pop() + came[1:] if is_blob and misread else came

    async with bench.pulls() as pulls:
        monkeypatch.setattr(os, "pread", once)
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert (found.state, misread) == ("good", [])


async def test_a_disk_that_takes_nothing_is_told_and_does_not_end_the_check(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await imported(bench, "good")

    def full(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(bench.store, "touch_verified", full)
    monkeypatch.setattr(bench.store, "drop", full)
    async with bench.pulls() as pulls:
        scrub = Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False)
        assert [one.state for one in await scrubbed(scrub)] == ["good"]
        bend(bench.store.blob_path(good.pieces[0].sha256), at=good.size_bytes - 1)
        (found,) = await scrubbed(scrub)

    assert found.state == "bad"
    assert "cannot be taken away: Read-only file system" in found.message


@pytest.mark.parametrize(("name", "told"), [(None, "small:1b"), ("mine", "small:1b --name mine")])
async def test_another_version_does_not_mend_what_was_bad_and_is_offered(
    bench: Bench, name: str | None, told: str
) -> None:
    bench.hub.registry["library/small:1b"] = [("model", model())]
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit("small:1b", name=name).id)
        bend(bench.store.blob_path(sha256(model())))
        bench.hub.registry["library/small:1b"] = [("model", model(10))]
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

        assert found.state == "bad"
        assert found.message.endswith(f"; replaced upstream: `edged pull {told}` takes the new version.")
        assert (await bench.records())[0].pieces[0].sha256 == sha256(model())
        assert len(bench.hub.fetched) == 1, "the new version is the owner's to take"

        assert (await ended(pulls, pulls.submit("small:1b", name=name).id)).state == "done"
    (record,) = await bench.records()
    assert (record.name, record.pieces[0].sha256) == (name or "small:1b", sha256(model(10)))


async def test_what_came_as_another_version_is_not_called_mended(bench: Bench) -> None:
    def offered(count: int) -> dict[str, bytes]:
        return {f"big-Q4_K_M-{at:05}-of-{count:05}.gguf": data for at, data in enumerate(split_model(count), start=1)}

    bench.hub.repositories[REPOSITORY] = offered(2)
    async with bench.pulls() as pulls:
        await ended(pulls, pulls.submit(f"hf.co/{REPOSITORY}").id)
        (record,) = await bench.records()
        bend(bench.store.blob_path(record.pieces[0].sha256), at=record.pieces[0].size_bytes - 1)
        bench.hub.repositories[REPOSITORY] = offered(3)
        (found,) = await scrubbed(Scrub(bench.store, pulls, lambda *_, **__: None, lambda: False))

    assert found.state == "replaced"
    assert "another version" in found.message
