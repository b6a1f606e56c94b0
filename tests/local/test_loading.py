"""Whatever is wrong with the smaller model, the larger one is loaded; what llama.cpp must not see, it does not see."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edged.config import Engine
from edged.errors import EdgedError, ModelInvalid, ModelTooLarge, WorkerCrashed, WorkerStarved
from edged.gguf.header import inspect
from edged.local.calibration import Calibration
from edged.local.child import Child
from edged.local.keeping import Keeping
from edged.local.loading import Loader
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from edged.store import Store
from edged.wire import Load, Loaded
from tests.gguf_draft import U32, Draft, one, straight

CARD = Loaded(64, "", "", "", (), "llama 1B Q4_0", 1234, 99)


class Trying(Keeping):
    """Loads nothing, but dies of a smaller model, or of any."""

    def __init__(self, dies_of: str = "small", error: EdgedError | None = None) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self._dies_of = dies_of
        self._error = error or WorkerCrashed("it was killed by SIGABRT")

    async def load(self, process: WorkerProcess, wanted: Load, descriptors: Sequence[int]) -> Loaded:
        self.asked.append((wanted.drafter, len(descriptors)))
        if self._dies_of in (wanted.drafter, wanted.name):
            raise self._error
        return CARD


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two files that no engine sees, one of them larger by what is behind its end."""
    (tmp_path / "large.gguf").write_bytes(straight() + bytes(1000))
    (tmp_path / "small.gguf").write_bytes(straight())
    return Store(tmp_path)


def process() -> WorkerProcess:
    return WorkerProcess("large", lambda error: None)


async def loaded(store: Store, keeping: Keeping) -> Resident:
    resident = Resident(process(), 1, 1)
    loader = Loader(store, Engine(draft_model="small"), None, keeping)
    assert await loader.load("large", resident, process) is CARD
    return resident


async def test_both_files_are_handed_over(store: Store) -> None:
    keeping = Trying(dies_of="nobody")
    resident = await loaded(store, keeping)

    assert keeping.asked == [("small", 2)]
    assert resident.draft_problem == ""


async def test_one_of_which_the_process_dies_is_left_out(store: Store) -> None:
    keeping = Trying()
    resident = await loaded(store, keeping)

    assert keeping.asked == [("small", 2), ("", 1)]
    assert resident.draft_problem == "small cannot be loaded: it was killed by SIGABRT"


async def test_one_that_cannot_be_opened_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping, open_it = Trying(dies_of="nobody"), store.open

    def open_large(name: str) -> AbstractContextManager[tuple[int, ...]]:
        if name == "small":
            raise ModelInvalid("The file of model small cannot be opened: Permission denied.")
        return open_it(name)

    monkeypatch.setattr(store, "open", open_large)
    resident = await loaded(store, keeping)

    assert keeping.asked == [("", 1)]
    assert "Permission denied" in resident.draft_problem


async def test_what_is_wrong_with_the_larger_one_is_told_as_ever(store: Store) -> None:
    with pytest.raises(ModelInvalid):
        await loaded(store, Trying("large", ModelInvalid("llama.cpp could not load it")))


def bend(file: Path) -> None:
    """Have the model in `file` say that it has a layer more than llama.cpp has room for."""
    draft = Draft()
    draft.entries["llama.block_count"] = one(U32, 513)
    file.write_bytes(draft.written() + bytes(1000))


async def test_a_damaged_file_is_refused_before_a_process_is_started(store: Store, tmp_path: Path) -> None:
    bend(tmp_path / "large.gguf")
    keeping = Trying(dies_of="nobody")

    with pytest.raises(ModelInvalid, match=r"The file of model large cannot be loaded: llama.block_count is 513"):
        await loaded(store, keeping)
    assert keeping.asked == []


async def test_a_damaged_smaller_one_is_left_out(store: Store, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(straight()[:-1])
    keeping = Trying(dies_of="nobody")
    resident = await loaded(store, keeping)

    assert keeping.asked == [("", 1)]
    assert "The file of model small cannot be loaded: the data of its last tensor" in resident.draft_problem


async def test_the_file_that_was_examined_is_the_one_that_is_loaded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one takes its place between the two."""
    examine, sizes = store.examine, list[int]()

    def swap(name: str, descriptors: Sequence[int]) -> None:
        examine(name, descriptors)
        bend(tmp_path / "other")
        (tmp_path / "other").replace(tmp_path / "large.gguf")

    class Looking(Trying):
        async def load(self, process: WorkerProcess, wanted: Load, descriptors: Sequence[int]) -> Loaded:
            assert inspect(descriptors[0]).problem == ""
            sizes.append(os.fstat(descriptors[0]).st_size)
            return await super().load(process, wanted, descriptors)

    monkeypatch.setattr(store, "examine", swap)
    resident = Resident(process(), 1, 1)
    assert await Loader(store, Engine(), None, Looking("nobody")).load("large", resident, process) is CARD
    assert sizes == [len(straight()) + 1000]


async def test_a_load_that_is_called_off_waits_for_who_reads_its_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, may_end, was_open = Event(), Event(), list[int]()

    def slow(name: str, descriptors: tuple[int, ...]) -> None:
        reading.set()
        may_end.wait()
        was_open.append(os.fstat(descriptors[0]).st_size)

    monkeypatch.setattr(store, "examine", slow)
    loading = asyncio.create_task(loaded(store, Trying()))
    await asyncio.to_thread(reading.wait)
    loading.cancel()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await loading

    assert len(was_open) == 1


GIB = 2**30


class Starving(Keeping):
    """Has the first so many loads find no memory, and notes in which ways they were tried."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.tried: list[Load] = []
        self._times = times

    async def load(self, process: WorkerProcess, wanted: Load, descriptors: Sequence[int]) -> Loaded:
        self.tried.append(wanted)
        if len(self.tried) <= self._times:
            raise WorkerStarved("no memory")
        return CARD


def long_one(folder: Path) -> Store:
    """A model of which each token takes so much that contexts matter."""
    draft = Draft()
    draft.entries["llama.context_length"] = one(U32, 2**20)
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        draft.entries[f"llama.{key}"] = one(U32, 4096)
    (folder / "long.gguf").write_bytes(draft.written())
    return Store(folder)


async def starved(
    folder: Path, times: int, engine: Engine, calibration: Calibration | None = None, room_bytes: int = GIB
) -> Starving:
    keeping, resident = Starving(times), Resident(process(), 8, 8)
    loader = Loader(long_one(folder), engine, None, keeping, calibration)
    await loader.load("long", resident, process, lambda: room_bytes)
    assert (resident.slots, resident.free) == (keeping.tried[-1].sequences,) * 2
    return keeping


async def test_a_load_that_finds_no_memory_is_tried_once_in_a_way_that_takes_less(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "memory.json", "Pi 5")
    keeping = await starved(tmp_path, 1, Engine(), calibration)

    first, second = keeping.tried
    assert (first.context_tokens, first.kv_type) == (8192, "f16")
    assert (second.context_tokens, second.sequences, second.kv_type) == (8192, 8, "q8_0")
    learned = calibration.known(long_one(tmp_path).find("long"))
    assert learned.missing_bytes > 0, "it took more than was forecast"


async def test_two_failures_do_not_count_what_was_missing_twice(tmp_path: Path) -> None:
    calibration, resident = Calibration(tmp_path / "memory.json", "Pi 5"), Resident(process(), 8, 8)
    loader = Loader(long_one(tmp_path), Engine(), None, Starving(2), calibration)
    with pytest.raises(ModelTooLarge):
        await loader.load("long", resident, process, lambda: GIB // 2)

    missing_bytes = calibration.known(long_one(tmp_path).find("long")).missing_bytes
    assert resident.fit is not None
    assert resident.fit.needs.total_bytes + missing_bytes == GIB // 2 + 1, "just more than there was"


async def test_in_a_room_that_is_far_larger_nothing_is_taken_for_missing(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "memory.json", "Pi 5")
    await starved(tmp_path, 1, Engine(), calibration, room_bytes=1000 * GIB)

    assert calibration.known(long_one(tmp_path).find("long")).missing_bytes == 0


async def test_the_second_time_it_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(ModelTooLarge) as refused:
        await starved(tmp_path, 2, Engine())

    assert refused.value.available_bytes == GIB
    assert "The model long needs" in str(refused.value)


async def test_what_the_owner_set_is_refused_at_once(tmp_path: Path) -> None:
    engine = Engine(context_tokens=8192, sequences=8, kv_type="f16")
    with pytest.raises(ModelTooLarge):
        await starved(tmp_path, 1, engine)


async def test_a_declared_giant_is_refused_before_a_process_is_started(tmp_path: Path) -> None:
    keeping = Starving(0)
    loader = Loader(long_one(tmp_path), Engine(context_tokens=2**20), None, keeping)
    with pytest.raises(ModelTooLarge) as refused:
        await loader.load("long", Resident(process(), 8, 8), process, lambda: 100 * 2**20)

    assert keeping.tried == []
    assert refused.value.needed_bytes > refused.value.available_bytes == 100 * 2**20


async def test_a_worker_that_the_kernel_kills_while_it_loads_is_replaced_by_one_that_takes_less(
    tmp_path: Path, nano_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's only word is SIGKILL."""
    killed, spawn = list[int](), Child.spawn

    async def spawn_and_kill(*arguments: Any) -> Child:
        child = await spawn(*arguments)
        if not killed:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(Child, "spawn", spawn_and_kill)
    (tmp_path / "nano.gguf").hardlink_to(nano_file)
    # So many sequences that a tenth less is to be found, and none of it said by the owner.
    engine, resident = Engine(sequences=64), Resident(process(), 8, 8)
    engine.model_fields_set.clear()

    card = await Loader(Store(tmp_path), engine, None, Keeping()).load("nano", resident, process)
    pid = resident.process.pid
    await resident.process.stop()

    assert killed
    assert pid not in killed
    assert card.taken is not None
    assert resident.fit is not None
    assert resident.slots == resident.fit.way.sequences < 64
