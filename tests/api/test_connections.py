"""Who is connected, and how long they may dawdle: on real sockets, with deadlines that a test can wait for."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.api.connection import BEHIND_BYTES
from edged.api.connections import CONNECTIONS
from edged.api.intake import BODIES
from edged.api.patience import LEAST_BYTES_PER_S, Deadlines, Patience
from edged.api.places import Lack, Places, Sitting, origin_of, room_for, who_gives_way
from edged.completion import Delta, Finish
from edged.errors import QueueFull, RateLimited
from tests.api.test_server import CHAT, serving
from tests.fakes import until

QUICK = Deadlines(head_s=0.4, idle_s=0.8, body_grace_s=0.3, body_silence_s=0.8, stall_s=0.5, look_s=0.05)
# All that a test does not wait for stays far away.
PATIENT = Deadlines(head_s=60, idle_s=60, body_grace_s=60, stall_s=60, silent_s=0.2, settled_s=0.2, look_s=0.05)
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = (*[Delta(0, "word " * 200)] * 4000, Finish(0, "stop", 4000))


class Line:
    """A client that sends and reads exactly what the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send without waiting."""
        self._writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer with a length: status, headers, body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        top, *lines = head.decode().splitlines()
        headers = dict(line.split(": ", 1) for line in lines if line)
        return int(top.split()[1]), headers, await self._reader.readexactly(int(headers["Content-Length"]))

    async def ended(self) -> bytes:
        """What still came before the other side hung up."""
        rest = b""
        with suppress(ConnectionError):
            while piece := await self._reader.read(2**16):
                rest += piece
        return rest

    def is_over(self) -> bool:
        """Whether the other side has hung up, as far as is known."""
        return self._reader.at_eof() or self._reader.exception() is not None


def connecting(receive_bytes: int = 0) -> socket.socket:
    """To be connected; with `receive_bytes` the system takes no more ahead of who reads."""
    connected = socket.socket()
    if receive_bytes:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connected.setblocking(False)
    return connected


@asynccontextmanager
async def line(port: int, receive_bytes: int = 0) -> AsyncIterator[Line]:
    """A connection, made as `connecting` says."""
    connected = connecting(receive_bytes)
    await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connected, limit=2**16)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def elapsed_s(since_s: float) -> float:
    return asyncio.get_running_loop().time() - since_s


def chat(**fields: Any) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    return head_of(len(body)) + body


def head_of(length: int) -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_the_deadlines_are_those_that_are_promised() -> None:
    usual = Deadlines()

    assert (usual.head_s, usual.idle_s, usual.body_grace_s, usual.stall_s, usual.settled_s) == (10, 30, 5, 20, 5)
    assert (usual.requests, usual.connection_s, LEAST_BYTES_PER_S, BEHIND_BYTES) == (100, 600, 1024, 256 * 1024)


async def test_who_connects_and_says_nothing_is_hung_up_on(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=QUICK) as box, line(box.port) as silent:
        began_s = asyncio.get_running_loop().time()

        assert await silent.ended() == b""
        assert QUICK.idle_s - 2 * QUICK.look_s < elapsed_s(began_s)
        assert box.app[CONNECTIONS].ended == {"idle": 1}


async def test_a_head_that_comes_byte_by_byte_has_its_time_from_the_first_one_on(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=QUICK) as box, line(box.port) as slow:
        began_s = asyncio.get_running_loop().time()
        for byte in ALIVE[:-1] * 3:
            slow.send(bytes([byte]))
            await asyncio.sleep(0.02)
            if slow.is_over():
                break

        assert await slow.ended() == b""
        assert QUICK.head_s - 2 * QUICK.look_s < elapsed_s(began_s)
        assert box.app[CONNECTIONS].ended == {"slow_head": 1}


async def test_who_asks_again_in_time_stays(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=QUICK) as box, line(box.port) as busy:
        for _ in range(4):
            busy.send(ALIVE)
            assert (await busy.answer())[0] == 200
            await asyncio.sleep(QUICK.idle_s / 2)

        assert box.app[CONNECTIONS].ended == {}


async def test_an_answer_that_takes_long_is_not_idle(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        serving(tmp_path, gate, Delta(0, "late"), Finish(0, "stop", 1), deadlines=QUICK) as box,
        line(box.port) as one,
    ):
        one.send(chat())
        await asyncio.sleep(2 * QUICK.idle_s)
        gate.set()

        assert (await one.answer())[0] == 200


@pytest.mark.parametrize("deadlines", [Deadlines(requests=3), Deadlines(connection_s=0.2)], ids=["requests", "time"])
async def test_a_connection_ends_with_an_answer_that_says_so(tmp_path: Path, deadlines: Deadlines) -> None:
    async with serving(tmp_path, deadlines=deadlines) as box, line(box.port) as one:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        while not answers or "Connection" not in answers[-1][1]:
            one.send(ALIVE)
            answers.append(await one.answer())
            if deadlines.connection_s < 1:
                await asyncio.sleep(0.15)

        assert [status for status, *_ in answers] == [200] * 3
        assert answers[-1][1]["Connection"] == "close"
        assert await one.ended() == b""


async def test_a_stream_may_be_the_last_answer_and_is_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=Deadlines(requests=1)) as box, line(box.port) as one:
        one.send(chat(stream=True))
        text = (await one.ended()).decode()

        assert "\r\nConnection: close\r\n" in text
        assert "data: [DONE]" in text


async def test_pipelined_requests_are_answered_one_at_a_time_in_order(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        serving(tmp_path, gate, Delta(0, "x"), Finish(0, "stop", 1), deadlines=PATIENT) as box,
        line(box.port) as one,
    ):
        one.send(chat() + chat() + ALIVE)
        await until(lambda: len(box.backend.requests) == 1)
        await asyncio.sleep(0.1)
        assert len(box.backend.requests) == 1, "the second waits for the first"
        gate.set()
        bodies = [json.loads((await one.answer())[2]) for _ in range(3)]

        assert [set(body) >= {"choices"} for body in bodies] == [True, True, False]


async def test_who_asks_for_more_than_a_connection_gives_loses_none_of_what_was_answered(tmp_path: Path) -> None:
    """Closed with something unread, a socket says "reset" and forgets what it still has to send (RFC 9112, 9.6)."""
    loop, said = asyncio.get_running_loop(), b""
    async with serving(tmp_path, deadlines=replace(PATIENT, requests=100)) as box:
        with closing(connecting(4096)) as one:
            await loop.sock_connect(one, ("127.0.0.1", box.port))
            sending = asyncio.create_task(loop.sock_sendall(one, ALIVE * 10_000))
            await asyncio.sleep(0.3)  # the hundred are answered, and most answers wait for room
            with suppress(ConnectionError):
                while piece := await loop.sock_recv(one, 2**16):
                    said += piece
            await sending

    assert said.count(b"HTTP/1.1 200 OK\r\n") == 100
    assert said.count(b"Connection: close\r\n") == 1


async def test_who_finds_no_place_is_told_when_there_will_be_one(tmp_path: Path) -> None:
    async with serving(tmp_path, http={"connections": 8}) as box:
        connections = box.app[CONNECTIONS]
        lines = [line(box.port) for _ in range(9)]
        held = [await one.__aenter__() for one in lines]
        status, headers, body = await held[8].answer()
        error = json.loads(body)["error"]

        assert (status, error["code"], error["src"]) == (503, "queue_full", "edged")
        assert "8 connections are open" in error["message"]
        assert 29 <= int(headers["Retry-After"]) == error["retry_after_s"] <= 40, "when the first is idle for too long"
        assert headers["Connection"] == "close"
        assert await held[8].ended() == b""
        assert (connections.open, connections.refused) == (8, {"full": 1})
        (told,) = [happening for happening in box.journal.happenings if happening.event == "connections_refused"]
        assert told.facts["refused"] == 1
        assert 'edged_connections_refused_total{reason="full"} 1.0' in box.exposed.metrics.render().decode()
        for one in lines:
            await one.__aexit__(None, None, None)


async def test_who_sits_on_a_place_loses_it_to_a_newcomer(tmp_path: Path) -> None:
    async with serving(tmp_path, http={"connections": 8}, deadlines=PATIENT) as box, line(box.port) as asked:
        asked.send(ALIVE)
        await asked.answer()
        lines = [line(box.port) for _ in range(7)]
        sitting = [await one.__aenter__() for one in lines]
        await asyncio.sleep(2 * PATIENT.settled_s)
        async with line(box.port) as newcomer:
            newcomer.send(ALIVE)

            assert (await newcomer.answer())[0] == 200
            await until(lambda: sum(one.is_over() for one in sitting) == 1)
            assert not asked.is_over(), "who has asked before goes later"
            assert box.app[CONNECTIONS].ended == {"gave_way": 1}
        for one in lines:
            await one.__aexit__(None, None, None)


async def test_the_owner_is_heard_when_the_box_is_full(tmp_path: Path) -> None:
    async with serving(tmp_path, http={"connections": 8}) as box:
        lines = [line(box.port) for _ in range(8)]
        for one in lines:
            await one.__aenter__()
        await until(lambda: box.app[CONNECTIONS].open == 8)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "sock"))
        writer.write(ALIVE)

        assert (await reader.readline()).split()[1] == b"200"
        writer.close()
        for one in lines:
            await one.__aexit__(None, None, None)


async def test_a_place_comes_back_when_somebody_hangs_up(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=PATIENT, http={"connections": 8}) as box:
        for _ in range(5):
            lines = [line(box.port) for _ in range(8)]
            for one in lines:
                await one.__aenter__()
            await until(lambda: box.app[CONNECTIONS].open == 8)
            for one in lines:
                await one.__aexit__(None, None, None)
            await until(lambda: box.app[CONNECTIONS].open == 0)

        assert box.app[CONNECTIONS].refused == {}


@pytest.mark.parametrize("pause_s", [0.05, 5.0], ids=["a byte now and then", "nothing more"])
async def test_a_body_that_does_not_come_is_a_400(tmp_path: Path, pause_s: float) -> None:
    async with serving(tmp_path, deadlines=QUICK) as box, line(box.port) as slow:
        slow.send(head_of(1000))

        async def dawdle() -> None:
            while True:
                await asyncio.sleep(pause_s)
                slow.send(b" ")

        dawdling = asyncio.ensure_future(dawdle())
        status, _, body = await slow.answer()
        dawdling.cancel()

        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request")
        assert "more slowly than 1024 bytes a second" in json.loads(body)["error"]["message"]
        assert box.backend.requests == []


async def test_a_body_that_comes_slowly_enough_is_taken(tmp_path: Path) -> None:
    """Four times the grace, and always quicker than a KiB a second."""
    async with serving(tmp_path, deadlines=QUICK) as box, line(box.port) as slow:
        body = json.dumps({"messages": [{"role": "user", "content": "x" * 4000}]}).encode()
        slow.send(head_of(len(body)))
        for start in range(0, len(body), 400):
            await asyncio.sleep(0.1)
            slow.send(body[start : start + 400])

        assert (await slow.answer())[0] == 200


async def test_long_bodies_share_the_room_and_short_ones_need_none(tmp_path: Path) -> None:
    size_bytes = 16 * 2**20
    async with (
        serving(tmp_path, deadlines=PATIENT, http={"body_bytes": size_bytes}) as box,
        line(box.port) as first,
        line(box.port) as second,
    ):
        first.send(head_of(size_bytes) + b" " * (size_bytes - 2**18))
        await until(lambda: box.app[BODIES].large_bytes > size_bytes - 2**19)
        second.send(head_of(size_bytes) + b" " * 2**20)
        status, headers, body = await second.answer()
        error = json.loads(body)["error"]

        assert (status, error["code"], error["retry_after_s"]) == (503, "queue_full", int(headers["Retry-After"]))
        assert (await box.ask())[0] == 200, "a chat finds room"
        first.send(b" " * 2**18)
        assert (await first.answer())[0] == 400, "it is no JSON, and now the room is free"
        async with line(box.port) as third:
            third.send(head_of(size_bytes) + b" " * size_bytes)
            assert json.loads((await third.answer())[2])["error"]["code"] == "invalid_request"


async def test_an_announced_body_takes_no_room(tmp_path: Path) -> None:
    async with serving(tmp_path, deadlines=PATIENT) as box:
        lines = [line(box.port) for _ in range(30)]
        for one in lines:
            (await one.__aenter__()).send(head_of(2**20))
        await until(lambda: box.app[CONNECTIONS].open == 30)
        big = "x" * 900_000

        status, _, body = await box.ask(messages=[{"role": "user", "content": big}])

        assert (status, body["error"]["code"]) == (413, "payload_too_large"), "read to its end: the text is too long"
        for one in lines:
            await one.__aexit__(None, None, None)


async def test_who_does_not_read_a_stream_is_cut_off_and_the_slot_is_free(tmp_path: Path) -> None:
    async with serving(tmp_path, *LONG, deadlines=QUICK) as box, line(box.port, receive_bytes=4096) as deaf:
        deaf.send(chat(stream=True))
        await box.backend.closed.wait()

        await until(lambda: box.app[CONNECTIONS].open == 0)
        assert box.app[CONNECTIONS].ended == {"slow_reader": 1}
        assert box.journal.running == 0


async def test_who_reads_a_stream_gets_all_of_it_however_quickly_it_comes(tmp_path: Path) -> None:
    async with serving(tmp_path, *LONG, deadlines=QUICK) as box, line(box.port, receive_bytes=2**16) as one:
        one.send(chat(stream=True).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        text = await one.ended()

        assert text.count(b'"content":"word') == len(LONG) - 1
        assert text.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_who_does_not_read_a_whole_answer_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path, *LONG, deadlines=QUICK) as box, line(box.port, receive_bytes=4096) as deaf:
        deaf.send(chat())

        await until(lambda: box.app[CONNECTIONS].ended == {"slow_reader": 1})
        await until(lambda: box.app[CONNECTIONS].open == 0)


async def test_what_is_no_http_is_refused_in_json_and_fills_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as box:
        for bytes_ in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nA b\r\n\r\n", b"GET\r\n\r\n"):
            async with line(box.port) as one:
                one.send(bytes_)
                status, headers, body = await one.answer()

                assert (status, headers["Connection"]) == (400, "close")
                assert json.loads(body)["error"]["code"] == "invalid_request"
                assert await one.ended() == b""

    assert caplog.records == []


async def test_nothing_but_100_continue_can_be_expected(tmp_path: Path) -> None:
    async with serving(tmp_path) as box, line(box.port) as one:
        one.send(chat().replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1))
        assert await one._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await one.answer())[0] == 200
        one.send(chat().replace(b"\r\n\r\n", b"\r\nExpect: a miracle\r\n\r\n", 1))
        status, _, body = await one.answer()

        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("127.0.0.1", None),
        ("127.9.9.9", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("192.168.1.7", "192.168.1.7"),
        ("::ffff:192.168.1.7", "192.168.1.7"),
        ("2001:db8:0:1:aaaa::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:bbbb::2", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_whose_connections_are_counted_together(address: str, origin: str | None) -> None:
    assert origin_of(address) == origin


def test_one_address_has_its_share_and_this_machine_has_all() -> None:
    places = Places(most=8, most_per_origin=3)
    for _ in range(3):
        assert places.lack("a") is None
        places.take("a")

    assert places.lack("a") == "over_share"
    refusal = places.refusal("over_share", 12.0)
    assert isinstance(refusal, RateLimited)
    assert (refusal.retry_after_s, "3 connections from this address" in str(refusal)) == (12.0, True)
    for _ in range(5):
        assert places.lack(None) is None
        places.take(None)
    assert (places.lack("b"), places.lack(None)) == ("full", "full")
    assert isinstance(places.refusal("full", 1.0), QueueFull)
    places.give_back("a")
    assert (places.lack("a"), places.taken) == (None, 7)


def test_there_are_no_more_places_than_files_allow() -> None:
    assert (room_for(256, 1024), room_for(256, 100)) == (256, 50)


ORIGINS = st.sampled_from([None, "a", "b"])
SITTING = st.builds(Sitting, ORIGINS, st.booleans(), st.floats(0, 100))


@given(st.lists(SITTING), st.sampled_from(["over_share", "full"]), ORIGINS)
def test_who_gives_way_is_the_least_loss(sitting: list[Sitting], lack: Lack, origin: str | None) -> None:
    may = [one for one in sitting if lack == "full" or one.origin == origin]
    loser = who_gives_way(enumerate(sitting), lack, origin)

    if loser is None:
        assert may == []
        return
    lost = sitting[loser]
    assert lost in may
    assert not [one for one in may if (one.has_asked, -one.idle_s) < (lost.has_asked, -lost.idle_s)]


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20_000))))
def test_patience_lasts_for_who_keeps_the_pace_and_never_grows_beyond_its_bound(
    moves: list[tuple[float, int]],
) -> None:
    patience = Patience(5.0, 30.0)
    for waited_s, moved_bytes in moves:
        after = patience.after(waited_s, moved_bytes)
        assert after.left_s <= 30.0
        if moved_bytes >= waited_s * LEAST_BYTES_PER_S:
            assert after.left_s >= min(patience.left_s, 30.0) - 1e-6
        patience = after
    assert Patience(5.0, 30.0).after(5.1, 0).is_over
