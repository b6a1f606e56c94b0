"""Pulls as a whole: what is asked for is there in the end, however the way was, and whoever asked may leave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edged.errors import InvalidRequest, NotFound, QueueFull
from edged.pull import installing, line
from edged.pull.progress import Progress
from edged.pull.throttle import Clock
from edged.store import Piece, Record
from tests.hub import COMMIT, Fault, model, sha256, split_model
from tests.pull.conftest import SHORT, Bench, ended, until

REPOSITORY = "maker/Small-GGUF"
NAME = f"hf.co/{REPOSITORY}:Q4_K_M"


def held_up(call: Callable[..., None]) -> tuple[Callable[..., None], threading.Event, threading.Event]:
    """`call`, which tells when it has begun and waits until it may go on."""
    begun, may_go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> None:
        begun.set()
        assert may_go_on.wait(10)
        call(*arguments)

    return slowly, begun, may_go_on


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


async def test_a_wanted_quantisation_is_fetched(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q8_0.gguf": model(10), "small-Q4_K_M.gguf": model(20)}

    done = await bench.pull(f"huggingface.co/{REPOSITORY}:q8_0", name="mine")

    assert (done.state, done.name) == ("done", "mine")
    assert (await bench.records())[0].pieces[0].sha256 == sha256(model(10))


async def test_a_split_model_comes_with_all_of_its_pieces(bench: Bench) -> None:
    pieces = split_model(3)
    bench.hub.repositories[REPOSITORY] = {
        f"Q4_K_M/big-Q4_K_M-0000{number}-of-00003.gguf": data for number, data in enumerate(pieces, start=1)
    }
    bench.hub.faults = [Fault(), Fault(cut_at=100)]

    done = await bench.pull(f"hf.co/{REPOSITORY}")

    assert (done.state, done.total_bytes) == ("done", sum(map(len, pieces))), done
    (record,) = await bench.records()
    assert [piece.sha256 for piece in record.pieces] == [sha256(data) for data in pieces]


async def test_a_split_model_is_nobodys_before_its_last_piece_is_here(bench: Bench) -> None:
    pieces = split_model(2)
    bench.hub.repositories[REPOSITORY] = {
        f"big-Q4_K_M-0000{number}-of-00002.gguf": data for number, data in enumerate(pieces, start=1)
    }
    bench.hub.faults = [Fault(), Fault(status=404)]

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).code == "model_not_found"
    assert await bench.records() == []
    fetched = len(bench.hub.fetched)

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).state == "done"
    assert len(bench.hub.fetched) == fetched + 1  # the first piece had been kept


async def test_a_model_of_ollamas_registry_is_its_model_layer(bench: Bench) -> None:
    license, template = b"\n  Apache License\nVersion 2.0", b"{{ .Prompt }}"
    bench.hub.registry["library/small:1b"] = [("model", model()), ("template", template), ("license", license)]

    done = await bench.pull("small:1b")

    assert (done.state, done.name) == ("done", "small:1b"), done
    (record,) = await bench.records()
    assert (record.source, record.license) == ("small:1b", "Apache License")
    assert bench.events[0][1]["left"] == "template"


async def test_a_model_that_is_more_than_one_file_in_the_registry_is_refused(bench: Bench) -> None:
    bench.hub.registry["user/tuned:latest"] = [("model", model()), ("adapter", b"x")]

    failed = await bench.pull("user/tuned")
    assert (failed.code, failed.message) == (
        "model_invalid",
        "user/tuned in 127.0.0.1 is not one GGUF file but model, adapter.",
    )


async def test_modelscope_is_asked_where_hugging_face_cannot_be_reached(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    bench.hub.is_down = True

    done = await bench.pull(f"hf.co/{REPOSITORY}")

    assert (done.state, done.name) == ("done", NAME), done
    assert (await bench.records())[0].source == f"modelscope.cn/{REPOSITORY}:Q4_K_M"


async def test_modelscope_is_not_asked_for_what_hugging_face_does_not_have(bench: Bench) -> None:
    failed = await bench.pull("hf.co/nobody/nothing")

    assert failed.code == "provider_auth"
    assert "there is no such repository, or it is private or gated" in failed.message
    assert not any("/api/v1/models" in seen.path for seen in bench.hub.seen)


async def test_nothing_is_fetched_where_neither_can_be_reached(bench: Bench) -> None:
    bench.hub.is_down = True

    failed = await bench.pull("hf.co/nobody/nothing")
    assert failed.code == "provider_unavailable"
    assert "Nor does ModelScope help" in failed.message


async def test_a_token_goes_to_the_hub_and_nowhere_else(bench: Bench, tmp_path: Path) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    bench.hub.gated, bench.hub.token = {REPOSITORY}, "hf_secret"
    assert (await bench.pull(f"hf.co/{REPOSITORY}")).code == "provider_auth"

    (tmp_path / "hf_token").touch(mode=0o600)
    (tmp_path / "hf_token").write_text("hf_secret\n")
    bench.environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    bench.hub.seen.clear()
    assert (await bench.pull(f"hf.co/{REPOSITORY}")).state == "done"
    told = {(seen.host, seen.headers.get("Authorization")) for seen in bench.hub.seen}
    assert told == {("hub", "Bearer hf_secret"), ("files", None)}


async def test_what_is_here_is_not_fetched_again(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    await bench.pull(f"hf.co/{REPOSITORY}")
    fetched = len(bench.hub.fetched)

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).state == "done"
    assert (await bench.pull(f"hf.co/{REPOSITORY}", name="other")).state == "done"
    assert len(bench.hub.fetched) == fetched
    assert [record.name for record in await bench.records()] == [NAME, "other"]


async def test_only_what_came_and_was_announced_is_called_verified(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    bench.hub.links["small.gguf"] = model(10)
    assert (await bench.pull(f"hf.co/{REPOSITORY}")).verified
    (record,) = await bench.records()
    assert record.verified_s == record.added_s > 0
    await asyncio.to_thread(bench.store.touch_verified, record, 5)

    assert not (await bench.pull(f"hf.co/{REPOSITORY}")).verified
    assert not (await bench.pull(f"hf.co/{REPOSITORY}", name="other")).verified
    assert [record.verified_s for record in await bench.records()] == [5, 5]

    assert not (await bench.pull(f"{bench.hub.files_url}/small.gguf")).verified
    assert (await bench.pull(f"{bench.hub.files_url}/small.gguf", name="x", sha256=sha256(model(10)))).state == "done"


async def test_a_model_is_replaced_only_by_a_whole_one(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model(100)}
    await bench.pull(f"hf.co/{REPOSITORY}")
    bench.hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": model()}
    bench.hub.faults = [Fault(bent_at=5000)]

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).code == "checksum_mismatch"
    assert (await bench.records())[0].pieces[0].sha256 == sha256(model(100))

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).state == "done"
    assert (await bench.records())[0].pieces[0].sha256 == sha256(model())
    assert [path.name for path in (bench.store.folder / "blobs").iterdir()] == [f"sha256-{sha256(model())}"]


async def test_another_model_of_the_same_name_is_not_replaced(bench: Bench) -> None:
    bench.hub.links = {"a/small.gguf": model(10), "b/small.gguf": model(20), "c/small.gguf": model(10)}
    assert (await bench.pull(f"{bench.hub.files_url}/a/small.gguf")).state == "done"
    fetched = len(bench.hub.fetched)

    failed = await bench.pull(f"{bench.hub.files_url}/b/small.gguf")
    assert failed.code == "conflict"
    assert "another model named 'small' already" in failed.message
    assert "/a/small.gguf. Delete it first, or give --name." in failed.message
    assert len(bench.hub.fetched) == fetched
    (record,) = await bench.records()
    assert record.pieces[0].sha256 == sha256(model(10))
    assert (await bench.pull(f"{bench.hub.files_url}/b/small.gguf", name="other")).state == "done"


async def test_who_takes_the_name_meanwhile_keeps_it(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(stall_at=2**20)]
    taken = Record("small", (Piece(sha256(model(10)), len(model(10))),))

    def take() -> None:
        partial = bench.store.partial_path("taken")
        partial.write_bytes(model(10))
        with partial.open("r+b") as file:
            bench.store.adopt(partial, file.fileno(), taken.pieces[0])
        bench.store.enter(taken)

    async with bench.pulls() as pulls:
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        await until(pulls, order.id, lambda progress: progress.done_bytes > 0)
        await asyncio.to_thread(take)
        assert (await ended(pulls, order.id)).code == "conflict"
    assert await bench.records() == [taken]


async def test_a_file_of_the_owner_is_not_replaced(bench: Bench) -> None:
    (bench.store.folder / "small.gguf").write_bytes(model(10))
    bench.hub.links["small.gguf"] = model()

    failed = await bench.pull(f"{bench.hub.files_url}/small.gguf")
    assert failed.code == "invalid_request"
    assert bench.hub.fetched == []


async def test_a_name_of_the_catalogue_is_its_reference(bench: Bench) -> None:
    bench.hub.repositories[REPOSITORY] = {"small-Q8_0.gguf": model(10)}
    bench.catalogue = {"small": f"hf.co/{REPOSITORY}:Q8_0"}.get

    done = await bench.pull("small")
    assert (done.state, done.name) == ("done", "small")


async def test_equal_orders_are_one_pull(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls() as pulls:
        ids = {pulls.submit(text).id for _ in range(10_000)}
        assert len(ids) == 1
        assert pulls.submit(text, name="other").id not in ids
        await ended(pulls, pulls.list()[-1].id)

    assert len(bench.hub.fetched) == 2


async def test_eight_wait_and_the_next_is_refused(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(stall_at=1000)]
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls(replace(SHORT, stall_s=30.0)) as pulls:
        first = pulls.submit(text)
        await until(pulls, first.id, lambda progress: progress.state == "fetching")
        for number in range(8):
            assert pulls.submit(text, name=f"n{number}").reason == "another pull is running"
        with pytest.raises(QueueFull, match="8 models wait"):
            pulls.submit(text, name="n8")
        assert [progress.state for progress in pulls.list()] == ["fetching", *["queued"] * 8]


async def test_cancelling_ends_it_and_what_was_fetched_is_gone(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(stall_at=2**20)]
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls(replace(SHORT, stall_s=30.0)) as pulls:
        running, waiting = pulls.submit(text), pulls.submit(text, name="other")
        await until(pulls, running.id, lambda progress: progress.done_bytes > 0)
        assert pulls.cancel(waiting.id).state == "cancelled"
        pulls.cancel(running.id)
        assert (await ended(pulls, running.id)).state == "cancelled"
        assert bench.partials() == []
        assert [progress.state for progress in pulls.list()] == ["cancelled", "cancelled"]
        with pytest.raises(NotFound):
            pulls.cancel("nobody")

        again = pulls.submit(text)
        assert (await ended(pulls, again.id)).state == "done"
    assert not (bench.store.partials / "queue.json").exists()


async def test_cancelling_twice_ends_it_once_and_the_next_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(stall_at=2**20)]
    text = f"{bench.hub.files_url}/small.gguf"
    slowly, begun, may_go_on = held_up(installing.clear)
    async with bench.pulls(replace(SHORT, stall_s=30.0)) as pulls:
        running, waiting = pulls.submit(text), pulls.submit(text, name="other")
        await until(pulls, running.id, lambda progress: progress.done_bytes > 0)
        monkeypatch.setattr(installing, "clear", slowly)
        pulls.cancel(running.id)
        assert await asyncio.to_thread(begun.wait, 10)
        pulls.cancel(running.id)
        await asyncio.sleep(0)
        may_go_on.set()
        assert (await ended(pulls, running.id)).state == "cancelled"
        assert (await ended(pulls, waiting.id)).state == "done"


async def test_what_is_cancelled_before_its_first_step_ends(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls() as pulls:
        for steps in range(4):  # one of them is between the making of the task and its first step
            order = pulls.submit(text, name=f"n{steps}")
            for _ in range(steps):
                await asyncio.sleep(0)
            pulls.cancel(order.id)
            pulls.cancel(order.id)
            assert (await ended(pulls, order.id)).state == "cancelled"
        assert (await ended(pulls, pulls.submit(text).id)).state == "done"
    assert bench.partials() == []


async def test_a_cancel_while_what_is_here_is_being_held_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.hub.links["small.gguf"] = model()
    begun, may_go_on, given_back = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def slowly(_: object) -> Iterator[None]:
        begun.set()
        assert may_go_on.wait(10)
        yield
        given_back.set()

    async with bench.pulls() as pulls:
        monkeypatch.setattr(bench.store, "holding", slowly)
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        assert await asyncio.to_thread(begun.wait, 10)
        pulls.cancel(order.id)
        await asyncio.sleep(0)
        may_go_on.set()
        assert (await ended(pulls, order.id)).state == "cancelled"
    assert given_back.is_set()
    assert bench.hub.fetched == []


async def test_cancelling_what_has_failed_clears_its_partial_away(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(cut_at=2**20), Fault(status=404)]
    async with bench.pulls() as pulls:
        failed = await ended(pulls, pulls.submit(f"{bench.hub.files_url}/small.gguf").id)
        assert failed.state == "failed"
        assert bench.partials()
        assert pulls.cancel(failed.id).state == "cancelled"
    assert bench.partials() == []


async def test_what_was_not_done_goes_on_after_a_restart_in_its_order(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(stall_at=2**21)]
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls(replace(SHORT, stall_s=30.0)) as pulls:
        first, second = pulls.submit(text), pulls.submit(text, name="second")
        await until(pulls, first.id, lambda progress: progress.done_bytes >= 2**20)

    async with bench.pulls() as pulls:
        assert [progress.id for progress in pulls.list()] == [first.id, second.id]
        assert (await ended(pulls, second.id)).state == "done"
        assert bench.hub.fetched[1].headers["Range"] != "bytes=0-"
    assert [record.name for record in await bench.records()] == ["second", "small"]


async def test_what_failed_is_told_after_a_restart_too_until_it_is_asked_for_again(bench: Bench) -> None:
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls() as pulls:
        failed = await ended(pulls, pulls.submit(text).id)
        assert (failed.state, failed.code) == ("failed", "model_not_found")

    async with bench.pulls() as pulls:
        assert pulls.list() == [failed]
        assert await ended(pulls, failed.id) == failed
        assert len(bench.hub.seen) == 1, "nobody has asked for it again"

        bench.hub.links["small.gguf"] = model()
        again = pulls.submit(text)
        assert [progress.id for progress in pulls.list()] == [again.id]
        assert (await ended(pulls, again.id)).state == "done"
    async with bench.pulls() as pulls:
        assert pulls.list() == []


async def test_what_failed_and_is_here_all_the_same_is_told_no_longer(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    text = f"{bench.hub.files_url}/small.gguf"
    async with bench.pulls() as pulls:
        assert (await ended(pulls, pulls.submit(text, sha256="0" * 64).id)).code == "checksum_mismatch"
        done = await ended(pulls, pulls.submit(text).id)
        assert pulls.list() == [done]


async def test_what_failed_can_be_dismissed_after_a_restart_with_what_there_is_of_it(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    bench.hub.faults = [Fault(cut_at=2**20), Fault(status=404)]
    async with bench.pulls() as pulls:
        failed = await ended(pulls, pulls.submit(f"{bench.hub.files_url}/small.gguf").id)

    async with bench.pulls() as pulls:
        assert bench.partials()
        assert pulls.cancel(failed.id).state == "cancelled"
    assert bench.partials() == []
    async with bench.pulls() as pulls:
        assert pulls.list() == []


async def test_the_latest_failures_are_kept_and_never_so_many_that_they_cannot_be_read(bench: Bench) -> None:
    keys = tuple(f"{number:064}" for number in range(64))
    longest = line.Order("i" * 16, "\N{GRINNING FACE}" * 2048, "0" * 64, "n" * 128, "0" * 40, keys)
    failed = [
        replace(longest, id=f"{number:016}").failed("internal", "\N{GRINNING FACE}" * 1000, "n" * 128)
        for number in range(32)
    ]

    await asyncio.to_thread(line.write, bench.store.partials, [longest] * 9, failed)

    kept = await asyncio.to_thread(line.read, bench.store.partials)
    assert kept == [longest] * 9 + failed[-16:]
    await asyncio.to_thread(line.write, bench.store.partials, [], failed)
    async with bench.pulls() as pulls:
        assert [progress.id for progress in pulls.list()] == [order.id for order in reversed(failed[-16:])]


async def test_a_line_that_an_earlier_version_has_noted_is_understood(bench: Bench) -> None:
    order = {"id": "5", "reference": "small:1b", "sha256": None, "name": "", "revision": "", "keys": ["k"]}
    (bench.store.partials / "queue.json").write_text(json.dumps([order]))

    assert await asyncio.to_thread(line.read, bench.store.partials) == [line.Order("5", "small:1b", keys=("k",))]


async def test_a_damaged_line_is_an_empty_one(bench: Bench) -> None:
    (bench.store.partials / "queue.json").write_text('[{"id": 5}]')

    async with bench.pulls() as pulls:
        assert pulls.list() == []


async def test_any_number_may_follow_and_everybody_sees_the_end(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    async with bench.pulls(bytes_per_s=2**22) as pulls:
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def follow() -> list[Progress]:
            seen = []
            async for progress in pulls.follow(order.id):
                seen.append(progress)
                times.append(loop.time())
            return seen

        began_s = loop.time()
        everybody = await asyncio.gather(*(follow() for _ in range(5)))
        took_s = loop.time() - began_s

    assert {seen[-1].state for seen in everybody} == {"done"}
    assert all(len(seen) <= took_s * 4 + 3 for seen in everybody)
    done = [progress.done_bytes for progress in everybody[0]]
    assert done == sorted(done)


async def test_nothing_is_fetched_in_quiet_hours(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    at = datetime(2026, 11, 23, 23, 0)
    loud = asyncio.Event()

    async def sleep(_: float) -> None:
        await loud.wait()

    clock = Clock(local=lambda: at, sleep=sleep)
    async with bench.pulls(clock=clock, quiet_hours=("22:00-06:00",)) as pulls:
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        waiting = await until(pulls, order.id, lambda progress: progress.state == "waiting")
        assert waiting.reason == "quiet hours until 06:00"
        assert bench.hub.seen == []

        at = datetime(2026, 11, 24, 6, 0)
        loud.set()
        assert (await ended(pulls, order.id)).state == "done"


async def test_a_fetch_stops_when_quiet_hours_begin_and_goes_on_after_them(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    quiet, loud = datetime(2026, 11, 23, 22, 30), datetime(2026, 11, 23, 12, 0)
    asked = 0
    slept = asyncio.Event()

    def local() -> datetime:
        return quiet if bench.hub.sent_bytes and not slept.is_set() else loud

    async def sleep(_: float) -> None:
        slept.set()

    clock = Clock(local=local, sleep=sleep)
    async with bench.pulls(clock=clock, quiet_hours=("22:00-06:00",)) as pulls:
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        assert (await ended(pulls, order.id)).state == "done"
    asked = len(bench.hub.fetched)
    assert (slept.is_set(), asked) == (True, 2)


async def test_a_cap_is_kept(bench: Bench) -> None:
    bench.hub.links["small.gguf"] = model()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await bench.pull(f"{bench.hub.files_url}/small.gguf", bytes_per_s=2**21)

    assert loop.time() - began_s >= len(model()) / 2**21 - 0.2


@pytest.mark.parametrize("name", ["../x", "guide/../x", "a b", "x" * 129, "", "-x", "a/b/c/d/e/f"])
async def test_a_name_that_is_none_is_refused_before_anybody_is_asked(name: str, bench: Bench) -> None:
    async with bench.pulls() as pulls:
        if name:
            with pytest.raises(InvalidRequest):
                pulls.submit("small:1b", name=name)
    assert bench.hub.seen == []


async def test_a_defect_of_ours_fails_one_pull_and_not_the_daemon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.hub.links["small.gguf"] = model()
    async with bench.pulls() as pulls:
        monkeypatch.setattr(installing, "record", lambda *_: 1 / 0)
        failed = await ended(pulls, pulls.submit(f"{bench.hub.files_url}/small.gguf").id)
        assert (failed.state, failed.code) == ("failed", "internal")
        monkeypatch.undo()
        assert (await ended(pulls, pulls.submit(f"{bench.hub.files_url}/small.gguf").id)).state == "done"


async def test_what_is_becoming_a_model_is_not_cancelled_in_the_middle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.hub.links["small.gguf"] = model()
    slowly, begun, may_go_on = held_up(installing.install)
    monkeypatch.setattr(installing, "install", slowly)
    async with bench.pulls() as pulls:
        order = pulls.submit(f"{bench.hub.files_url}/small.gguf")
        assert await asyncio.to_thread(begun.wait, 10)
        pulls.cancel(order.id)
        await asyncio.sleep(0)
        may_go_on.set()
        assert (await ended(pulls, order.id)).state == "done"
    assert [record.name for record in await bench.records()] == ["small"]
    assert list(bench.store.partials.iterdir()) == []


async def test_a_hub_that_is_busy_for_a_moment_is_asked_again(bench: Bench) -> None:
    bench.hub.registry["library/small:1b"] = [("model", model())]
    bench.hub.busy = 2

    assert (await bench.pull("small:1b")).state == "done"


async def test_a_network_that_is_not_there_yet_is_waited_for(bench: Bench) -> None:
    """As after a power cut, when the device is up before its router."""
    bench.hub.links["small.gguf"] = model()
    reasons: list[str] = []

    async def sleep(_: float) -> None:
        reasons.append(pulls.list()[0].reason)

    with socket.socket() as nobody:  # bound and not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with bench.pulls(clock=Clock(sleep=sleep), ollama=f"http://127.0.0.1:{port}") as pulls:
            order = pulls.submit("small:1b")
            assert (await ended(pulls, order.id)).code == "provider_unavailable"
    assert len(reasons) == SHORT.attempts
    assert all("cannot be connected to" in reason and "Trying again" in reason for reason in reasons)
