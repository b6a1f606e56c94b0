"""Whatever is wrong with the smaller model, the larger one is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edged.config import Engine
from edged.errors import EdgedError, ModelInvalid, WorkerCrashed
from edged.local.keeping import Keeping
from edged.local.loading import Loader
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from edged.store import Store
from edged.wire import Load, Loaded

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
    """Two files that no engine sees."""
    (tmp_path / "large.gguf").write_bytes(b"x" * 2000)
    (tmp_path / "small.gguf").write_bytes(b"x" * 1000)
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

    def open_large(name: str) -> AbstractContextManager[int]:
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
