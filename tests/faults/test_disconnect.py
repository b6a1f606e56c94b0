"""A client hangs up: whatever was under way for it ends at once, and nothing of it stays."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.asking import chat, chunks, client_of, first_words, sending, text_of
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, descriptors, until

TINY = '[models]\ndefault = "tiny"\n'
LONG_PROMPT = "word " * 3500  # of the 4,096 tokens that fit
HANG_UPS = 50
# What an allocator keeps for itself while it warms up; one prompt's tokens and text left behind 50 times are more.
NOISE_BYTES = 8 * 2**20


@pytest.fixture
def daemon(start_daemon: StartDaemon, tiny: Path) -> DaemonProcess:
    """A daemon with the synthetic model in memory."""
    daemon = start_daemon({"tiny": tiny}, TINY)
    daemon.worker_pid("tiny")
    return daemon


def body(**fields: Any) -> dict[str, Any]:
    """A chat that goes on for long."""
    return {"model": "tiny", "max_tokens": 4000, "messages": [{"role": "user", "content": "Which way?"}], **fields}


def resident(daemon: DaemonProcess) -> dict[str, Any]:
    """What status says of the model."""
    found = daemon.resident("tiny")
    assert found is not None
    return found


def is_busy_with(daemon: DaemonProcess, slots: int) -> bool:
    """Whether exactly so many slots are taken."""
    return bool(resident(daemon)["busy"] == slots)


def is_quiet(daemon: DaemonProcess) -> bool:
    """Nobody is answered, nobody waits, and nobody holds a slot."""
    status = daemon.status()
    return (status["running"], status["queued"], resident(daemon)["busy"]) == (0, 0, 0)


def is_cancelled(daemon: DaemonProcess) -> bool:
    """Whether the newest request ended so."""
    return bool(daemon.requests()[0]["outcome"] == "cancelled")


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_ends_an_answer(daemon: DaemonProcess, stream: bool) -> None:
    with sending(daemon, body(stream=stream, n=4)):
        until(lambda: resident(daemon)["completion_tokens"] > 0, "it is being answered")

    until(lambda: is_cancelled(daemon), "the request was cancelled")
    until(lambda: is_quiet(daemon), "its slots are free")
    drawn = daemon.requests()[0]["completion_tokens"]
    assert 0 < drawn < 4 * 4000


def test_the_worker_stops_computing_for_who_hung_up(daemon: DaemonProcess) -> None:
    with client_of(daemon) as client:
        with chunks(client, "Which way?", model="tiny", max_tokens=4000) as stream:
            first_words(stream)
        until(lambda: is_quiet(daemon), "its slot is free")
        chat(client, "And now?", model="tiny", max_tokens=1)  # what was under way has come in by now
        before = resident(daemon)["completion_tokens"]
        chat(client, "And now?", model="tiny", max_tokens=1)

    assert resident(daemon)["completion_tokens"] == before + 1


def test_hanging_up_ends_the_reading_of_a_prompt(daemon: DaemonProcess) -> None:
    """Eight answers to a prompt that fills the context: the worker reads it eight times over, one after another."""
    long = body(messages=[{"role": "user", "content": LONG_PROMPT}], n=8, max_tokens=1)
    with sending(daemon, long):
        until(lambda: resident(daemon)["prompt_tokens"] > 0, "the prompt is being read")

    until(lambda: is_cancelled(daemon), "the request was cancelled")
    until(lambda: is_quiet(daemon), "its slots are free")
    with client_of(daemon) as client:
        chat(client, "And now?", model="tiny", max_tokens=1)
    assert resident(daemon)["prompt_tokens"] < 8 * 3500, "what was left was not read"


def test_hanging_up_before_the_worker_has_looked(daemon: DaemonProcess) -> None:
    pid = daemon.worker_pid("tiny")
    os.kill(pid, signal.SIGSTOP)
    try:
        with sending(daemon, body(messages=[{"role": "user", "content": LONG_PROMPT}])):
            until(lambda: is_busy_with(daemon, 1), "it was sent to the worker")
        until(lambda: is_cancelled(daemon) and is_quiet(daemon), "the request was cancelled")
    finally:
        os.kill(pid, signal.SIGCONT)

    with client_of(daemon) as client:
        assert text_of(chat(client, "And now?", model="tiny", max_tokens=4))
    assert resident(daemon)["prompt_tokens"] < 3500, "nobody read the prompt of who had gone"


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_gives_the_place_in_line_free(start_daemon: StartDaemon, tiny: Path, stream: bool) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, {"EDGED_ENGINE__SEQUENCES": "1"})
    with client_of(daemon) as client, chunks(client, "Which way?", model="tiny", max_tokens=600) as running:
        first_words(running)
        pid = daemon.worker_pid("tiny")
        os.kill(pid, signal.SIGSTOP)  # holds the one slot for as long as this test needs
        try:
            with sending(daemon, body(stream=stream)):
                until(lambda: daemon.status()["queued"] == 1, "the second request waits")
            until(lambda: daemon.status()["queued"] == 0, "it no longer waits")
            assert is_cancelled(daemon)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert list(running)[-1].choices[0].finish_reason == "length", "the first answer knows nothing of it"

    until(lambda: is_quiet(daemon), "no slot was lost")


def test_hanging_up_does_not_stop_a_load(start_daemon: StartDaemon, tiny: Path) -> None:
    """An impatient client must not keep a large model from ever loading."""
    daemon = start_daemon({"tiny": tiny}, TINY, {"EDGED_MODELS__PRELOAD": "false"})
    with sending(daemon, body()):
        worker = daemon.child("edged.worker")

    assert daemon.worker_pid("tiny") == worker.pid
    until(lambda: is_cancelled(daemon) and is_quiet(daemon), "the request was cancelled")


def test_fifty_hang_ups_leave_nothing(start_daemon: StartDaemon, tiny: Path) -> None:
    # The worker keeps each prefix on disk open, and writes more as soon as it has nothing else to do.
    daemon = start_daemon({"tiny": tiny}, TINY, {"EDGED_ENGINE__PREFIX_DISK_BYTES": "0"})
    processes = [psutil.Process(daemon.pid), psutil.Process(daemon.worker_pid("tiny"))]

    def hang_up(number: int) -> None:
        """At another moment each time, from before admission to the middle of an answer."""
        question = {"role": "user", "content": "word " * (1 + 20 * (number % 5))}
        with sending(daemon, body(stream=number % 2 == 0, n=1 + number % 3, messages=[question])):
            drawn = resident(daemon)["completion_tokens"]
            if number % 5:
                until(lambda: resident(daemon)["completion_tokens"] >= drawn + number % 5, "some words")

    def all_hang_up() -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(hang_up, range(HANG_UPS)))
        until(lambda: is_quiet(daemon), "every slot is free")

    all_hang_up()
    files = [descriptors(process.pid) for process in processes]
    memory = [process.memory_info().rss for process in processes]
    all_hang_up()

    assert {request["outcome"] for request in daemon.requests()} == {"cancelled"}
    until(
        lambda: all(descriptors(process.pid) <= before for process, before in zip(processes, files, strict=True)),
        "every connection is closed",
    )
    grown = [process.memory_info().rss - before for process, before in zip(processes, memory, strict=True)]
    assert max(grown) < NOISE_BYTES
    with client_of(daemon) as client:
        answer = chat(client, "And now?", model="tiny", n=8, max_tokens=4)
    assert all(choice.message.content for choice in answer.choices), "all eight slots still serve"
