"""When prefixes are written: in a rest, a slice at a time, and never what nobody has asked for room for."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from edged.prefix_wire import AllPutAway, Denied, Discard, Forget, Granted, Keep, Kept, Offer, PutAway
from edged.wire import Frame
from edged.worker import storing as module
from edged.worker.batcher import Batcher
from edged.worker.prefix_file import read_head, read_whole
from edged.worker.stored import StoredPrefixes
from edged.worker.storing import Storing
from edged.worker.worth import QUIET_S, RESTED_S
from tests.fakes import FakeLlama, job
from tests.worker.files import a_file, content_of
from tests.worker.test_batcher import run

IDENTITY = b"i" * 32
MOST_BYTES = 10 * 2**20
SYSTEM = [1 + n % 8 for n in range(100)]


class Clock:
    """Seconds that pass only when somebody waits."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakePipe:
    """Writes down what is sent. Waiting passes the time; `news` says after how many looks somebody comes."""

    clock: Clock
    sent: list[Frame] = field(default_factory=list)
    news: list[bool] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def has_news(self, within_s: float) -> bool:
        if self.news and self.news.pop(0):
            return True
        self.clock.now_s += within_s
        return False

    def take_descriptor(self) -> int:
        return self.descriptors.pop(0)


@dataclass
class Bench:
    """A worker's memory with its writing, and the daemon's side of the line."""

    clock: Clock
    pipe: FakePipe
    llama: FakeLlama
    batcher: Batcher
    storing: Storing

    def answer(self, prompt: list[int], id: int = 1) -> None:
        """One answer to its end."""
        self.batcher.submit(job(self.llama, id, prompt, max_tokens=4, end_in=100_000, partition="ann"))
        run(self.batcher)
        self.storing.note_work()

    def talk(self) -> list[int]:
        """Two turns of one conversation; what is in memory of it then."""
        self.answer(SYSTEM)
        (held,) = self.llama.cells.values()
        self.answer([*held, 5], id=2)
        (held,) = self.llama.cells.values()
        return held

    def grant(self, id: int) -> int:
        """Hand over an empty file and rest; a second descriptor of it, to look into."""
        descriptor = a_file()
        self.pipe.descriptors.append(descriptor)
        mine = os.dup(descriptor)
        self.storing.obey(Granted(id))
        self.storing.rest()
        return mine


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    pipe, llama = FakePipe(clock), FakeLlama()
    stored = StoredPrefixes(IDENTITY, 1024, pipe.send)
    batcher = Batcher(llama, llama, snapshot_bytes=2**20, stored=stored)
    line: Any = pipe
    yield Bench(clock, pipe, llama, batcher, Storing(line, batcher.memory, MOST_BYTES))
    for one in list(stored):
        stored.forget(one.id)


def test_a_conversation_that_was_gone_on_with_is_written_after_a_rest(bench: Bench) -> None:
    held, began_s = bench.talk(), bench.clock.now_s
    bench.storing.rest()
    (keep,) = bench.pipe.sent
    assert isinstance(keep, Keep)
    assert (keep.is_owners, bench.clock.now_s) == (False, began_s + RESTED_S)

    file = bench.grant(1)

    assert bench.pipe.sent[1:] == [Kept(1)]
    assert len(content_of(file)) <= keep.size_bytes
    written = read_whole(file, read_head(file, IDENTITY, 1024), IDENTITY)
    assert (written.tokens, written.partition, written.state) == (held, "ann", repr(held).encode())
    assert [one.id for one in bench.batcher.memory.stored] == [1]
    os.close(file)


def test_what_two_have_begun_with_is_written_alone_and_once(bench: Bench) -> None:
    for id, tail in enumerate(([1, 2, 3], [7, 8], [8, 8, 8]), start=1):
        bench.answer([*SYSTEM, *tail], id)
    bench.storing.rest()

    file = bench.grant(1)

    assert read_head(file, IDENTITY, 1024).tokens == SYSTEM
    assert [type(frame) for frame in bench.pipe.sent] == [Keep, Kept], "nothing else was asked for"
    assert bench.batcher.memory.free_cells == bench.llama.context_tokens - bench.llama.used_cells
    os.close(file)


def test_the_owners_are_written_at_once_and_as_such(bench: Bench) -> None:
    bench.batcher.pin(list(SYSTEM))
    run(bench.batcher)
    began_s = bench.clock.now_s
    bench.storing.rest()
    assert bench.clock.now_s == began_s + QUIET_S
    assert isinstance(bench.pipe.sent[0], Keep)
    assert bench.pipe.sent[0].is_owners

    file = bench.grant(1)

    head = read_head(file, IDENTITY, 1024)
    assert (head.tokens, head.partition, head.is_pinned) == (SYSTEM, None, True)
    os.close(file)


def test_somebody_who_comes_is_served_between_two_slices(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    held = bench.talk()
    monkeypatch.setattr(FakeLlama, "save", lambda self, slot: bytes(3 * 2**20))
    monkeypatch.setattr(FakeLlama, "save_bytes", lambda self, slot: 3 * 2**20)
    bench.batcher.memory._snapshots._budget_bytes = 2**30
    bench.storing.rest()
    bench.pipe.news = [False, False, False, True]  # begun, the head, and the first of three slices

    file = bench.grant(1)

    assert 2**20 <= len(content_of(file)) < 2 * 2**20
    assert [type(frame) for frame in bench.pipe.sent] == [Keep]
    bench.answer([9, 9, 9], id=3)
    bench.storing.rest()
    assert bench.pipe.sent[1:] == [Kept(1)]
    assert read_head(file, IDENTITY, 1024).tokens == held
    os.close(file)


def test_a_conversation_that_goes_on_before_its_file_came_is_written_as_it_was(bench: Bench) -> None:
    held = bench.talk()
    bench.storing.rest()
    bench.answer([*held, 3, 3], id=3)

    file = bench.grant(1)

    assert bench.pipe.sent[1] == Kept(1)
    assert read_head(file, IDENTITY, 1024).tokens == held
    os.close(file)


def test_one_that_is_gone_before_its_file_came_gives_the_file_back(bench: Bench) -> None:
    bench.talk()
    bench.storing.rest()
    for prefix in bench.batcher.memory.cached:
        bench.batcher.memory.drop(prefix)

    os.close(bench.grant(1))

    assert bench.pipe.sent[1:] == [Discard(1, "unwritten", "what was to be written has changed")]


def test_what_is_denied_is_asked_for_again_much_later(bench: Bench) -> None:
    bench.talk()
    bench.storing.rest()
    bench.storing.obey(Denied())
    bench.storing.rest()
    assert [type(frame) for frame in bench.pipe.sent] == [Keep]

    bench.clock.now_s += 3600
    bench.storing.rest()
    assert [type(frame) for frame in bench.pipe.sent] == [Keep, Keep]


def test_a_disk_that_is_full_costs_the_file_and_nothing_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    bench.talk()
    bench.storing.rest()
    monkeypatch.setattr(os, "write", full)
    descriptor = os.memfd_create("full")
    bench.pipe.descriptors.append(descriptor)
    bench.storing.obey(Granted(1))
    bench.storing.rest()

    assert bench.pipe.sent[1:] == [Discard(1, "unwritten", "No space left on device")]
    assert not list(bench.batcher.memory.stored)


def test_before_the_end_everything_is_written_one_by_one_and_then_it_says_so(bench: Bench) -> None:
    for id in (1, 2, 3):
        bench.answer([id] * 90, id)
    bench.storing.rest()
    assert bench.pipe.sent == [], "nobody has asked twice"

    bench.storing.obey(PutAway())
    bench.storing.rest()
    files = [bench.grant(id) for id in (1, 2, 3)]

    assert [type(frame) for frame in bench.pipe.sent] == [Keep, Kept, Keep, Kept, Keep, Kept, AllPutAway]
    assert [read_head(file, IDENTITY, 1024).tokens[0] for file in files] == [3, 2, 1], "the last used first"
    for file in files:
        os.close(file)


def test_before_the_end_what_is_denied_is_left_out(bench: Bench) -> None:
    bench.answer(SYSTEM)
    bench.storing.obey(PutAway())
    bench.storing.rest()
    bench.storing.obey(Denied())
    bench.storing.rest()

    assert [type(frame) for frame in bench.pipe.sent] == [Keep, AllPutAway]


def test_a_worker_that_may_write_nothing_asks_for_nothing(bench: Bench) -> None:
    line: Any = bench.pipe
    silent = Storing(line, bench.batcher.memory, 0)
    bench.talk()

    silent.rest()

    assert bench.pipe.sent == []


def test_what_would_be_longer_than_any_file_may_be_is_not_asked_for(bench: Bench) -> None:
    line: Any = bench.pipe
    small = Storing(line, bench.batcher.memory, 1000)
    bench.talk()
    small.obey(PutAway())
    small.rest()

    assert bench.pipe.sent == [AllPutAway()]


def test_files_are_offered_and_forgotten(bench: Bench) -> None:
    bench.talk()
    bench.storing.rest()
    file = bench.grant(1)
    bench.pipe.descriptors.append(a_file(content_of(file)))
    bench.storing.obey(Forget(1))
    assert not list(bench.batcher.memory.stored)

    bench.storing.obey(Offer(2))

    assert [one.id for one in bench.batcher.memory.stored] == [2]
    os.close(file)
