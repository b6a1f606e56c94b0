"""An answer outlives its connection where that was asked for, belongs to who asked, and can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edged.api import replay
from edged.api import stream as streaming
from edged.api.replay import TAPE_BYTES, Stops, Tape, Tapes, conversation_of
from edged.completion import Delta, Finish
from edged.errors import Cancelled, InvalidRequest, NotFound, QueueFull, WorkerCrashed
from tests.api.test_server import ASKED, CHAT, WORDS, data_lines, serving

MINE = {"X-Conversation-Id": "mine"}
STREAMED = {**ASKED, "stream": True}


def tape(id: str = "r") -> Tape:
    return Tape(id, "text/event-stream", lambda error: str(error).encode())


async def read(tape: Tape, offset: int = 0) -> bytes:
    return b"".join([data async for data in tape.read(offset)])


async def test_a_tape_is_read_while_it_is_written_and_by_several() -> None:
    written = tape()
    readers = [asyncio.create_task(read(written, offset)) for offset in (0, 0)]
    await asyncio.sleep(0)
    for piece in (b"one ", b"two ", b"three"):
        await written.write(piece)
        await asyncio.sleep(0)
    late = asyncio.create_task(read(written, 4))
    written.end()

    assert [await reader for reader in readers] == [b"one two three"] * 2
    assert await late == b"two three"
    assert await read(written, 13) == b""


async def test_what_is_too_long_ago_is_refused_with_what_there_is() -> None:
    written = tape()
    await written.write(b"x" * TAPE_BYTES)
    await written.write(b"last")
    written.end()

    assert await read(written, 4) == b"x" * (TAPE_BYTES - 4) + b"last"
    with pytest.raises(InvalidRequest, match=f"Bytes 4 to {TAPE_BYTES + 4}.*byte 3"):
        await read(written, 3)
    with pytest.raises(InvalidRequest, match="not there"):
        written.check(TAPE_BYTES + 5)


async def test_a_reader_that_is_overtaken_is_told() -> None:
    written = tape()
    await written.write(b"a")
    reading = written.read(0)
    assert await anext(reading) == b"a"
    await written.write(b"b" * TAPE_BYTES + b"c" * 5)

    with pytest.raises(InvalidRequest):
        await anext(reading)


def writing(*pieces: bytes, then: asyncio.Event | None = None) -> Callable[[Tape], Awaitable[None]]:
    async def perform(tape: Tape) -> None:
        tape.open({})
        for piece in pieces:
            await tape.write(piece)
        if then is not None:
            await then.wait()

    return perform


async def test_what_ended_is_forgotten_after_a_while_and_the_oldest_first_where_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tapes = Tapes(Stops())
    monkeypatch.setattr(replay, "_ALL_BYTES", 2 * replay._LEAST_BYTES + 25)
    for id in ("a", "b", "c"):
        tapes.record(("open", id), written := tape(), writing(b"x" * 10))
        await read(written)
        await asyncio.sleep(0.01)

    assert [found["conversation_id"] for found in tapes.status("open", ["a", "b", "c"])] == ["b", "c"]
    monkeypatch.setattr(replay, "KEPT_S", 0.0)
    assert tapes.status("open", ["b", "c"]) == []
    await tapes.aclose()


async def test_others_find_nothing() -> None:
    tapes = Tapes(Stops())
    tapes.record(("ada", "talk"), tape(), writing(then=asyncio.Event()))

    with pytest.raises(NotFound, match="talk"):
        tapes.find(("bob", "talk"))
    assert tapes.status("bob", ["talk"]) == []
    assert not tapes.find(("ada", "talk")).ended_s
    await tapes.aclose()
    with pytest.raises(NotFound):
        tapes.find(("ada", "talk"))


async def test_a_stop_ends_the_block_of_that_account_only() -> None:
    stops, began = Stops(), asyncio.Event()

    async def work() -> None:
        async with stops.stoppable("r", "ada"):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    with pytest.raises(NotFound):
        stops.stop("r", "bob")
    stops.stop("r", "ada")
    with pytest.raises(NotFound):
        stops.stop("r", "ada")
    with pytest.raises(Cancelled):
        await task


async def test_a_timeout_of_the_work_itself_is_no_stop() -> None:
    with pytest.raises(TimeoutError):
        async with Stops().stoppable("r", "ada"):
            raise TimeoutError


@pytest.mark.parametrize("id", ["", "x" * 257])
def test_a_conversation_has_a_name_of_some_length(id: str) -> None:
    with pytest.raises(InvalidRequest, match="X-Conversation-Id"):
        conversation_of({"X-Conversation-Id": id})


async def test_whoever_comes_back_reads_on_where_he_was(tmp_path: Path) -> None:
    more = asyncio.Event()
    async with serving(tmp_path, Delta(0, "Hel"), more, Delta(0, "lo"), Finish(0, "stop", 2)) as box:
        async with box.client.post(CHAT, json=STREAMED, headers=MINE) as response:
            assert response.headers["X-Edged-Served-By"] == "local"
            request_id = response.headers["X-Edged-Request-Id"]
            first = await response.content.readany()
            while b"Hel" not in first:
                first += await response.content.readany()
        # The phone is gone; the answer goes on.
        assert not box.backend.closed.is_set()
        more.set()
        await box.backend.closed.wait()

        async with box.client.get("/v1/stream", params={"conv_id": "mine", "from": len(first)}) as response:
            assert response.headers["X-Edged-Request-Id"] == request_id
            rest = await response.text()
        assert rest.endswith("data: [DONE]\n\n")
        words = [chunk["choices"][0]["delta"].get("content", "") for chunk in data_lines(first.decode() + rest)]
        assert "".join(words) == "Hello"

        async with box.client.post("/v1/streams/lookup", json={"conversation_ids": ["mine", "other"]}) as response:
            (found,) = await response.json()
        assert (found["conversation_id"], found["is_done"], found["total_bytes"]) == (
            "mine", True, len(first) + len(rest.encode()),
        )  # fmt: skip


async def test_without_the_header_an_answer_ends_with_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, Delta(0, "Hel"), asyncio.Event()) as box:
        async with box.client.post(CHAT, json=STREAMED) as response:
            await response.content.readany()
        await box.backend.closed.wait()
        async with box.client.get("/v1/stream", params={"conv_id": "mine"}) as response:
            assert response.status == 404


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("is_begun", [True, False])
async def test_an_answer_can_be_stopped_from_elsewhere(is_kept: bool, is_begun: bool, tmp_path: Path) -> None:
    steps: tuple[Any, ...] = (Delta(0, "Hel"), asyncio.Event()) if is_begun else (asyncio.Event(),)
    async with (
        serving(tmp_path, *steps, hold_status_s=0.01) as box,
        box.client.post(CHAT, json=STREAMED, headers=MINE if is_kept else {}) as response,
    ):
        path = "/v1/stream?conv_id=mine" if is_kept else f"/edged/v1/requests/{response.headers['X-Edged-Request-Id']}"
        async with box.client.delete(path) as stopped:
            assert stopped.status == 204

        text = await response.text()

        assert data_lines(text)[-1]["error"]["code"] == "cancelled"
        assert "[DONE]" not in text
        await box.backend.closed.wait()
        assert box.journal.running == 0
        async with box.client.delete(path) as stopped:
            assert stopped.status == (204 if is_kept else 404)


async def test_an_answer_that_is_not_streamed_can_be_stopped_too(tmp_path: Path) -> None:
    async with serving(tmp_path, asyncio.Event()) as box:
        asking = asyncio.create_task(box.ask())
        await box.backend.asked.wait()
        (exchange,) = box.journal.exchanges
        async with box.client.delete(f"/edged/v1/requests/{exchange.id}") as stopped:
            assert stopped.status == 204

        status, _, body = await asking

        assert (status, body["error"]["code"]) == (499, "cancelled")


async def test_a_new_answer_in_a_conversation_stops_the_one_before(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, Delta(0, "Hel"), asyncio.Event()) as box,
        box.client.post(CHAT, json=STREAMED, headers=MINE) as first,
    ):
        await first.content.readany()
        async with box.client.post(CHAT, json=STREAMED, headers=MINE):
            assert data_lines(await first.text())[-1]["error"]["code"] == "cancelled"


@pytest.mark.parametrize(("error", "status"), [(QueueFull("Full."), 503), (WorkerCrashed("It died."), 503)])
async def test_what_fails_before_the_first_word_is_a_status_here_too(
    error: Exception, status: int, tmp_path: Path
) -> None:
    steps: tuple[Any, ...] = WORDS if isinstance(error, QueueFull) else (error,)
    script: dict[str, Any] = {"admission": error} if isinstance(error, QueueFull) else {}
    async with serving(tmp_path, *steps, **script) as box:
        for _ in range(2):
            async with box.client.post(CHAT, json=STREAMED, headers=MINE) as response:
                assert response.status == status
            async with box.client.get("/v1/stream", params={"conv_id": "mine"}) as response:
                assert response.status == status


@pytest.mark.parametrize(
    "query", ["", "?conv_id=", "?conv_id=mine&from=-1", "?conv_id=mine&from=x", "?conv_id=mine&from=9999999999999"]
)
async def test_a_wrong_question_for_a_stream_is_refused(query: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as box, box.client.get(f"/v1/stream{query}") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_request")


async def test_who_waits_for_the_first_word_hears_that_it_is_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HEARTBEAT_S", 0.01)
    ready = asyncio.Event()
    async with (
        serving(tmp_path, ready, *WORDS, hold_status_s=0.01) as box,
        box.client.post(CHAT, json=STREAMED, headers=MINE) as response,
    ):
        assert response.headers["X-Edged-Served-By"] == "pending"
        assert await response.content.readuntil(b"\n\n") == b": still working\n\n"
        ready.set()
        assert (await response.text()).endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("headers", [MINE, {}])
async def test_what_nobody_foresaw_is_told_in_the_stream(
    headers: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        """No event that there is."""

        choice = 0

    async with (
        serving(tmp_path, Delta(0, "Hel"), Broken()) as box,
        box.client.post(CHAT, json=STREAMED, headers=headers) as response,
    ):
        text = await response.text()

        assert data_lines(text)[-1]["error"]["code"] == "internal"
        assert "HTTP/1.1" not in text
        assert any(record.exc_info for record in caplog.records)
        await box.journal.quiet()


async def test_what_is_stopped_before_its_first_step_ends_for_its_readers() -> None:
    stops = Stops()
    tapes, first = Tapes(stops), tape("first")
    tapes.record(("open", "talk"), first, writing(then=asyncio.Event()))
    tapes.record(("open", "talk"), tape("second"), writing(b"x"))

    assert await asyncio.wait_for(read(first), 1) == b""
    assert first.ended_s is not None
    await tapes.aclose()


async def test_a_refusal_keeps_nothing_alive_of_what_was_refused() -> None:
    refused = tape()

    async def perform(tape: Tape) -> None:
        raise QueueFull("Full.", retry_after_s=7)

    tapes = Tapes(Stops())
    tapes.record(("open", "talk"), refused, perform)
    for _ in range(2):
        with pytest.raises(QueueFull, match="Full") as again:
            await refused.opened()
        assert again.value.retry_after_s == 7
    assert refused._refusal is not None
    assert refused._refusal.__traceback__ is None


async def test_who_asks_for_too_many_conversations_is_refused(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as box,
        box.client.post("/v1/streams/lookup", json={"conversation_ids": ["a"] * 257}) as response,
    ):
        assert response.status == 400
