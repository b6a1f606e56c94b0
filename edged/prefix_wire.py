"""What daemon and worker say to each other about prefixes on disk; `wire.py` has everything else.

    daemon ── Offer ──────────────▶ worker       a file of an earlier run; its descriptor travels beside the frame
           ◀─ Restoring, Used                    somebody's prompt begins like it; Used also where it was not needed
           ◀─ Discard                            it is of no use any more
           ── Forget ─────────────▶              it had to go
           ◀─ Keep                               may so many bytes be written?
           ── Granted | Denied ───▶              with the descriptor of an empty file
           ◀─ Kept | Discard                     it is whole, or never will be
           ── PutAway ────────────▶              the end is near: write what is worth it
           ◀─ AllPutAway                         nothing is left to write

Of bytes only their number is told: states travel through the descriptors. The worker asks for one file at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

# Damaged and foreign files are deleted unread, unwritten ones are what a full disk leaves, and a conversation that went
# on is written anew under another name.
DiscardReason: TypeAlias = Literal["damaged", "foreign", "unwritten", "replaced"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A prefix that was written before, behind the read-only descriptor sent beside this frame."""

    id: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The file is gone; unknown ids are ignored."""

    id: int


@dataclass(frozen=True, slots=True)
class Granted:
    """Write what `Keep` asked for to the descriptor sent beside this frame."""

    id: int


@dataclass(frozen=True, slots=True)
class Denied:
    """Not now: the budget of bytes, the day's writing or the disk itself is used up."""


@dataclass(frozen=True, slots=True)
class PutAway:
    """Write what is worth it now instead of after a rest; nobody will ask for anything any more."""


@dataclass(frozen=True, slots=True)
class Keep:
    """A prefix is worth writing and takes at most `size_bytes`; the owner's are the last to go again."""

    size_bytes: int
    is_owners: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """The file is written to its last byte, though not synchronised."""

    id: int


@dataclass(frozen=True, slots=True)
class Restoring:
    """The file is about to be handed to the engine. A worker that dies now may have died of it."""

    id: int


@dataclass(frozen=True, slots=True)
class Used:
    """A newcomer began like this file; after `Restoring`, it was read from there and did no harm."""

    id: int


@dataclass(frozen=True, slots=True)
class Discard:
    """The file may be deleted. The worker will not ask for it again."""

    id: int
    reason: DiscardReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AllPutAway:
    """The answer to `PutAway`, once."""


PrefixOrder: TypeAlias = Offer | Forget | Granted | Denied | PutAway
PrefixNews: TypeAlias = Keep | Kept | Restoring | Used | Discard | AllPutAway
