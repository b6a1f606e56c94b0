"""Models that the owner wants to be here come under the name by which they are wanted."""

from __future__ import annotations

import asyncio

import pytest

from edged.errors import Cancelled, InvalidRequest, ProviderUnavailable
from edged.pull.ensuring import fetch
from edged.store import Store
from tests.hub import Fault, Hub, model
from tests.pull.conftest import Bench


@pytest.fixture
def bench(hub: Hub, store: Store) -> Bench:
    hub.repositories["someone/Small-GGUF"] = {"small-Q4_0.gguf": model()}
    return Bench(hub, store, catalogue={"small": "hf.co/someone/Small-GGUF:Q4_0"}.get)


async def test_a_name_is_fetched_and_is_there_when_this_returns(bench: Bench) -> None:
    async with bench.pulls() as pulls:
        for name in ("small", "hf.co/someone/Small-GGUF"):
            await fetch(pulls, name)
            assert (await asyncio.to_thread(bench.store.find, name)).record


async def test_what_cannot_be_had_says_why(bench: Bench) -> None:
    async with bench.pulls() as pulls:
        with pytest.raises(ProviderUnavailable, match="nobody/nothing"):
            await fetch(pulls, "hf.co/nobody/nothing")
        with pytest.raises(InvalidRequest):
            await fetch(pulls, "no such name")


async def test_who_stops_waiting_ends_no_download_and_who_calls_it_off_does(bench: Bench) -> None:
    bench.hub.faults = [Fault(bytes_per_s=500_000)]
    async with bench.pulls() as pulls:
        first, second = (asyncio.ensure_future(fetch(pulls, "small")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        (progress,) = pulls.list()
        assert not progress.has_ended
        pulls.cancel(progress.id)
        with pytest.raises(Cancelled):
            await second
