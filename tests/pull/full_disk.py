"""Pulls onto a real disk that fills up: a small tmpfs of one's own, in a mount namespace that ends with the program.

    unshare -m python -m tests.pull.full_disk FOLDER

Every round fills the disk at another byte of the file, asks whether the pull failed in order, makes room and pulls
again in the same daemon's life. Limits on the size of a file (RLIMIT_FSIZE) let a single write fail at an exact byte.
Prints how many rounds there were; an AssertionError says what was not in order.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edged.pull.queue import Pulls
from edged.pull.transfer import BATCH_BYTES
from edged.store import Store
from tests.hub import Fault, model, running, sha256
from tests.pull.conftest import SAFE_EVERY_BYTES, Bench, ended

REPOSITORY = "maker/Small-GGUF"
TEXT = f"hf.co/{REPOSITORY}"
DATA = model()
PAGE = 4096
DISK_BYTES = 3 * 2**21


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def filling(folder: Path, at: int, left_bytes: int) -> Callable[[int], None]:
    """Once the body is that far, somebody else writes until only so many bytes are left."""
    file = folder.parent / "somebody-elses"

    def meanwhile(sent: int) -> None:
        if sent >= at and not file.exists():
            # What the hub has sent is not all here yet; in the end these bytes are left beside all that is.
            with file.open("wb") as output:
                output.write(bytes(max(0, free_bytes(folder) - left_bytes)))

    return meanwhile


@contextmanager
def no_file_longer_than(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def fails_and_then_comes(bench: Bench, pulls: Pulls, make_room: Callable[[], None]) -> int:
    """How many bytes had been kept. Between both is neither a restart nor anything done by hand."""
    failed = await ended(pulls, pulls.submit(TEXT).id)
    assert (failed.state, failed.code) in (("failed", "disk_full"), ("done", "")), failed
    kept = sum(path.stat().st_size for path in bench.partials())
    blobs = list((bench.store.folder / "blobs").iterdir())
    records = await bench.records()
    if failed.state == "failed":
        assert (blobs, records) == ([], []), (blobs, records)
        assert bench.events[-1][0] == "pull_failed"
        assert bench.partials(), "the partial is gone"
    make_room()
    bench.hub.faults, bench.hub.seen = [], []
    done = await ended(pulls, pulls.submit(TEXT).id)
    assert done.state == "done", done
    (record,) = await bench.records()
    assert bench.store.blob_path(sha256(DATA)).read_bytes() == DATA
    assert bench.partials() == []
    await asyncio.to_thread(bench.store.remove, record.name)
    if failed.state == "done":
        return -1
    asked = bench.hub.fetched[0].headers.get("Range", "bytes=0-") if bench.hub.fetched else f"bytes={len(DATA)}-"
    assert int(asked.removeprefix("bytes=").removesuffix("-")) >= kept - SAFE_EVERY_BYTES - BATCH_BYTES, (asked, kept)
    return kept


async def fill_at(bench: Bench, pulls: Pulls, at: int, left_bytes: int) -> int:
    folder = bench.store.folder
    bench.hub.faults = [Fault(meanwhile=filling(folder, at, left_bytes))]
    return await fails_and_then_comes(bench, pulls, lambda: (folder.parent / "somebody-elses").unlink(missing_ok=True))


async def limit_at(bench: Bench, pulls: Pulls, at: int) -> int:
    limit = ExitStack()
    limit.enter_context(no_file_longer_than(at))
    return await fails_and_then_comes(bench, pulls, limit.close)


async def sweep(folder: Path) -> tuple[int, int]:
    """The rounds, and how many of them kept something."""
    kept: list[int] = []
    async with running() as hub:
        hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": DATA}
        store = Store(folder / "models")
        await asyncio.to_thread(store.ready)
        bench = Bench(hub, store)
        async with bench.pulls() as pulls:
            for at in range(2**16, len(DATA), len(DATA) // 12):
                kept.append(await fill_at(bench, pulls, at, 0))
            # Room for the file and hardly anything more: notes and records fail, byte for byte of theirs.
            for pages in range(-4, 10):
                kept.append(await fill_at(bench, pulls, 0, len(DATA) // PAGE * PAGE + pages * PAGE))
            for at in range(PAGE, len(DATA), len(DATA) // 12):
                kept.append(await limit_at(bench, pulls, at))
    return len(kept), sum(count > 0 for count in kept)


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    rounds, kept = asyncio.run(sweep(folder))
    print(rounds, kept)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
