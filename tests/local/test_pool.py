"""Who is granted, loaded and evicted: the decision as a table, then the pool with real workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import Engine, Limits
from edged.errors import EdgedError, ModelInvalid, ModelNotFound, QueueFull, ShuttingDown
from edged.host.memory import total_bytes
from edged.local.plan import Plan, Seat, Want, plan, predicted_wait_s
from edged.local.pool import Pool, snapshot_bytes
from edged.observe import Journal
from edged.store import Store
from edged.wire import Output, Step
from tests.fakes import until, workers

A, B, C = (Want(name, 1) for name in "abc")


def ready(free: int = 4, *, total: int = 4, used_s: float = 0.0) -> Seat:
    return Seat("ready", free, total, used_s)


LOADING, LEAVING = Seat("loading", 4, 4, 0.0), Seat("leaving", 4, 4, 0.0)


@pytest.mark.parametrize(
    ("line", "seats", "capacity", "expected"),
    [
        # Nobody wants anything.
        ([], {}, 1, Plan()),
        ([], {"a": ready()}, 1, Plan()),
        # Grants, as far as slots go, first come first served.
        ([A, A], {"a": ready()}, 1, Plan(grants=(0, 1))),
        ([A, A, A], {"a": ready(2)}, 1, Plan(grants=(0, 1))),
        ([A], {"a": ready(0)}, 1, Plan()),
        # Nobody overtakes somebody who waits for the same model, however little he needs.
        ([Want("a", 4), A], {"a": ready(3)}, 1, Plan()),
        ([A, Want("a", 4), A], {"a": ready(3)}, 1, Plan(grants=(0,))),
        # One model's line does not hold up another's.
        ([A, B], {"a": ready(0), "b": ready()}, 2, Plan(grants=(1,))),
        # Loading: once per model, within the capacity.
        ([A], {}, 1, Plan(loads=("a",))),
        ([A, A], {}, 1, Plan(loads=("a",))),
        ([A, B], {}, 2, Plan(loads=("a", "b"))),
        ([A], {"a": LOADING}, 1, Plan()),
        ([A, B], {}, 1, Plan(loads=("a",))),
        # A seat that is loading is not free, and not to be evicted.
        ([B], {"a": LOADING}, 1, Plan()),
        # Eviction: the least recently used idle one, never a busy one.
        ([B], {"a": ready()}, 1, Plan(evictions=("a",))),
        ([B], {"a": ready(3)}, 1, Plan()),
        ([C], {"a": ready(used_s=2), "b": ready(used_s=1)}, 2, Plan(evictions=("b",))),
        ([C], {"a": ready(used_s=2), "b": ready(3, used_s=1)}, 2, Plan(evictions=("a",))),
        # Who was granted just now is busy.
        ([A, B], {"a": ready()}, 1, Plan(grants=(0,))),
        # While nothing is idle, the line behind stands still, also for models that have room.
        ([B, A], {"a": ready(3)}, 1, Plan()),
        ([B, A], {"a": ready()}, 1, Plan(evictions=("a",))),
        # Somebody is already on the way out: one is enough.
        ([B], {"a": LEAVING}, 1, Plan()),
        ([C], {"a": LEAVING, "b": ready()}, 2, Plan()),
        # Nobody is granted a seat that is leaving; he waits until it is gone.
        ([A], {"a": LEAVING}, 1, Plan()),
    ],
)
def test_plan(line: list[Want], seats: dict[str, Seat], capacity: int, expected: Plan) -> None:
    assert plan(line, seats, capacity) == expected


wants = st.lists(st.builds(Want, st.sampled_from("abcd"), st.integers(1, 4)), max_size=8)
any_seat = st.builds(
    lambda state, free, used_s: Seat(state, free if state == "ready" else 4, 4, used_s),
    st.sampled_from(["ready", "ready", "loading", "leaving"]),
    st.integers(0, 4),
    st.floats(0, 100),
)
seat_maps = st.dictionaries(st.sampled_from("abcd"), any_seat, max_size=3)


@given(wants, seat_maps, st.integers(1, 3))
def test_a_plan_keeps_every_promise(line: list[Want], seats: dict[str, Seat], capacity: int) -> None:
    now = plan(line, seats, capacity)

    for model, seat in seats.items():
        granted = sum(line[index].slots for index in now.grants if line[index].model == model)
        assert granted <= (seat.free if seat.state == "ready" else 0)
        first_left = next((i for i, want in enumerate(line) if want.model == model and i not in now.grants), len(line))
        assert all(index < first_left for index in now.grants if line[index].model == model), "somebody was overtaken"
    assert {line[index].model for index in now.grants} <= set(seats)
    assert all(seats[model].is_idle for model in now.evictions)
    assert not set(now.evictions) & {line[index].model for index in now.grants}
    assert len(now.evictions) <= 1
    assert len(set(now.loads)) == len(now.loads)
    assert not set(now.loads) & set(seats)
    assert not now.loads or len(seats) + len(now.loads) <= capacity


@given(wants.filter(bool), st.dictionaries(st.sampled_from("abcd"), st.builds(ready), max_size=3), st.integers(1, 3))
def test_while_everything_is_idle_something_always_happens(
    line: list[Want], seats: dict[str, Seat], capacity: int
) -> None:
    now = plan(line, seats, capacity)

    assert now.grants or now.loads or now.evictions


@given(wants.filter(bool), st.integers(1, 3))
def test_a_line_is_served_to_its_end(line: list[Want], capacity: int) -> None:
    """Carries plans out as the pool does, every answer ending at once."""
    seats: dict[str, Seat] = {}
    waiting, served = list(line), list[Want]()
    for turn in range(10 * len(line)):
        now = plan(waiting, seats, capacity)
        served += [waiting[index] for index in now.grants]
        waiting = [want for index, want in enumerate(waiting) if index not in now.grants]
        for model in now.evictions:
            del seats[model]
        seats |= {model: ready(used_s=turn) for model in now.loads}
        assert len(seats) <= capacity
    assert waiting == []
    for name in "abcd":
        assert [want for want in served if want.model == name] == [want for want in line if want.model == name]


def test_the_predicted_wait_grows_with_the_line_and_shrinks_with_slots() -> None:
    assert predicted_wait_s(0, 4, 10) == 2.5
    assert predicted_wait_s(7, 4, 10) == 20
    assert predicted_wait_s(3, 0, 10) == 40


def test_conversations_outside_of_the_context_get_what_is_set_or_a_share_of_the_memory() -> None:
    assert snapshot_bytes(Engine(snapshot_bytes=1000)) == 1000
    assert snapshot_bytes(Engine(snapshot_bytes=1000, resident_models=2)) == 500
    assert 0 < snapshot_bytes(Engine()) <= total_bytes() / 16


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
async def held(pool: Pool, model: str, slots: int = 1) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Event]]:
    """Somebody who stands in line and keeps what is granted until the block ends; who waits then still, goes away."""
    granted, done = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with pool.lease(model, slots):
            granted.set()
            await done.wait()

    task = asyncio.create_task(use())
    try:
        yield task, granted
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
        async with held(pool, "two") as (_, granted):
            await until_queued(pool, 1)
            assert list(pool.residents) == ["one"]
            assert not granted.is_set()

            await first.aclose()

            await granted.wait()
            assert list(pool.residents) == ["two"]


async def test_who_waits_in_line_and_goes_away_gives_his_place_back(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one"), held(pool, "one") as (first, _), held(pool, "one") as (_, granted):
            await until_queued(pool, 2)
            first.cancel()
            await until_queued(pool, 1)
            assert not granted.is_set()
        assert pool.residents["one"].free == 1
        async with pool.lease("one"):
            pass


async def test_who_goes_away_in_the_moment_of_the_grant_gives_the_slots_back(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1) as pool:
        async with pool.lease("one"), held(pool, "one") as (waiting, granted):
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


async def test_a_line_that_is_too_slow_is_refused(store: Store, journal: Journal) -> None:
    async with opened(store, journal, sequences=1, queue_s=15.0) as pool, pool.lease("one"), held(pool, "one"):
        await until_queued(pool, 1)
        with pytest.raises(QueueFull, match=r"more than 15 s is refused"):
            async with pool.lease("one"):
                raise AssertionError("nobody should get in")


async def failure_of(pool: Pool, model: str) -> EdgedError:
    try:
        async with pool.lease(model):
            raise AssertionError("nobody should get in")
    except EdgedError as error:
        return error


async def test_a_load_that_fails_reaches_everybody_who_waits_for_it(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        failures = await asyncio.gather(*[failure_of(pool, "garbage") for _ in range(3)])

        assert [type(failure) for failure in failures] == [ModelInvalid] * 3
        assert "garbage" in str(failures[0])
        assert pool.residents == {}
        assert pool.failure is None  # somebody's broken file says nothing about the other models


async def test_a_model_that_is_not_there_is_not_found(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        assert isinstance(await failure_of(pool, "nobody"), ModelNotFound)


async def test_a_failed_load_does_not_hold_up_those_behind_it(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        failing = asyncio.create_task(failure_of(pool, "garbage"))
        await until_queued(pool, 1)
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
        assert pool.warming is pool.residents["one"]
        async with pool.lease("one") as lease:
            assert [lease.resident.state, pool.warming] == ["ready", None]
    assert [event for event, _ in events(journal)].count("model_loading") == 1


async def test_a_warmed_model_that_fails_is_remembered_until_another_loads(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        pool.warm("garbage")
        await until(lambda: pool.warming is None)
        assert isinstance(pool.failure, ModelInvalid)
        async with pool.lease("one"):
            assert pool.failure is None


async def test_an_impatient_client_does_not_stop_the_load(store: Store, journal: Journal) -> None:
    async with opened(store, journal) as pool:
        async with held(pool, "one") as (impatient, _):
            await until_queued(pool, 1)
            impatient.cancel()
        resident = pool.residents["one"]
        async with pool.lease("one") as lease:
            assert lease.resident is resident
