"""Prefixes in files: what they offer is known from their heads, what they hold is read when somebody wants it.

A file that turns out not to be what it should be is discarded before anything of it reaches the engine, and whoever
wanted it looks for the next best.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edged.prefix_wire import Discard, DiscardReason, PrefixNews, Restoring, Used
from edged.worker.prefix_file import Head, Unusable, read_head, read_whole
from edged.worker.prefixes import Snapshot, is_covered, longest

# Fewer are read in half a second even on a small board (a Pi 5 reads some hundred tokens a second with a 0.5B model),
# and each file costs a descriptor, a few blocks and two synchronisations.
WORTH_STORING_TOKENS = 64


@dataclass(slots=True, eq=False)
class Stored(Snapshot):
    """A state in the file behind `descriptor`; its `cuts` have the right lengths and no content."""

    id: int = 0
    descriptor: int = -1
    head: Head | None = None


class StoredPrefixes:
    """The files that the daemon keeps for this model. `tell` hears what becomes of them."""

    def __init__(
        self, identity: bytes = b"", most_tokens: int = 0, tell: Callable[[PrefixNews], None] = lambda news: None
    ) -> None:
        self.identity = identity
        self._most_tokens = most_tokens
        self._tell = tell
        self._kept: list[Stored] = []

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._kept)

    def add(self, id: int, descriptor: int) -> None:
        """Take over a file, and its descriptor with it. Those that it makes superfluous are discarded."""
        try:
            head = read_head(descriptor, self.identity, self._most_tokens)
        except (Unusable, OSError) as error:
            os.close(descriptor)
            self._tell(Discard(id, _reason(error), str(error)))
            return
        cuts = None if head.cuts is None else {length: b"" for length, _ in head.cuts}
        new = Stored(
            head.tokens,
            head.partition,
            len(head.tokens),
            cuts,
            head.is_pinned,
            id=id,
            descriptor=descriptor,
            head=head,
        )
        for old in [old for old in self._kept if is_covered(old, new)]:
            self._drop(old)
            self._tell(Discard(old.id, "replaced"))
        self._kept.append(new)

    def forget(self, id: int) -> None:
        """The file is gone. Unknown ids are ignored."""
        for stored in [stored for stored in self._kept if stored.id == id]:
            self._drop(stored)

    def read(self, stored: Stored) -> Snapshot | None:
        """What is in the file, or None, and then it is discarded. `settle` must follow."""
        assert stored.head is not None
        try:
            snapshot = read_whole(stored.descriptor, stored.head, self.identity)
        except (Unusable, OSError) as error:
            self._discard(stored, _reason(error), str(error))
            return None
        self._tell(Restoring(stored.id))
        return snapshot

    def settle(self, stored: Stored, *, is_refused: bool) -> None:
        """The engine has seen what `read` gave, and has taken it or refused it."""
        if is_refused:
            self._discard(stored, "damaged", "llama.cpp did not take it")
        else:
            self._tell(Used(stored.id))

    def note(self, tokens: Sequence[int], partition: str | None, now: int) -> None:
        """A newcomer with `tokens` is here: the file that it begins like is in use, wherever it was taken over from."""
        found = longest(tokens, partition, self._kept)
        if isinstance(found.source, Stored) and found.count >= WORTH_STORING_TOKENS:
            found.source.used = now
            self._tell(Used(found.source.id))

    def _discard(self, stored: Stored, reason: DiscardReason, detail: str) -> None:
        self._drop(stored)
        self._tell(Discard(stored.id, reason, detail))

    def _drop(self, stored: Stored) -> None:
        self._kept = [kept for kept in self._kept if kept is not stored]
        os.close(stored.descriptor)


def _reason(error: Unusable | OSError) -> DiscardReason:
    return error.reason if isinstance(error, Unusable) else "damaged"
