"""A model's file that changes while the model is in memory (G17): at worst its own process pays, and it is told.

Weights that are mapped are read when they are needed. Where the file has become shorter by then the kernel sends
SIGBUS, which no process survives; so it must be the worker's, and never the daemon's.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edged.chat import ChatRequest
from edged.errors import EdgedError, ModelInvalid, WorkerCrashed
from edged.local.process import WorkerProcess
from edged.sampling import Sampling
from edged.store import Store
from edged.template_wire import Span
from edged.wire import Load
from tests.asking import post
from tests.attacks.enduring import asking, refused
from tests.conftest import StartDaemon
from tests.daemon_process import until

ASKED = ChatRequest("id", sampling=Sampling(temperature=0.0))
PROMPT = (Span("Which way to the harbour?"),)


async def answer(process: WorkerProcess) -> int:
    """How many events an answer consists of."""
    with process.answering(ASKED, PROMPT, 4) as answers:
        await answers.admitted()
        return len([event async for event in answers.events()])


async def loaded(store: Store, name: str, deaths: list[EdgedError]) -> WorkerProcess:
    process = WorkerProcess(name, deaths.append)
    with store.open(name) as descriptors:
        wanted = Load(name, 256, 2, 1, 0, maps_file=True, repacks=False)
        await process.load(wanted, descriptors)
    return process


async def test_g17_a_mapped_file_that_is_cut_off_costs_its_worker_and_nobody_else(tiny: Path, tmp_path: Path) -> None:
    for name in ("cut", "whole"):
        shutil.copyfile(tiny, tmp_path / f"{name}.gguf")
    store, deaths = Store(tmp_path), list[EdgedError]()
    cut, whole = await loaded(store, "cut", deaths), await loaded(store, "whole", deaths)
    try:
        assert await answer(cut) > 1
        os.truncate(tmp_path / "cut.gguf", 64 * 1024)

        with pytest.raises(WorkerCrashed, match="SIGBUS"):
            await answer(cut)
        assert await answer(whole) > 1
        assert len(deaths) == 1
        with store.open("cut") as descriptors, pytest.raises(ModelInvalid, match="cannot be loaded"):
            store.examine("cut", descriptors)
    finally:
        await cut.stop()
        await whole.stop()


async def test_g17_a_mapped_file_that_is_replaced_goes_on_as_it_was(tiny: Path, tmp_path: Path) -> None:
    """Whoever replaces a file by renaming another onto it leaves the old one to those who have it open."""
    shutil.copyfile(tiny, tmp_path / "m.gguf")
    store, deaths = Store(tmp_path), list[EdgedError]()
    process = await loaded(store, "m", deaths)
    try:
        (tmp_path / "other").write_bytes(b"not a model")
        (tmp_path / "other").rename(tmp_path / "m.gguf")

        assert await answer(process) > 1
        assert store.find("m").problem
    finally:
        await process.stop()
    assert len(deaths) == 1, "it left, and had not before"


def test_g17_what_has_changed_is_examined_again_before_it_is_loaded_again(
    start_daemon: StartDaemon, tiny: Path
) -> None:
    daemon = start_daemon({"tiny": tiny}, '[models]\ndefault = "tiny"\n[engine]\nresident_models = 1\n')
    file = daemon.state_dir / "models/tiny.gguf"
    assert post(daemon, asking()).status == 200

    os.truncate(file, tiny.stat().st_size // 2)
    assert post(daemon, asking("guide")).status == 200
    until(lambda: daemon.resident("tiny") is None, "it left memory")
    reply = refused(daemon, asking())

    assert (reply.status, reply.error["code"]) == (422, "model_invalid")
    assert "it is cut off" in reply.error["message"]
    assert post(daemon, asking("guide")).status == 200
    shutil.copyfile(tiny, file)
    assert post(daemon, asking()).status == 200
