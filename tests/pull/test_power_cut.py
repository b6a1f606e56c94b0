"""Whenever the plug is pulled during a pull: no bad file under a good name, and what was safe is not fetched twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edged.pull import transfer
from edged.pull.partial import Partial, recover
from edged.store import Store
from tests.hub import Fault, Hub, model, sha256
from tests.power_cut import State, recording
from tests.pull.conftest import SHORT, Bench, ended, until
from tests.store.test_power_cut import sound

TEXT = "hf.co/maker/Small-GGUF"
NAME = f"{TEXT}:Q4_K_M"
DATA = model(100)
EVERY_BYTES = 2**15
# The recorder reads the whole folder again at each call, and the machine may be busy: here nobody is too slow.
PATIENT = replace(SHORT, stall_s=60.0, window_s=60.0, answer_s=60.0)
WITHIN_S = 240.0


@pytest.mark.own_loop
@pytest.mark.timeout(600)
async def test_a_pull_with_a_restart_in_the_middle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    count: int = request.config.getoption("--states")
    monkeypatch.setattr("tests.pull.conftest.SAFE_EVERY_BYTES", EVERY_BYTES)
    monkeypatch.setattr(transfer, "BATCH_BYTES", 2**13)
    bench.hub.repositories["maker/Small-GGUF"] = {"small-Q4_K_M.gguf": DATA}
    # In small pieces, as a network that is slower than a disk.
    slow = Fault(bytes_per_s=2**18)
    bench.hub.faults = [replace(slow, cut_at=len(DATA) // 3), replace(slow, stall_at=len(DATA) * 2 // 3), slow]

    longest_bytes = 0
    with recording(bench.store.folder) as recorder:
        make_safe, write = Partial.make_safe, Partial.write

        def made_safe(partial: Partial) -> None:
            make_safe(partial)
            recorder.acknowledge(f"safe {partial.done_bytes}")

        def written(partial: Partial, piece: bytes) -> None:
            nonlocal longest_bytes
            longest_bytes = max(longest_bytes, len(piece))
            write(partial, piece)

        with monkeypatch.context() as patch:
            patch.setattr(Partial, "make_safe", made_safe)
            patch.setattr(Partial, "write", written)
            async with bench.pulls(PATIENT) as pulls:
                order = pulls.submit(TEXT)
                await until(pulls, order.id, lambda progress: progress.done_bytes >= len(DATA) // 2, WITHIN_S)
            async with bench.pulls(PATIENT) as pulls:
                assert (await ended(pulls, order.id, WITHIN_S)).state == "done"
                recorder.acknowledge("installed")

    safe = [int(what.split()[1]) for what in recorder.moments[-1].acknowledged if what.startswith("safe")]
    unsafe_bytes = [after - before for before, after in zip([0, *safe], [*safe, len(DATA)], strict=True)]
    assert max(unsafe_bytes) < EVERY_BYTES + longest_bytes, "no more than what came in one go beyond it"
    seen = 0
    for state in recorder.states(count, seed=7):
        with state.materialised() as folder:
            try:
                await holds(state, folder, bench.hub, goes_on=seen % 3 == 0)
            except BaseException as error:
                error.add_note(f"The plug was pulled {state.what}; acknowledged: {state.acknowledged}")
                raise
        seen += 1
    assert seen >= min(count, 500)


async def holds(state: State, folder: Path, hub: Hub, *, goes_on: bool) -> None:
    """The store is sound as it is found, what is noted is there, and the same pull goes on from it."""
    hub.faults, hub.seen = [], []
    _, names = sound(folder)
    assert names == ({NAME} if "installed" in state.acknowledged else names & {NAME})
    safe = max([0, *(int(what.split()[1]) for what in state.acknowledged if what.startswith("safe"))])
    if NAME not in names:
        part, note = folder / "partial" / f"{sha256(DATA)}.part", folder / "partial" / f"{sha256(DATA)}.json"
        recover(part)
        noted = json.loads(note.read_text())["safe_bytes"] if note.exists() else 0
        kept = part.read_bytes() if part.exists() else b""
        noted = noted if noted <= len(kept) else 0  # the name of the file came later than that of its note
        assert noted >= safe
        assert kept[:noted] == DATA[:noted]
    if not goes_on:
        return
    async with Bench(hub, Store(folder)).pulls(PATIENT) as pulls:
        assert (await ended(pulls, pulls.submit(TEXT).id, WITHIN_S)).state == "done"
    store, names = sound(folder)
    assert names == {NAME}
    assert store.blob_path(sha256(DATA)).read_bytes() == DATA
    begins = [
        int(seen.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")) for seen in hub.fetched
    ]
    assert all(begin >= safe for begin in begins), (begins, safe)


def test_a_partial_is_made_safe_by_itself(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "a.part", 0, 1000)
    partial.begin("https://x/", None, 5000)
    made = []
    for _ in range(50):
        partial.write(bytes(100))
        made.append(partial.done_bytes - partial.state.safe_bytes)
    partial.close()

    assert max(made) < 1000
    assert (tmp_path / "a.json").exists()
