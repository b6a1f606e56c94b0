"""What a key has used is counted, and is still known after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from edged.access import meter as module
from edged.access.people import Key, Quota
from edged.access.quota import Used
from edged.completion import Admission
from edged.errors import RateLimited
from edged.observe import Exchange
from tests.access.home import Home


async def key(box: Home, quota: Quota) -> Key:
    made, _issued = await box.access.add_key("script", frozenset({"chat"}), None, quota, "cloud")
    return made


def ended(account: str, tokens: int) -> Exchange:
    exchange = Exchange("a", "openai", account, None, admission=ADMISSION)
    exchange.completion_tokens = tokens
    return exchange


def heard(box: Home, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once the register was asked to keep what was used, with or without success."""
    event, loop, put = asyncio.Event(), asyncio.get_running_loop(), box.register.put_used

    def listened(used: Mapping[str, Used]) -> None:
        try:
            put(used)
        finally:
            loop.call_soon_threadsafe(event.set)

    monkeypatch.setattr(box.register, "put_used", listened)
    return event


ADMISSION = Admission("tiny", "local", 7)


async def test_requests_and_tokens_count_and_survive_a_restart(box: Home) -> None:
    async with box.access.keeping() as access:
        made = await key(box, Quota(requests_per_day=2, tokens_per_day=1000))
        for tokens in (3, 5):
            access.meter.admit(made)
            access.meter.on_end(ended(made.id, tokens))
        with pytest.raises(RateLimited, match="2 requests a day"):
            access.meter.admit(made)
    again = await box.started_again()

    assert (again.meter.used(made.id).requests, again.meter.used(made.id).tokens) == (2, 3 + 5 + 2 * 7)
    with pytest.raises(RateLimited):
        again.meter.admit(made)


async def test_without_a_quota_and_of_strangers_nothing_is_counted(box: Home) -> None:
    async with box.access.keeping() as access:
        made = await key(box, Quota())
        access.meter.admit(made)
        for account in (made.id, "open", "somebody"):
            access.meter.on_end(ended(account, 5))
            assert access.meter.used(account).tokens == 0


async def test_it_is_written_down_now_and_then_and_not_only_at_the_end(
    box: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_S", 0.01)
    written = heard(box, monkeypatch)
    async with box.access.keeping() as access:
        made = await key(box, Quota(requests_per_day=9))
        access.meter.admit(made)
        await asyncio.wait_for(written.wait(), 10)
        assert (await box.started_again()).meter.used(made.id).requests == 1


async def test_a_key_that_is_revoked_while_it_is_used_leaves_nothing_behind(box: Home) -> None:
    async with box.access.keeping() as access:
        made = await key(box, Quota(tokens_per_day=9))
        access.meter.admit(made)
        await access.revoke_key(made.id)
        access.meter.on_end(ended(made.id, 5))
        assert access.meter.used(made.id).requests == 0
    assert (await asyncio.to_thread(box.register.read)).used == {}


async def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(
    box: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SAVE_S", 0.01)
    tried = heard(box, monkeypatch)
    async with box.access.keeping() as access:
        made = await key(box, Quota(requests_per_day=9))
        box.disk.full(True)
        access.meter.admit(made)
        await asyncio.wait_for(tried.wait(), 10)
        box.disk.full(False)
    assert "not on the disk" in caplog.text
    assert (await box.started_again()).meter.used(made.id).requests == 1
