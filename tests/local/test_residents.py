"""Models in memory, with real workers: as many as there is room for, who goes, who comes back, who hangs, who kills."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edged.chat import ChatRequest
from edged.config import Engine, Limits
from edged.errors import (
    EdgedError,
    LoadTimeout,
    ModelInvalid,
    ModelLoading,
    ModelNotFound,
    ModelQuarantined,
    ModelTooLarge,
    ShuttingDown,
    WorkerCrashed,
)
from edged.gguf import vocabulary
from edged.host import memory
from edged.local import loads
from edged.local.calibration import Calibration
from edged.local.ensuring import Fetch
from edged.local.fit import Fit
from edged.local.loading import Loader
from edged.local.loads import LoadTimes
from edged.local.pool import Pool
from edged.local.quarantine import identity_of
from edged.observe import Journal
from edged.sampling import Sampling
from edged.store import ModelFile, Store
from edged.template_wire import Span
from edged.wire import Loaded
from tests.fakes import until

# Nothing is kept outside of the context: what a model needs is all that it may take.
ENGINE = Engine(context_tokens=64, sequences=2, threads=1, gpu_layers=0, snapshot_bytes=0)
MIB = 2**20


@pytest.fixture
def journal() -> Journal:
    return Journal()


@asynccontextmanager
async def opened(
    store: Store, journal: Journal, *, times: LoadTimes | None = None, keep_s: float = float("inf")
) -> AsyncIterator[Pool]:
    async with Pool(store, ENGINE, Limits(), journal.tell, times=times, keep_s=keep_s) as pool:
        yield pool


async def holds(pool: Pool, models: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine had memory for so many of the models of these tests, which all need the same."""
    loader = pool.memory._loader
    each_bytes = (await asyncio.to_thread(loader.know, "one")).needs_bytes + 10 * MIB

    def available_bytes() -> int:
        there = [resident for resident in pool.residents.values() if resident.state != "loading"]
        return each_bytes * models - sum(resident.needs_bytes - resident.outstanding_bytes for resident in there)

    monkeypatch.setattr(memory, "available_bytes", available_bytes)


def events(journal: Journal, name: str) -> list[object]:
    return [happened.facts.get("model") for happened in journal.happenings if happened.event == name]


async def use(pool: Pool, *models: str) -> None:
    for model in models:
        async with pool.lease(model):
            pass


async def failure_of(pool: Pool, model: str, deadline_s: float | None = None) -> EdgedError:
    try:
        async with pool.lease(model, deadline_s=deadline_s):
            raise AssertionError("nobody should get in")
    except EdgedError as error:
        return error


async def test_by_default_memory_decides_how_many_models_stay(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 2, monkeypatch)
        await use(pool, "one", "two")
        assert pool.residents.keys() == {"one", "two"}

        await use(pool, "two", "two", "three")

        assert pool.residents.keys() == {"two", "three"}, "the one that was used more often stays"
        assert events(journal, "model_evicted") == ["one"]


async def test_how_a_model_fits_is_how_it_runs_or_would_if_the_others_left(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = [await asyncio.to_thread(store.find, name) for name in ("one", "two")]
    async with opened(store, journal) as pool:
        await holds(pool, 1, monkeypatch)
        await use(pool, "one")
        way_of = await asyncio.to_thread(pool.memory.ways)
        running = pool.residents["one"].fit

        assert running is not None
        assert way_of(one) is running
        assert way_of(replace(one, modified_s=one.modified_s + 1)) is not running, "another file of that name"
        assert way_of(two).way == running.way


async def test_what_a_ready_model_never_touched_is_not_lent_to_another(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await use(pool, "one")
        one = pool.residents["one"]
        assert 0 < one.outstanding_bytes < one.needs_bytes, "tables for formats, at least"
        await pool.memory.learn("two")
        free_bytes = pool.memory.needs_at_least("two")["two"] + one.outstanding_bytes
        monkeypatch.setattr(memory, "available_bytes", lambda: free_bytes - MIB)
        assert not await pool.bring("two")

        monkeypatch.setattr(memory, "available_bytes", lambda: free_bytes + MIB)
        assert await pool.bring("two")


async def test_a_model_that_is_used_is_not_evicted_and_who_waits_gets_its_room_afterwards(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 1, monkeypatch)
        async with pool.lease("one"):
            waiting = asyncio.create_task(use(pool, "two"))
            await until(lambda: pool.queued == 1)
            assert pool.residents.keys() == {"one"}
        await waiting
        assert pool.residents.keys() == {"two"}


async def test_many_who_want_an_unloaded_model_cause_one_load(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        await asyncio.gather(*[use(pool, "one") for _ in range(5)])

        assert events(journal, "model_loading") == ["one"]


async def test_what_the_owner_wants_in_memory_comes_back_when_there_is_room_again(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 1, monkeypatch)
        pool.warm("one")
        await use(pool, "two")
        assert pool.residents.keys() == {"two"}, "somebody waits now"

        pool.keep("two", 0)

        await until(lambda: "one" in pool.residents and pool.residents["one"].state == "ready")


async def test_who_asks_before_the_start_is_through_causes_no_second_load(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        asking = asyncio.ensure_future(use(pool, "one"))
        await until(lambda: "one" in pool.residents)
        pool.warm("one")
        await asking

        assert events(journal, "model_loading") == ["one"]


async def test_unless_told_otherwise_a_model_leaves_after_a_while_but_not_one_that_is_kept(
    store: Store, journal: Journal
) -> None:
    async with opened(store, journal, keep_s=0.05) as pool:
        pool.warm("one")
        await use(pool, "one", "two")
        await until(lambda: "two" not in pool.residents)

        assert pool.residents["one"].state == "ready"
        assert events(journal, "model_unloaded") == ["two"]


# ---- what the owner wants in memory from the start on


async def ensured(pool: Pool, models: list[str], fetch: Fetch | None = None) -> None:
    pool.ensure(models, fetch)
    assert pool._ensuring is not None
    await pool._ensuring


async def test_models_are_loaded_at_the_start_as_far_as_they_fit(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 2, monkeypatch)
        await ensured(pool, ["one", "two", "three"])

        assert pool.residents.keys() == {"one", "two"}
        assert events(journal, "model_not_ensured") == ["three"]
        assert events(journal, "model_evicted") == []


async def test_a_model_that_has_room_only_in_a_smaller_way_is_loaded_in_it(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Pool(store, Engine(), Limits(), journal.tell) as pool:
        known = await asyncio.to_thread(pool.memory._loader.know, "one")
        assert known.least_bytes < known.needs_bytes

        def available_bytes() -> int:
            ready = [resident for resident in pool.residents.values() if resident.state == "ready"]
            left_bytes = known.least_bytes if ready else known.needs_bytes
            return left_bytes + sum(resident.outstanding_bytes for resident in ready)

        monkeypatch.setattr(memory, "available_bytes", available_bytes)
        await ensured(pool, ["one", "two"])

        assert pool.residents.keys() == {"one", "two"}
        assert events(journal, "model_lowered") == ["two"]


async def test_the_default_model_is_loaded_first_and_the_others_beside_it(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 2, monkeypatch)
        pool.warm("one")
        await ensured(pool, ["two"])

        assert [event for event in journal.happenings if event.event == "model_not_ensured"] == []
        assert list(pool.residents) == ["one", "two"]


async def test_a_missing_model_is_fetched_and_one_that_cannot_be_had_is_told(
    store: Store, journal: Journal, nano_file: Path, tmp_path: Path
) -> None:
    async def fetch(name: str) -> None:
        if name == "nowhere":
            raise ModelNotFound("There is no nowhere.")
        await asyncio.to_thread((tmp_path / f"{name}.gguf").hardlink_to, nano_file)

    async with opened(store, journal) as pool:
        await ensured(pool, ["nowhere", "fetched", "garbage", "one"], fetch)

        assert list(pool.residents) == ["one", "fetched"]
        assert events(journal, "model_not_ensured") == ["garbage", "nowhere"]


async def test_those_that_are_here_wait_for_no_download(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:

        async def fetch(name: str) -> None:
            assert pool.residents["one"].state == "ready"
            assert pool.residents["two"].state == "ready"
            raise ModelNotFound(f"There is no {name}.")

        await ensured(pool, ["nowhere", "one", "two"], fetch)

        assert events(journal, "model_not_ensured") == ["nowhere"]
        assert events(journal, "model_fetching") == ["nowhere"]


async def test_without_anybody_who_fetches_a_missing_model_is_told(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        await ensured(pool, ["nobody", "one"])

        assert pool.residents.keys() == {"one"}
        assert events(journal, "model_not_ensured") == ["nobody"]


# ---- loads that take time


def slow_disk() -> LoadTimes:
    times = LoadTimes()
    times.note(2 * MIB, 30.0)
    return times


async def test_who_would_not_wait_for_a_load_is_told_how_long_it_takes_and_finds_it_loaded_later(
    store: Store, journal: Journal
) -> None:
    async with opened(store, journal, times=slow_disk()) as pool:
        refused = await failure_of(pool, "one", deadline_s=5.0)

        assert isinstance(refused, ModelLoading)
        assert 25 < refused.retry_after_s <= 30
        assert "one" in pool.residents, "the load goes on for whoever comes back"
        refused = await failure_of(pool, "one", deadline_s=5.0)
        assert isinstance(refused, ModelLoading)
        await until(lambda: pool.residents["one"].state == "ready")
        async with pool.lease("one", deadline_s=5.0):
            pass
        assert events(journal, "model_loading") == ["one"]


async def test_who_would_not_wait_makes_nobody_go_who_is_busy(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal, times=slow_disk()) as pool:
        await holds(pool, 1, monkeypatch)
        async with pool.lease("one"):
            refused = await failure_of(pool, "two", deadline_s=5.0)
            assert isinstance(refused, ModelLoading)
            assert "not in memory" in str(refused)
        await use(pool, "one")
        assert events(journal, "model_evicted") == []


async def test_a_predicted_wait_includes_the_load(store: Store, journal: Journal) -> None:
    async with opened(store, journal, times=slow_disk()) as pool:
        await pool.memory.learn("one")
        assert pool.wait_s("one") >= 30
        await use(pool, "one")
        assert pool.wait_s("one") < 1


async def test_who_runs_out_of_patience_in_a_load_is_told_how_far_it_is(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("one")
        await until(lambda: pool.residents["one"].process.pid is not None)
        os.kill(pool.residents["one"].process.pid or 0, signal.SIGSTOP)

        refused = await failure_of(pool, "one", deadline_s=0.05)

        assert isinstance(refused, ModelLoading)
        os.kill(pool.residents["one"].process.pid or 0, signal.SIGCONT)
        await use(pool, "one")


async def test_a_load_that_hangs_is_ended_by_its_deadline_and_others_are_served_meanwhile(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G14. The process stands still as it would in a read that never returns."""
    async with opened(store, journal) as pool:
        await use(pool, "one")
        monkeypatch.setattr(loads, "_SHORTEST_LOAD_DEADLINE_S", 1.0)
        hanging = asyncio.create_task(failure_of(pool, "two"))
        await until(lambda: "two" in pool.residents and pool.residents["two"].process.pid is not None)
        os.kill(pool.residents["two"].process.pid or 0, signal.SIGSTOP)
        began = time.monotonic()

        await use(pool, "one")
        assert not hanging.done()

        assert isinstance(await hanging, LoadTimeout)
        assert time.monotonic() - began < 5
        assert pool.residents.keys() == {"one"}
        assert pool.memory.quarantine.cases == [], "that it was slow says nothing against the model"


async def test_how_long_loads_took_is_there_after_a_restart(store: Store, journal: Journal, tmp_path: Path) -> None:
    file = tmp_path / "cache" / "loads.json"
    async with opened(store, journal, times=LoadTimes(file)) as pool:
        await use(pool, "one")
        await until(file.exists)
    expected_s = LoadTimes(file).expected_s(2 * MIB)
    assert expected_s is not None
    assert 0 < expected_s < 20


# ---- models that kill their workers


async def die(pool: Pool, model: str, number: signal.Signals) -> None:
    """The worker of `model` ends by this signal while somebody uses it."""
    async with pool.lease(model) as lease:
        pid = lease.process.pid
        assert pid is not None
        os.kill(pid, number)
        await until(lambda: model not in pool.residents or pool.residents[model] is not lease.resident)


async def test_a_model_that_kills_its_worker_twice_is_given_no_more_and_others_are(
    store: Store, journal: Journal
) -> None:
    async with opened(store, journal) as pool:
        await die(pool, "one", signal.SIGABRT)
        await use(pool, "one")  # once is an accident
        async with pool.lease("one") as lease:
            waiting = [asyncio.create_task(failure_of(pool, "one")) for _ in range(2)]
            pid = lease.process.pid
            assert pid is not None
            os.kill(pid, signal.SIGSEGV)
            await until(lambda: "one" not in pool.residents)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

        refused = await failure_of(pool, "one")

        assert isinstance(refused, ModelQuarantined)
        assert "was killed by SIGSEGV" in str(refused)
        assert "edged scrub" in str(refused)
        assert events(journal, "model_quarantined") == ["one"]
        assert [case.model for case in pool.memory.quarantine.cases] == ["one"]
        await use(pool, "two")


@pytest.mark.parametrize("number", [signal.SIGKILL])
async def test_who_is_ended_from_outside_is_loaded_again(
    store: Store, journal: Journal, number: signal.Signals
) -> None:
    async with opened(store, journal) as pool:
        for _ in range(3):
            await die(pool, "one", signal.SIGKILL)
        await use(pool, "one")
        assert pool.memory.quarantine.cases == []


@asynccontextmanager
async def tight(
    store: Store, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Pool, list[int]]]:
    """A pool in which one model has room as wished and hardly more; and how many the kernel says it has killed."""
    engine, kills = Engine(sequences=64), [0]
    engine.model_fields_set.clear()  # as if nobody had said it
    calibration = Calibration(tmp_path / "memory.json", "here")
    async with Pool(store, engine, Limits(), journal.tell, calibration=calibration) as pool:
        await pool.memory.learn("one")
        room_bytes = int(pool.memory.needs["one"] * 1.1)
        monkeypatch.setattr(memory, "available_bytes", lambda: room_bytes)
        monkeypatch.setattr(memory, "kernel_kills", lambda: kills[-1])
        yield pool, kills


async def kill_while_answering(pool: Pool, model: str) -> None:
    async with pool.lease(model) as lease:
        os.kill(lease.process.pid or 0, signal.SIGSTOP)  # so that it cannot be through before
        with lease.process.answering(ChatRequest("id"), (Span("Once"),), 4, lease.run) as answers:
            os.kill(lease.process.pid or 0, signal.SIGKILL)
            with pytest.raises(WorkerCrashed, match="while answering"):
                await answers.admitted()
    await until(lambda: pool.residents.get(model) is not lease.resident)


async def test_who_is_killed_for_memory_while_answering_comes_back_smaller_and_is_then_refused(
    store: Store, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tight(store, journal, tmp_path, monkeypatch) as (pool, kills):
        for lowered in ([], ["one"]):
            async with pool.lease("one"):
                assert events(journal, "model_lowered") == lowered
            kills.append(kills[-1] + 1)
            await kill_while_answering(pool, "one")

        refused = await failure_of(pool, "one")

        assert isinstance(refused, ModelTooLarge)
        assert refused.needed_bytes > refused.available_bytes


async def test_who_was_killed_by_somebody_else_comes_back_as_wished(
    store: Store, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tight(store, journal, tmp_path, monkeypatch) as (pool, _):
        for _ in range(3):
            await kill_while_answering(pool, "one")
        await use(pool, "one")

        assert events(journal, "model_lowered") == []


async def test_a_stop_counts_for_nothing(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        for _ in range(3):
            await use(pool, "one")
            pool.keep("one", 0)
            await until(lambda: "one" not in pool.residents)
        await use(pool, "one")
    assert events(journal, "model_quarantined") == []


async def test_another_file_under_the_same_name_starts_anew(
    store: Store, journal: Journal, tmp_path: Path, nano_file: Path
) -> None:
    async with opened(store, journal) as pool:
        for _ in range(2):
            await die(pool, "one", signal.SIGBUS)
        assert isinstance(await failure_of(pool, "one"), ModelQuarantined)

        (tmp_path / "one.gguf").unlink()
        (tmp_path / "one.gguf").write_bytes(nano_file.read_bytes() + bytes(32))

        case_of, file = pool.memory.quarantine.case_of, await asyncio.to_thread(store.find, "one")
        assert case_of("one") is not None
        assert case_of("one", identity_of(file)) is None, "it may be the default model again before anybody names it"
        await use(pool, "one")
        assert pool.memory.quarantine.cases == []


async def test_the_owner_may_release_a_model(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        for _ in range(2):
            await die(pool, "one", signal.SIGILL)
        pool.memory.quarantine.release("one")
        await use(pool, "one")


@pytest.fixture
def killer(store: Store, tmp_path: Path, nano_file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file whose vocabulary lacks the token of one byte: the engine ends its process where a text needs it.

    It stands for all that the validator does not know yet, so this is not looked for here.
    """
    monkeypatch.setattr(vocabulary, "_BY_BYTES", "no kind")
    (tmp_path / "killer.gguf").write_bytes(nano_file.read_bytes().replace(b"<0xF0>", b"<0xX0>"))
    assert store.find("killer").problem == ""
    return "killer"


async def answer(pool: Pool, model: str, text: str) -> None:
    async with pool.lease(model) as lease:
        request = ChatRequest("id", sampling=Sampling(temperature=0.0))
        with lease.process.answering(request, (Span(text),), 4, lease.run) as answers:
            await answers.admitted()
            async for _ in answers.events():
                pass


async def test_a_file_that_is_sound_and_ends_the_engine_is_quarantined(
    store: Store, journal: Journal, killer: str
) -> None:
    """G13."""
    async with opened(store, journal) as pool:
        for _ in range(2):
            with pytest.raises(WorkerCrashed, match="SIGABRT"):
                await answer(pool, killer, "\U0001f30a")

        assert isinstance(await failure_of(pool, killer), ModelQuarantined)
        await use(pool, "one")


async def test_who_would_not_wait_finds_the_model_in_the_place_of_an_idle_one(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal, times=slow_disk()) as pool:
        await holds(pool, 1, monkeypatch)
        await use(pool, "one")
        await until(lambda: pool.residents["one"].turn_s <= 0)

        assert isinstance(await failure_of(pool, "two", deadline_s=5.0), ModelLoading)

        await until(lambda: "two" in pool.residents and pool.residents["two"].state == "ready")
        assert "one" not in pool.residents


async def test_a_load_that_fails_is_not_begun_again_for_who_went_away(store: Store, journal: Journal) -> None:
    async with opened(store, journal, times=slow_disk()) as pool:
        assert isinstance(await failure_of(pool, "one", deadline_s=5.0), ModelLoading)
        await until(lambda: pool.residents["one"].process.pid is not None)
        os.kill(pool.residents["one"].process.pid or 0, signal.SIGABRT)
        await until(lambda: events(journal, "model_load_failed") == ["one"])

        pool._dispatch()

        assert "one" not in pool.residents
        assert events(journal, "model_loading") == ["one"]


async def test_a_worker_that_dies_in_the_moment_of_its_readiness_is_none(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its word that it is loaded and the end of what is learned from it."""
    learn = Loader._learn

    async def die_and_learn(loader: Loader, file: ModelFile, found: Fit, card: Loaded) -> Loaded:
        process = pool.residents["one"].process
        os.kill(process.pid or 0, signal.SIGABRT)
        await until(lambda: process.error is not None)
        return await learn(loader, file, found, card)

    async with opened(store, journal) as pool:
        monkeypatch.setattr(Loader, "_learn", die_and_learn)
        assert isinstance(await failure_of(pool, "one"), WorkerCrashed)
        assert "one" not in pool.residents

        monkeypatch.undo()
        await use(pool, "one")


async def test_who_comes_while_the_daemon_closes_is_refused(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        learn = pool.memory.learn

        async def close_meanwhile(model: str) -> None:
            await learn(model)
            pool.close(ShuttingDown("Closed."))

        monkeypatch.setattr(pool.memory, "learn", close_meanwhile)
        async with asyncio.timeout(5):
            assert isinstance(await failure_of(pool, "one"), ShuttingDown)


async def test_nobody_leaves_for_a_file_that_cannot_be_used(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, journal) as pool:
        await holds(pool, 1, monkeypatch)
        await use(pool, "one")
        assert isinstance(await failure_of(pool, "garbage"), ModelInvalid)
        assert pool.residents.keys() == {"one"}
        assert events(journal, "model_loading") == ["one"]


async def test_nobody_but_the_owner_sends_away_what_he_wants_in_memory(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("one")
        await use(pool, "one", "two")

        pool.keep("one", 0)
        pool.keep("two", 0)

        await until(lambda: "two" not in pool.residents)
        assert pool.residents["one"].state == "ready"
        pool.memory.forget("one")
        await until(lambda: "one" not in pool.residents)
