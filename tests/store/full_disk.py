"""Imports and uploads onto a real disk that fills up: a small tmpfs, in a mount namespace that ends with the program.

    unshare -m python -m tests.store.full_disk FOLDER

Every round leaves another number of pages on the disk, asks whether what was tried failed in order, makes room and
tries again with the same store. Prints how many rounds there were and how many of them failed; an AssertionError says
what was not in order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from edged.errors import DiskFull, ModelNotFound
from edged.store import Store
from edged.store.importing import import_models
from edged.store.uploads import Uploads
from tests.gguf_draft import straight

DATA = straight()
PAGE = 4096
DISK_BYTES = 2**21


@contextmanager
def only(left_bytes: int, folder: Path) -> Iterator[None]:
    """Somebody else takes all of the disk but so much."""
    other, found = folder / "somebody-elses", os.statvfs(folder)
    with other.open("wb", buffering=0) as output:
        os.posix_fallocate(output.fileno(), 0, max(1, found.f_bavail * found.f_frsize - left_bytes))
    try:
        yield
    finally:
        other.unlink()


def fails(work: Callable[[], object]) -> bool:
    """Whether it failed for want of room; however else is an error of ours."""
    try:
        work()
    except DiskFull:
        return True
    return False


def bring(store: Store, source: Path) -> None:
    import_models(store, source, reserve_bytes=0)


def send(store: Store) -> None:
    uploads = Uploads(store, reserve_bytes=0)
    upload = uploads.begin("sent", len(DATA), sha256(DATA).hexdigest())
    with uploads.writing(upload.id, upload.offset_bytes) as writing:
        for begin in range(upload.offset_bytes, len(DATA), 10_000):
            writing.write(DATA[begin : begin + 10_000])
    uploads.finish(upload.id)


def untouched(store: Store) -> None:
    """What was installed before is as it was, and nothing half done is shown."""
    assert store.find("first").path.read_bytes() == DATA
    for file in store.models():
        assert not file.problem, file


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    first, store = folder / "first.gguf", Store(folder / "models")
    first.write_bytes(DATA)
    store.sweep()
    bring(store, first)
    second = first.rename(folder / "second.gguf")
    second.write_bytes(DATA[:-1] + b"x")
    rounds, failed = 0, 0
    for pages in range(0, len(DATA) // PAGE + 12, 2):
        for name, work in (("second", lambda: bring(store, second)), ("sent", lambda: send(store))):
            if name == "sent":
                store.remove("first")  # the same content: it would be there already
            with only(pages * PAGE, folder):
                no_room = fails(work)
                if name == "second":
                    untouched(store)
                    assert not no_room or not list(store.partials.iterdir())
                    if no_room and fails(lambda: store.copy("first", "copied")):
                        assert [record.name for record in store.records()] == ["first"]
                    with suppress(ModelNotFound):
                        store.remove("copied")
            if no_room:
                assert not fails(work), f"{name} with {pages} pages, and then room"
            with only(0, folder):
                store.remove(name)
            assert not list(store.partials.iterdir()), list(store.partials.iterdir())
            rounds, failed = rounds + 1, failed + no_room
            if name == "sent":
                first.write_bytes(DATA)
                bring(store, first)
                first.unlink()
    print(rounds, failed)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
