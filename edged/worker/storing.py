"""When a worker writes prefixes to disk: while nobody wants anything of it, a slice at a time.

    rest ─▶ next_wish ─▶ Keep ─▶ Granted ─▶ copy the state ─▶ slice, slice, … ─▶ Kept

Whoever comes in between is served first; a file that is half written then waits for the next rest. The files are the
daemon's: it opens them, and makes of what was written something that a power cut cannot take back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from edged.prefix_wire import AllPutAway, Denied, Discard, Forget, Granted, Keep, Kept, Offer, PrefixOrder, PutAway
from edged.worker.memory import Memory
from edged.worker.pipe import Pipe
from edged.worker.prefix_file import pieces, size_bytes
from edged.worker.prefixes import Known
from edged.worker.worth import Wish, next_wish, wait_s

# What was refused (the day's writing is used up, the disk is full) is asked for again after this.
_REFUSED_FOR_S = 600.0
# What the estimate of a state's size may be short of: it is taken in proportion, and some of it is the same for all.
_MARGIN_BYTES = 65_536


@dataclass(slots=True)
class Draft:
    """A file on its way: `rest` are the bytes that are not in it yet."""

    id: int
    descriptor: int
    most_bytes: int
    source: Known
    rest: Iterator[bytes] | None = None


class Storing:
    """One worker's writing. `most_bytes` is the longest file that the daemon would take, 0 where it takes none."""

    def __init__(self, pipe: Pipe, memory: Memory, most_bytes: int) -> None:
        self._pipe = pipe
        self._memory = memory
        self._most_bytes = most_bytes
        self._asked: tuple[Wish, int] | None = None
        self._draft: Draft | None = None
        self._refused: list[Known] = []
        self._refused_s = 0.0
        self._worked_s = perf_counter()
        self._is_leaving = False

    @property
    def is_urgent(self) -> bool:
        """The daemon is about to leave and waits for what is being put away."""
        return self._is_leaving

    def note_work(self) -> None:
        """A step was made just now."""
        self._worked_s = perf_counter()

    def obey(self, order: PrefixOrder) -> None:
        """Do what the daemon says; what takes time is left to `rest`."""
        match order:
            case Offer(id):
                self._memory.stored.add(id, self._pipe.take_descriptor())
            case Forget(id):
                self._memory.stored.forget(id)
            case Granted(id):
                assert self._asked is not None
                wish, most_bytes = self._asked
                self._draft = Draft(id, self._pipe.take_descriptor(), most_bytes, wish.source)
            case Denied():
                assert self._asked is not None
                self._refuse(self._asked[0].source)
                self._asked = None
            case PutAway():
                self._is_leaving = True
                self._refused.clear()

    def rest(self) -> None:
        """Nothing is to be done: write what is worth it. Returns when there is news, or nothing is left to write."""
        while self._most_bytes and not self._pipe.has_news(0):
            if self._draft is not None:
                self._write(self._draft)
            elif self._asked is not None:
                return
            else:
                later_s = self._ask()
                if later_s is None or self._pipe.has_news(later_s):
                    return

    def _ask(self) -> float | None:
        """Ask for a file for what is worth one now; else say in how many seconds something may be, if ever."""
        now_s = perf_counter()
        if now_s - self._refused_s >= _REFUSED_FOR_S:
            self._refused.clear()
        wish = next_wish(
            self._memory.outside_of_files,
            list(self._memory.stored),
            quiet_s=now_s - self._worked_s,
            is_leaving=self._is_leaving,
            refused=self._refused,
        )
        if wish is not None:
            state_bytes = self._memory.copied_bytes(wish.source, wish.length) + _MARGIN_BYTES
            size = size_bytes(wish.source, state_bytes)
            if size > self._most_bytes:
                self._refuse(wish.source)
                return 0.0
            self._asked = (wish, size)
            self._pipe.send(Keep(size, wish.source.is_pinned))
        elif self._is_leaving:
            self._is_leaving = False
            self._pipe.send(AllPutAway())
        else:
            return wait_s(now_s - self._worked_s)
        return None

    def _write(self, draft: Draft) -> None:
        """Put the next slice into the file; the first one copies the state out, the last one makes it a file."""
        if draft.rest is None:
            self._begin(draft)
            return
        try:
            piece = next(draft.rest, None)
            if piece is not None:
                _write_all(draft.descriptor, piece)
                return
        except OSError as error:
            self._give_up(draft, error.strerror or str(error))
            return
        self._draft = None
        self._pipe.send(Kept(draft.id))
        self._memory.stored.add(draft.id, draft.descriptor)

    def _begin(self, draft: Draft) -> None:
        assert self._asked is not None
        wish, self._asked = self._asked[0], None
        snapshot = self._memory.copied_out(wish.source, wish.length, is_last=self._is_leaving)
        if snapshot is None or size_bytes(snapshot, len(snapshot.state)) > draft.most_bytes:
            self._give_up(draft, "what was to be written has changed")
        else:
            draft.rest = pieces(snapshot, self._memory.stored.identity)

    def _give_up(self, draft: Draft, detail: str) -> None:
        os.close(draft.descriptor)
        self._draft = None
        self._refuse(draft.source)
        self._pipe.send(Discard(draft.id, "unwritten", detail))

    def _refuse(self, source: Known) -> None:
        self._refused.append(source)
        self._refused_s = perf_counter()


def _write_all(descriptor: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])
