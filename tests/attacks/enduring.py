"""What an attack may cost those who did not send it: nothing that stays, and no pause in somebody else's answer.

The groups are `T` (templates and tokenizers), `P` (prompts and parameters) and `J` (JSON, schemas and grammars); the
number of a row is in the name of its case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from threading import Event
from typing import Any

import psutil

from tests.asking import CHAT, Reply, chunks, client_of, post
from tests.daemon_process import DaemonProcess, descriptors, until

# What the promise allows is 2 s, and 5 s for a slow grammar; the rest is for machines that are busy with other things.
PROMPTLY_S = 15.0
# What an allocator keeps for itself, a piece for each thread that there was; it does not grow with every attack.
WORKER_NOISE_BYTES = 64 * 2**20
DAEMON_NOISE_BYTES = 16 * 2**20
# Threads that the daemon's pool has not needed until now; a thread left behind by each attack would be more.
NOISE_THREADS = 8
NOISE_DESCRIPTORS = 8

TRACES = ("Traceback", ".py", ".rs", "panicked", "/root", "/proc", "0x7f")


def asking(model: str = "tiny", **fields: Any) -> dict[str, Any]:
    """A short chat with `fields`."""
    return {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}], **fields}


def refused(daemon: DaemonProcess, body: Any, path: str = CHAT, **options: Any) -> Reply:
    """The refusal of `body`: typed, in time, in words that say nothing about our insides, and nobody died of it."""
    before, began_s = daemon.status()["residents"], time.monotonic()
    reply = post(daemon, body, path, **options)
    assert time.monotonic() - began_s < PROMPTLY_S
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])
    error = reply.error
    assert error["type"] in ("invalid_request_error", "not_found_error", "permission_error"), error
    assert not [trace for trace in TRACES if trace in error["message"]], error["message"]
    assert len(error["message"]) < 600, "it shows the value, but not a page of it"
    after = {found["model"]: found["pid"] for found in daemon.status()["residents"]}
    assert all(after.get(found["model"], found["pid"]) == found["pid"] for found in before), "a worker died of it"
    return reply


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds."""

    bytes: int
    threads: int
    descriptors: int


def footprint(pid: int) -> Footprint:
    """What the process `pid` holds now."""
    process = psutil.Process(pid)
    with process.oneshot():
        return Footprint(process.memory_info().rss, process.num_threads(), descriptors(pid))


@contextmanager
def nothing_stays(daemon: DaemonProcess, model: str = "tiny") -> Iterator[None]:
    """After the block, worker and daemon hold what they held before it, but for an allocator's noise."""
    pids = {daemon.pid: DAEMON_NOISE_BYTES, daemon.worker_pid(model): WORKER_NOISE_BYTES}
    before = {pid: footprint(pid) for pid in pids}
    children = len(daemon.children())
    yield
    until(lambda: daemon.status()["running"] == 0, "every slot is free")
    for pid, noise_bytes in pids.items():
        until(partial(is_back, pid, before[pid]), f"{footprint(pid)} is back at {before[pid]}")
        after = footprint(pid)
        assert after.bytes - before[pid].bytes < noise_bytes, (pid, pids, before[pid], after)
    assert len(daemon.children()) <= children + 1, "a template process may have been started"


def is_back(pid: int, before: Footprint) -> bool:
    """Whether threads and descriptors are as few as before, but for what is kept on purpose."""
    now = footprint(pid)
    has_threads = now.threads <= before.threads + NOISE_THREADS
    return has_threads and now.descriptors <= before.descriptors + NOISE_DESCRIPTORS


@dataclass(slots=True)
class Listener:
    """Somebody else's answer: when its words came."""

    moments_s: list[float] = field(default_factory=list)

    def gaps_s(self, since: int = 0) -> list[float]:
        """The pauses between words, from the `since`-th word on."""
        moments = self.moments_s[since:]
        return [later - earlier for earlier, later in pairwise(moments)]


@contextmanager
def somebody_listening(daemon: DaemonProcess, model: str = "tiny") -> Iterator[Listener]:
    """An answer that goes on for as long as the block; it must have gone on to the block's end."""
    listener, stop = Listener(), Event()

    def listen() -> None:
        with client_of(daemon) as client:
            while not stop.is_set():
                for _ in chunks(client, "Go on.", model=model, max_tokens=4000, temperature=0):
                    listener.moments_s.append(time.monotonic())
                    if stop.is_set():
                        return

    with ThreadPoolExecutor() as threads:
        listening = threads.submit(listen)
        try:
            until(lambda: len(listener.moments_s) > 20 or listening.done(), "the other conversation is under way")
            yield listener
            assert not listening.done(), f"the other conversation ended: {listening.exception()}"
        finally:
            stop.set()


def nobody_waits(listener: Listener, act: Callable[[], None], most_s: float = 1.0) -> None:
    """Somebody else's answer pauses for no more than `most_s`, or 200 usual pauses, while `act` does its worst.

    A machine that has other things to do makes pauses as well: one undisturbed `act` of three says that it is not ours.
    """
    pauses: list[tuple[float, float]] = []
    while len(pauses) < 3:
        longest_s, usual_s = _pauses_s(listener, act)
        if longest_s < max(most_s, 200 * usual_s):
            return
        pauses.append((longest_s, usual_s))
    raise AssertionError(f"the longest pauses, and the usual ones: {pauses}")


def _pauses_s(listener: Listener, act: Callable[[], None]) -> tuple[float, float]:
    """The longest pause in somebody else's answer during `act`, and the usual one, in seconds."""
    first = len(listener.moments_s) - 1
    act()
    heard = len(listener.moments_s)
    until(lambda: len(listener.moments_s) > heard, "the other conversation goes on")
    gaps_s = sorted(listener.gaps_s(first))
    return gaps_s[-1], gaps_s[len(gaps_s) // 2]
