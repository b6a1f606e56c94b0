"""The pool with real workers: who is granted, who waits, who is refused, and what is left when it is closed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from edged.chat import Lane
from edged.config import Engine, Limits
from edged.errors import (
    EdgedError,
    ModelInvalid,
    ModelNotFound,
    PredictedTimeout,
    QueueFull,
    RateLimited,
    ShuttingDown,
)
from edged.local.pool import Pool
from edged.local.predict import Effort
from edged.local.share import Path
from edged.observe import Journal
from edged.store import Store
from edged.wire import Output, Step
from tests.fakes import until, workers


@pytest.fixture
def journal() -> Journal:
    return Journal()


@asynccontextmanager
async def opened(
    store: Store,
    journal: Journal,
    *,
    sequences: int = 2,
    resident_models: int = 1,
    queue_requests: int = 8,
    queue_s: float = 3600.0,
) -> AsyncIterator[Pool]:
    engine = Engine(context_tokens=64, sequences=sequences, threads=1, gpu_layers=0, resident_models=resident_models)
    limits = Limits(queue_requests=queue_requests, queue_s=queue_s)
    async with Pool(store, engine, limits, journal.tell) as pool:
        yield pool


@asynccontextmanager
async def held(
    pool: Pool, model: str, slots: int = 1, *, caller: Path = (), deadline_s: float | None = None
) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Event, asyncio.Event]]:
    """Somebody who stands in line and keeps what is granted until told or the block ends; who waits then, goes away."""
    granted, done = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with pool.lease(model, slots, caller=caller, deadline_s=deadline_s):
            granted.set()
            await done.wait()

    task = asyncio.create_task(use())
    try:
        yield task, granted, done
    finally:
        done.set()
        if not granted.is_set():
            task.cancel()
        await asyncio.wait([task])


def events(journal: Journal) -> list[tuple[str, object]]:
    return [(happening.event, happening.facts.get("model")) for happening in journal.happenings]


async def until_queued(pool: Pool, many: int) -> None:
    await until(lambda: pool.queued == many)


async def test_a_lease_is_given_back_whatever_happened_inside(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        async with pool.lease("one", 2) as lease:
            assert (lease.process.name, lease.resident.free) == ("one", 0)
        assert pool.residents["one"].free == 2

        with pytest.raises(ZeroDivisionError):
            async with pool.lease("one"):
                raise ZeroDivisionError
        assert pool.residents["one"].free == 2


async def test_leaving_the_pool_leaves_no_process(store: Store, journal: Journal) -> None:
    async with opened(store, journal, resident_models=2) as pool:
        for model in ("one", "two"):
            async with pool.lease(model) as lease:
                await lease.renderer.start()
        assert len(workers()) == 4

    assert workers() == []


async def test_leaving_the_pool_in_the_middle_of_a_load_leaves_no_process(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("one")
        await until(lambda: pool.residents["one"].process.pid is not None)

    assert workers() == []


async def test_an_error_that_ends_the_pool_is_the_one_that_is_told_and_leaves_no_process(
    store: Store, journal: Journal
) -> None:
    async def fail(_model: str) -> None:
        raise ZeroDivisionError

    async with AsyncExitStack() as life:
        pool = await life.enter_async_context(opened(store, journal, resident_models=2))
        for model in ("one", "two"):
            async with pool.lease(model):
                pass
        pool.ensure(("nobody",), fail)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(60)
        with pytest.raises(ExceptionGroup) as ended:
            await life.aclose()

    assert ended.value.subgroup(ZeroDivisionError), ended.value
    assert workers() == []


async def test_another_model_evicts_the_idle_one(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        async with pool.lease("one"):
            pass
        async with pool.lease("two"):
            assert list(pool.residents) == ["two"]

    assert ("model_evicted", "one") in events(journal)
    assert ("worker_died", "one") not in events(journal)


async def test_a_busy_model_is_waited_for(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool, AsyncExitStack() as first:
        await first.enter_async_context(pool.lease("one"))
        async with held(pool, "two") as (_, granted, _):
            await until_queued(pool, 1)
            assert list(pool.residents) == ["one"]
            assert not granted.is_set()

            await first.aclose()

            await granted.wait()
            assert list(pool.residents) == ["two"]


async def test_who_waits_in_line_and_goes_away_gives_his_place_back(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one"), held(pool, "one") as (first, _, _), held(pool, "one") as (_, granted, _):
            await until_queued(pool, 2)
            first.cancel()
            await until_queued(pool, 1)
            assert not granted.is_set()
        assert pool.residents["one"].free == 1
        async with pool.lease("one"):
            pass


async def test_who_goes_away_in_the_moment_of_the_grant_gives_the_slots_back(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one"), held(pool, "one") as (waiting, granted, _):
            await until_queued(pool, 1)
            lease_of_the_first = pool.residents["one"]
            # Granted, but not yet awake: the dispatch that a leaving lease does, and the cancellation, in one breath.
            lease_of_the_first.free += 1
            pool._dispatch()
            assert pool.queued == 0
            waiting.cancel()
            await asyncio.wait([waiting])
            lease_of_the_first.free -= 1
            assert not granted.is_set()
        assert pool.residents["one"].free == 1


async def test_a_full_line_is_refused_with_when_to_come_back(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1, queue_requests=1) as pool, pool.lease("one"), held(pool, "one"):
        await until_queued(pool, 1)
        with pytest.raises(QueueFull, match=r"1 requests wait already.*queue_requests") as refused:
            async with pool.lease("one"):
                raise AssertionError("nobody should get in")

        assert refused.value.retry_after_s >= 1
        assert pool.queued == 1


async def test_what_workers_did_is_remembered_when_they_are_gone(store: Store, journal: Journal) -> None:
    """A counter that falls looks like a restart to Prometheus, and every rate over it jumps."""
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one") as lease:
            lease.process.work.add(Step((Output(1, "word", 3),), 20, 0.5, 0.4, 0.1))
        async with pool.lease("two"):
            assert list(pool.residents) == ["two"]
            assert (pool.work.completion_tokens, pool.work.prompt_tokens, pool.work.steps) == (3, 20, 1)


def slow(pool: Pool, *, step_s: float = 1.0, answer_tokens: int = 20) -> None:
    """As if the worker had been seen to take `step_s` for every step."""
    speed = pool.residents["one"].process.outlook.speed
    for _ in range(3):
        speed.note_step(0, 8, 32, step_s)
        speed.note_step(1, 0, 0, step_s)
        speed.note_answer(answer_tokens)


LONG = Effort(prompt_tokens=8, answer_tokens=1000)


async def test_a_line_that_is_too_slow_is_refused(store: Store, journal: Journal) -> None:
    async with (
        opened(store, journal, sequences=1, queue_s=15.0) as pool,
        pool.lease("one", effort=LONG),
        held(pool, "one"),
    ):
        await until_queued(pool, 1)
        slow(pool)
        with pytest.raises(QueueFull, match=r"more than 15 s is refused") as refused:
            async with pool.lease("one", effort=LONG):
                raise AssertionError("nobody should get in")

        assert 15 < refused.value.retry_after_s < 60


async def test_who_would_wait_too_long_for_his_first_word_is_told_at_once(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool, pool.lease("one", effort=LONG):
        slow(pool)
        with pytest.raises(PredictedTimeout, match="would wait 5 s at most") as refused:
            async with pool.lease("one", effort=LONG, deadline_s=5.0):
                raise AssertionError("nobody should get in")
        assert refused.value.retry_after_s > 5
        assert pool.queued == 0

        async with held(pool, "one", deadline_s=100.0):
            await until_queued(pool, 1)


async def test_before_anything_was_measured_nobody_is_refused_for_a_guess(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool, pool.lease("one", effort=LONG, deadline_s=60.0) as lease:
        assert not lease.forecast.is_measured


async def test_a_turn_that_does_not_come_in_time_is_told(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool, pool.lease("one"):
        with pytest.raises(PredictedTimeout, match=r"within the 0\.01 s"):
            async with pool.lease("one", deadline_s=0.01):
                raise AssertionError("nobody should get in")
        assert pool.queued == 0


async def test_one_request_does_not_wait_behind_twenty(store: Store, journal: Journal) -> None:
    """Twenty of one caller's hold or await all slots; the other's only one is next."""
    async with opened(store, journal, sequences=2, queue_requests=32) as pool, AsyncExitStack() as stack:
        first = await stack.enter_async_context(held(pool, "one", caller=("open", "flood")))
        await first[1].wait()
        for _ in range(19):
            await stack.enter_async_context(held(pool, "one", caller=("open", "flood")))
        await until_queued(pool, 18)
        async with held(pool, "one", caller=("open", "one")) as (_, granted, _):
            await until_queued(pool, 19)
            first[2].set()
            await granted.wait()
            assert pool.queued == 18


async def test_a_full_line_of_one_caller_gives_a_place_to_another(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1, queue_requests=3) as pool, AsyncExitStack() as stack:
        _, granted, _ = await stack.enter_async_context(held(pool, "one", caller=("open", "flood")))
        await granted.wait()
        flood = [asyncio.create_task(failure_of(pool, "one", caller=("open", "flood"))) for _ in range(3)]
        await until_queued(pool, 3)
        async with held(pool, "one", caller=("open", "other")):
            done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
            (sent_away,) = [task.result() for task in done]
            assert isinstance(sent_away, RateLimited)
            assert sent_away.retry_after_s >= 1
            assert pool.queued == 3
        for task in flood:
            task.cancel()
        await asyncio.wait(flood)


async def test_the_background_gives_its_place_in_a_full_line_to_a_person(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1, queue_requests=1) as pool, pool.lease("one"):
        waiting = asyncio.create_task(failure_of(pool, "one", lane="background"))
        await until(lambda: pool.queued_in("background") == 1)
        async with held(pool, "one"):
            assert isinstance(await waiting, QueueFull)
            assert (pool.queued_in("background"), pool.queued_in("interactive")) == (0, 1)


async def failure_of(pool: Pool, model: str, *, lane: Lane = "interactive", caller: Path = ()) -> EdgedError:
    try:
        async with pool.lease(model, lane=lane, caller=caller):
            raise AssertionError("nobody should get in")
    except EdgedError as error:
        return error


async def test_a_load_that_fails_reaches_everybody_who_waits_for_it(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        failures = await asyncio.gather(*[failure_of(pool, "garbage") for _ in range(3)])

        assert [type(failure) for failure in failures] == [ModelInvalid] * 3
        assert "garbage" in str(failures[0])
        assert pool.residents == {}
        assert pool.memory.failure is None  # somebody's broken file says nothing about the other models


async def test_a_model_that_is_not_there_is_not_found(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        assert isinstance(await failure_of(pool, "nobody"), ModelNotFound)


async def test_a_failed_load_does_not_hold_up_those_behind_it(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        failing = asyncio.create_task(failure_of(pool, "garbage"))
        async with pool.lease("one") as lease:
            assert lease.process.name == "one"
        assert isinstance(await failing, ModelInvalid)


async def test_a_worker_that_dies_is_replaced_on_demand(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        async with pool.lease("one") as lease:
            first = lease.process.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: "one" not in pool.residents)
        async with pool.lease("one") as lease:
            assert lease.process.pid not in (None, first)
            assert lease.resident.free == 1

    assert [event for event, _ in events(journal)].count("worker_died") == 1


async def test_a_lease_of_a_dead_worker_returns_nothing_to_its_successor(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=2) as pool:
        async with pool.lease("one", 2) as lease:
            assert lease.process.pid is not None
            os.kill(lease.process.pid, signal.SIGKILL)
            await until(lambda: "one" not in pool.residents)
            async with pool.lease("one", 2):
                assert pool.residents["one"].free == 0
        assert pool.residents["one"].free == 2


async def test_closing_refuses_newcomers_and_the_line_and_lets_the_rest_go_on(store: Store, journal: Journal) -> None:
    leaving = ShuttingDown("on my way out", retry_after_s=30)
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one") as lease:
            waiting = asyncio.create_task(failure_of(pool, "one"))
            await until_queued(pool, 1)
            pool.close(leaving)
            assert await waiting is leaving
            assert await failure_of(pool, "one") is leaving
            assert lease.process.card is not None
        assert pool.closed is leaving


async def test_a_warmed_model_is_there_before_anybody_asks(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("one")
        assert pool.memory.warming is pool.residents["one"]
        async with pool.lease("one") as lease:
            assert [lease.resident.state, pool.memory.warming] == ["ready", None]
    assert [event for event, _ in events(journal)].count("model_loading") == 1


async def test_a_warmed_model_that_fails_is_remembered_until_another_loads(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("garbage")
        await until(lambda: pool.memory.warming is None)
        assert isinstance(pool.memory.failure, ModelInvalid)
        async with pool.lease("one"):
            assert pool.memory.failure is None


async def test_an_impatient_client_does_not_stop_the_load(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        async with held(pool, "one") as (impatient, _, _):
            await until_queued(pool, 1)
            impatient.cancel()
        resident = pool.residents["one"]
        async with pool.lease("one") as lease:
            assert lease.resident is resident


async def test_a_guest_needs_no_free_sequence_and_keeps_the_model_in_memory(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool, pool.lease("one") as chat:
        async with pool.lease("one", slots=0) as guest:
            assert guest.resident is chat.resident
            assert (guest.resident.free, guest.resident.guests) == (0, 1)
            assert not guest.resident.seat.is_idle
        assert chat.resident.guests == 0


@pytest.mark.parametrize("when", ["while it is loaded", "while it is used", "while it is idle"])
async def test_a_model_leaves_when_nobody_has_used_it_for_as_long_as_was_said(
    when: str, store: Store, journal: Journal
) -> None:
    async with opened(store, journal) as pool:
        if when == "while it is loaded":
            pool.memory.begin("one")
            pool.keep("one", 0)
        else:
            async with pool.lease("one"):
                if when == "while it is used":
                    pool.keep("one", 0.05)
                    await asyncio.sleep(0.1)
                    assert pool.residents["one"].state == "ready"
            pool.keep("one", 0 if when == "while it is idle" else None)
        await until(lambda: "one" not in pool.residents)
        assert [happened.event for happened in journal.happenings].count("model_unloaded") == 1
        async with pool.lease("one") as lease:
            assert pool.memory.leaves_s("one") is None
            pool.keep("one", 3600)
            assert 3590 < (pool.memory.leaves_s("one") or 0) - time.time() <= 3600
            assert lease.resident.state == "ready"
