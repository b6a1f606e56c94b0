"""A crowd (H5), with the deadlines that an owner has: who behaves notices nothing, who does not is gone in time."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import pytest

from edged.api.patience import Deadlines
from edged.api.places import origin_of
from tests.api.test_connections import ALIVE, Line, chat, head_of, line
from tests.asking import post
from tests.attacks.enduring import Listener, asking, nothing_stays, somebody_listening
from tests.daemon_process import DaemonProcess, running, until
from tests.memory_group import memory_group

CONNECTIONS = 256
ATTEMPTS = 1000
# For a crowd of 256 of whom some come and go: whoever has gone has a place until that is noticed.
ROOM = 320
# What systemd gives a service that asks for nothing.
LIMITED = ("sh", "-c", 'ulimit -n 1024 && exec "$@"', "limited")
MOST_BYTES = 256 * 2**20
# Conversations that were answered stay in the worker on purpose, by default up to a sixteenth of the machine's memory.
KEPT_BYTES = 8 * 2**20
MOST_HEALTH_S = 0.25
# From the first byte to the end, for whoever dawdles; a busy machine hangs up a little later.
USUAL = Deadlines()
LATE_S = 3.0


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the synthetic model in memory, as many files as most daemons have, and 256 MiB for all of it."""
    with memory_group() as group:
        group.limit(MOST_BYTES)
        within = (*group.entering(), *LIMITED)
        with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n', within=within) as daemon:
            daemon.worker_pid("tiny")
            post(daemon, asking())
            yield daemon
        assert group.kills() == 0


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """The crowd is all in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def port_of(daemon: DaemonProcess) -> int:
    return urlsplit(daemon.url).port or 0


def busy() -> float:
    """How many take turns at each core: as much longer does everything take, here as in the daemon."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def most_bytes(daemon: DaemonProcess) -> int:
    """The most memory that the daemon has ever had."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@dataclass(slots=True)
class Crowd:
    """Everybody, and what they met with."""

    port: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    wrong: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    health_s: list[tuple[float, float]] = field(default_factory=list)  # when, and how long it took
    stays_s: dict[str, list[float]] = field(default_factory=dict)

    async def behaves(self, ask: Callable[[Line], Awaitable[bool]]) -> None:
        """Ask again and again on one connection, for as long as the answers say that it goes on."""
        while not self.stop.is_set():
            try:
                async with line(self.port) as own:
                    while await ask(own) and not self.stop.is_set():  # noqa: ASYNC110 - it asks, and rests
                        await asyncio.sleep(random.uniform(0, 0.2))
            except (OSError, EOFError) as error:
                self.wrong.append(repr(error))

    async def asks_for_health(self, own: Line) -> bool:
        began_s = time.monotonic()
        own.send(ALIVE)
        status, headers, _ = await own.answer()
        self.health_s.append((began_s, time.monotonic() - began_s))
        self._count("health", status == 200)
        return headers.get("Connection") != "close"

    def slowest_health_s(self) -> float:
        """What 99 of a hundred took at most, in the best third of the time: what else the machine does only adds."""
        self.health_s.sort()
        third = len(self.health_s) // 3
        thirds = (sorted(took_s for _, took_s in self.health_s[at : at + third]) for at in (0, third, 2 * third))
        return min(each[int(0.99 * third)] for each in thirds)

    async def asks_for_models(self, own: Line) -> bool:
        own.send(ALIVE.replace(b"/healthz", b"/v1/models"))
        status, headers, body = await own.answer()
        self._count("models", status == 200 and b"tiny" in body)
        return headers.get("Connection") != "close"

    async def chats(self, own: Line) -> bool:
        own.send(chat(model="tiny", max_tokens=8, stream=True).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        said = await own.ended()
        self._count("chats", b"data: [DONE]" in said, said)
        return False

    def _count(self, what: str, is_right: bool, said: bytes = b"") -> None:
        self.answers[what] += 1
        if not is_right:
            self.wrong.append(f"{what}: {said[-400:]!r}")

    async def dawdles(self, name: str, first: bytes, pause_s: float) -> None:
        """Send `first` and then a byte now and then, until hung up on; begin again while the others go on."""
        while not self.stop.is_set():
            with suppress(OSError):
                async with line(self.port, receive_bytes=4096) as own:
                    began_s = time.monotonic()
                    own.send(first)
                    ending = asyncio.ensure_future(own.ended())
                    while not (await asyncio.wait([ending], timeout=pause_s))[0]:
                        own.send(b"a")
                    self.stays_s.setdefault(name, []).append(time.monotonic() - began_s)

    async def does_not_read(self) -> None:
        """Ask for a long answer and look away."""
        while not self.stop.is_set():
            with suppress(OSError):
                async with line(self.port, receive_bytes=4096) as own:
                    own.send(chat(model="tiny", max_tokens=4000, stream=True))
                    await asyncio.wait([asyncio.ensure_future(self.stop.wait())], timeout=2)

    async def storms(self) -> None:
        """Come and go, with noise."""
        while not self.stop.is_set():
            with suppress(OSError):
                async with line(self.port) as own:
                    own.send(random.randbytes(100) + b"\r\n\r\n")
            await asyncio.sleep(0.05)


async def crowd_in(port: int, for_s: float) -> Crowd:
    """256 clients at once for `for_s`, then until the last of those who dawdle is gone."""
    crowd = Crowd(port)
    good = [crowd.asks_for_health] * 28 + [crowd.asks_for_models] * 8 + [crowd.chats] * 4
    head, body = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", head_of(10_000) + b"{"
    tasks = [
        *(crowd.behaves(ask) for ask in good),
        *(crowd.dawdles("silent", b"", 1000) for _ in range(40)),
        *(crowd.dawdles("head", head, 1) for _ in range(80)),
        *(crowd.dawdles("body", body, 1) for _ in range(72)),
        *(crowd.does_not_read() for _ in range(2)),  # with those who chat fewer than there are slots
        *(crowd.storms() for _ in range(22)),
    ]
    assert len(tasks) == CONNECTIONS
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)
        await asyncio.sleep(for_s)
        crowd.stop.set()
    return crowd


@pytest.mark.timeout(600)
def test_who_behaves_notices_nothing_of_a_crowd_and_nothing_of_it_stays(
    tiny: Path, request: pytest.FixtureRequest
) -> None:
    config = f'[http]\nconnections = {ROOM}\n[models]\ndefault = "tiny"\n[engine]\nsnapshot_bytes = {KEPT_BYTES}\n'
    with running({"tiny": tiny}, config, within=LIMITED) as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking())
        with nothing_stays(daemon):
            crowd = asyncio.run(crowd_in(port_of(daemon), request.config.getoption("--load-s")))
        highest_bytes = most_bytes(daemon)

    assert crowd.wrong == []
    assert min(crowd.answers.values()) > 20
    assert crowd.slowest_health_s() < MOST_HEALTH_S * busy()
    late_s = LATE_S * busy()
    assert max(crowd.stays_s["silent"]) < USUAL.idle_s + late_s
    assert max(crowd.stays_s["head"]) < USUAL.head_s + late_s
    assert max(crowd.stays_s["body"]) < USUAL.body_grace_s + LATE_S + late_s, "a refusal is read on for a moment"
    assert min(crowd.stays_s["head"]) > USUAL.head_s - LATE_S, "and nobody is hung up on early"
    assert highest_bytes < MOST_BYTES


@dataclass(frozen=True, slots=True)
class Rush:
    """What a thousand who came at once met with."""

    served: int
    refused: int
    hung_up_on: int
    took_s: float
    connected: int
    held_words: float
    usual_words: float


async def rush(daemon: DaemonProcess, listener: Listener) -> Rush:
    """A thousand connect at once and ask; words a second are those that the listener hears with and without them."""
    usual, port = await words_per_s(listener), port_of(daemon)
    async with AsyncExitStack() as crowd:
        began_s = time.monotonic()
        statuses = Counter(await asyncio.gather(*(status_of(crowd, port) for _ in range(ATTEMPTS))))
        took_s = time.monotonic() - began_s
        held = await words_per_s(listener)
        sockets = psutil.Process(daemon.pid).net_connections("tcp")
        connected = sum(one.status == psutil.CONN_ESTABLISHED for one in sockets)
    usual = (usual + await words_per_s(listener)) / 2  # deeper in a conversation words come more slowly
    return Rush(statuses[200], statuses[503], statuses[0], took_s, connected, held, usual)


async def status_of(crowd: AsyncExitStack, port: int) -> int:
    """Connect and ask, and stay; 0 where there was no answer."""
    try:
        one = await crowd.enter_async_context(line(port))
        one.send(ALIVE)
        status, headers, body = await one.answer()
    except (OSError, EOFError):
        return 0
    if status == 503:
        error = json.loads(body)["error"]
        assert error["code"] == "queue_full"
        assert int(headers["Retry-After"]) == error["retry_after_s"] >= 1
    return status


async def words_per_s(listener: Listener) -> float:
    """How quickly somebody else's answer comes."""
    first, began_s = len(listener.moments_s), time.monotonic()
    await asyncio.sleep(0.7)
    return (len(listener.moments_s) - first) / (time.monotonic() - began_s)


@pytest.mark.timeout(180)
def test_of_a_thousand_256_are_served_and_the_others_are_told_so_at_once(daemon: DaemonProcess) -> None:
    rushes = []
    with nothing_stays(daemon):
        for _ in range(3):
            with somebody_listening(daemon) as listener:  # one answer for each: it must not end meanwhile
                rushes.append(asyncio.run(rush(daemon, listener)))

    for each in rushes:
        assert each.served >= CONNECTIONS - 16, "the listener and whoever looks on have places as well"
        assert CONNECTIONS - 16 <= each.connected <= CONNECTIONS
        assert each.served + each.refused + each.hung_up_on == ATTEMPTS
        assert each.refused >= 64
        assert each.took_s < 5
    # The machine has other things to do as well: one of three undisturbed rushes says it.
    assert max(each.held_words / each.usual_words for each in rushes) > 0.95
    assert most_bytes(daemon) < MOST_BYTES
    assert "connections_refused" in daemon.events()


@pytest.mark.timeout(120)
def test_who_has_too_few_files_goes_on_serving(tiny: Path) -> None:
    """Half of them are for connections; where even those run out, whoever is connected is still answered."""
    few = ("sh", "-c", 'ulimit -n 96 && exec "$@"', "few")
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n', within=few) as daemon:
        with crowded(port_of(daemon)):
            assert "there are 48 connections at most" in daemon.log()
        until(lambda: post(daemon, asking()).status == 200, "it answers again")


def test_one_address_has_its_share_of_the_places_and_others_have_theirs(tiny: Path) -> None:
    own = [
        found.address
        for addresses in psutil.net_if_addrs().values()
        for found in addresses
        if found.family == socket.AF_INET and origin_of(found.address)
    ]
    if not own:
        pytest.skip("this machine has no address but its own loopback's")
    config = '[http]\nhost = "0.0.0.0"\nopen = true\n[models]\ndefault = "tiny"\n'
    with running({"tiny": tiny}, config, wait=False) as daemon, ExitStack() as crowd:
        port = int(daemon.log().split("listening address=http://")[1].split()[0].rsplit(":", 1)[1])
        lines = [crowd.enter_context(socket.create_connection((own[0], port))) for _ in range(40)]
        said = [line.recv(2**12) for line in lines[32:]]

        assert all(text.startswith(b"HTTP/1.1 429 ") for text in said)
        assert all(b'"code": "rate_limited"' in text and b"\r\nRetry-After: " in text for text in said)
        with urlopen(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200


@contextmanager
def crowded(port: int) -> Iterator[None]:
    """Three hundred who connect and say nothing, for the block."""
    with asyncio.Runner() as runner:
        crowd = AsyncExitStack()

        async def come() -> None:
            for _ in range(300):
                await crowd.enter_async_context(line(port))

        runner.run(come())
        try:
            yield
        finally:
            runner.run(crowd.aclose())
