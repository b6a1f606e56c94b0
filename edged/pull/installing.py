"""Files that have come whole become a model: all of them at once, or none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from edged import durable
from edged.pull import partial
from edged.pull.found import Found, Remote
from edged.store import Piece, Record, Store, room
from edged.store.gathering import Gathered


@asynccontextmanager
async def holding(store: Store, pieces: Sequence[Piece]) -> AsyncIterator[None]:
    """While a model is gathered, what of it is here already stays."""
    held = store.holding(pieces)
    is_cancelled = await through(held.__enter__)
    try:
        if is_cancelled:
            raise asyncio.CancelledError
        yield
    finally:
        await through(held.__exit__, None, None, None)


async def through(call: Callable[..., object], *arguments: object) -> bool:
    """Have it done in a thread, and done before this returns: it cannot be stopped.

    Whether somebody wanted to cancel it meanwhile: whoever has begun nothing that must be ended raises that again.
    """
    work, is_cancelled = asyncio.ensure_future(asyncio.to_thread(call, *arguments)), False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            is_cancelled = True
    work.result()
    return is_cancelled


def check_room(store: Store, found: Found, reserve_bytes: int | None) -> None:
    """Whether all of a model that is not here yet will fit, before any of it is fetched. Raises `DiskFull`."""
    wanted = 0
    for remote in found.pieces:
        if remote.size_bytes is not None and here(store, remote) is None:
            path = store.partial_path(remote.key)
            partial.recover(path)
            wanted += remote.size_bytes - (path.stat().st_size if path.exists() else 0)
    room.check(store.partials, wanted, reserve_bytes)


def here(store: Store, remote: Remote) -> Piece | None:
    """The file where it is a blob already."""
    if remote.sha256 is None or remote.size_bytes is None:
        return None
    piece = Piece(remote.sha256, remote.size_bytes)
    return piece if store.has_blob(piece) else None


def record(store: Store, found: Found, name: str, pieces: Sequence[Piece], arrived: Sequence[Gathered]) -> Record:
    """What the store will know of it. What was here already was not read again: it is as verified as it was."""
    now_s, came = int(time.time()), {one.piece for one in arrived}
    known = store.records() if came != set(pieces) else []
    verified_s = min(
        now_s if piece in came else max((one.verified_s for one in known if piece in one.pieces), default=0)
        for piece in pieces
    )
    return Record(name, tuple(pieces), found.source, found.revision, found.license, now_s, verified_s)


def install(store: Store, record: Record, arrived: Sequence[Gathered]) -> None:
    """Make the files blobs and give them their name. Raises `ModelInvalid`, `InvalidRequest`, `DiskFull`.

    Where the disk does not take the record, or the plug is pulled before it does, the files are still where they were
    gathered: they are whole, and nobody shall have to fetch them again because a few bytes more found no room.
    """
    with store.holding(record.pieces), room.writing(store.folder):
        for one in arrived:
            partial.keep(one.path)
        durable.sync_folder(store.partials)
        for one in arrived:
            store.adopt(one.path, one.descriptor, one.piece)
        store.enter(record)


def clear(paths: Sequence[Path]) -> None:
    """Have partials gone, with their notes. What the disk does not let go is not worth a failure."""
    for path in paths:
        with contextlib.suppress(OSError):
            partial.delete(path)
