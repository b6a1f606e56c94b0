"""Who answers at the same time shares the cores: the division as a table and as properties, and with real workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import ChatRequest
from edged.config import Engine, Limits
from edged.local.cores import Doing, divide
from edged.local.pool import Pool
from edged.observe import Journal
from edged.sampling import Sampling
from edged.store import Store
from edged.template_wire import Span
from edged.wire import Frame, Step
from tests.fakes import until


@pytest.mark.parametrize(
    ("cores", "workers", "most_each", "shares"),
    [
        (4, {}, None, {}),
        (4, {"a": "interactive"}, None, {"a": 4}),
        (4, {"a": "background"}, None, {"a": 4}),
        (4, {"a": "interactive", "b": "interactive"}, None, {"a": 2, "b": 2}),
        (2, {"a": "interactive", "b": "interactive"}, None, {"a": 1, "b": 1}),
        (4, {"a": "interactive", "b": "interactive", "c": "interactive"}, None, {"a": 2, "b": 1, "c": 1}),
        # People before errands, which keep one.
        (4, {"a": "background", "b": "interactive"}, None, {"a": 1, "b": 3}),
        (4, {"a": "background", "b": "background"}, None, {"a": 2, "b": 2}),
        # More of them than cores: one each.
        (2, {"a": "interactive", "b": "background", "c": "interactive"}, None, {"a": 1, "b": 1, "c": 1}),
        # The owner's bound for one model; what it leaves goes to the others.
        (8, {"a": "interactive", "b": "background"}, 3, {"a": 3, "b": 3}),
        # What nobody needs goes to one of the idle, and first to one that has its steps yet to measure.
        (4, {"a": "nothing", "b": "nothing"}, None, {"a": 4, "b": 0}),
        (4, {"a": "nothing", "b": "measuring", "c": "measuring"}, None, {"a": 0, "b": 4, "c": 0}),
        (4, {"a": "interactive", "b": "measuring"}, None, {"a": 4, "b": 0}),
        (4, {"a": "interactive", "b": "measuring"}, 3, {"a": 3, "b": 1}),
    ],
)
def test_divide(cores: int, workers: dict[str, Doing], most_each: int | None, shares: dict[str, int]) -> None:
    assert divide(cores, workers, most_each) == shares


doings: st.SearchStrategy[Doing] = st.sampled_from(["interactive", "background", "measuring", "nothing"])


@given(st.integers(1, 16), st.dictionaries(st.sampled_from("abcdef"), doings), st.none() | st.integers(1, 8))
def test_a_division_keeps_every_promise(cores: int, workers: dict[str, Doing], most_each: int | None) -> None:
    shares = divide(cores, workers, most_each)

    busy = [name for name, doing in workers.items() if doing in ("interactive", "background")]
    people = [name for name in busy if workers[name] == "interactive"]
    assert shares.keys() == workers.keys()
    assert sum(shares.values()) <= max(cores, len(busy))
    assert all(shares[name] >= 1 for name in busy)
    assert all(share <= min(cores, most_each or cores) for share in shares.values())
    if people:
        assert max(shares[name] for name in people) - min(shares[name] for name in people) <= 1
        assert all(shares[name] <= min(shares[other] for other in people) for name in busy if name not in people) or (
            most_each is not None
        )
    if len(busy) == len(workers) and busy and most_each is None:
        assert sum(shares.values()) == max(cores, len(busy)), "a core is left to nobody"


LONG = (Span("<|user|>\nWhich way to the harbour?<|end|>\n<|assistant|>\n"),)


async def test_two_that_answer_at_once_have_cores_of_their_own_from_their_next_step_on(
    store: Store, nano_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker tells with every step how many threads it ran on; one step may have been under way."""
    monkeypatch.setattr("edged.host.cpu.usable_cores", lambda: 4)
    engine = Engine(context_tokens=2048, sequences=2, gpu_layers=0, follow_neighbours=False, lookup=False)
    async with Pool(store, engine, Limits(), Journal().tell) as pool:
        steps: list[tuple[str, int]] = []

        async def answer(model: str, begun: asyncio.Event, tokens: int) -> None:
            async with pool.lease(model) as lease:
                hear = lease.process._hear

                def note(frame: Frame) -> None:
                    if isinstance(frame, Step):
                        steps.append((model, frame.threads))
                    hear(frame)

                child = lease.process._child
                assert child is not None
                child._on_frame = note
                request = ChatRequest("id", sampling=Sampling(temperature=0.0))
                with lease.process.answering(request, LONG, tokens, lease.run) as answers:
                    await answers.admitted()
                    begun.set()
                    async for _ in answers.events():
                        pass

        await answer("one", asyncio.Event(), 4)
        assert {threads for _, threads in steps} == {4}, "who is alone has all"

        steps.clear()
        first, second = asyncio.Event(), asyncio.Event()
        async with pool.lease("two"):
            pass  # is loaded before the race
        long = asyncio.create_task(answer("one", first, 1500))
        await first.wait()
        short = asyncio.create_task(answer("two", second, 200))
        await second.wait()
        divided_from = len(steps)
        await short
        divided_to = len(steps)
        await long

        together = steps[divided_from:divided_to]
        of_one = [threads for model, threads in together if model == "one"]
        assert len(of_one) > 2, "both ran at the same time"
        assert set(of_one[2:]) == {2}, "but for what was under way"
        assert {threads for model, threads in steps if model == "two"} == {2}
        assert steps[-1] == ("one", 4), "alone again"


async def test_a_worker_that_has_answered_does_not_spin(store: Store) -> None:
    """A thread that waits by spinning is never seen asleep."""
    engine = Engine(context_tokens=256, sequences=2, gpu_layers=0, threads=2)
    async with Pool(store, engine, Limits(), Journal().tell) as pool, pool.lease("one") as lease:
        request = ChatRequest("id", sampling=Sampling(temperature=0.0))
        with lease.process.answering(request, LONG, 20, lease.run) as answers:
            await answers.admitted()
            async for _ in answers.events():
                pass
        worker = psutil.Process(lease.process.pid)
        await until(lambda: all(_sleeps(worker.pid, thread.id) for thread in worker.threads()))


def _sleeps(process: int, thread: int) -> bool:
    return Path(f"/proc/{process}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "S"
