"""Which prefix is worth a file, and when: a decision over what is in memory and what is on disk already.

    the owner's                       as soon as it is quiet
    a beginning that others share     as soon as it is quiet, and only so much of it as they share
    a conversation that was gone on   after a rest: its next turn would make the file old
    everything else                   when the end is near, the last used first

A conversation grows with every turn and a file cannot: it is written anew only when it has grown by half. All its files
together are then at most three times as long as the last. When the end is near that does not count any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from edged.worker.prefixes import Known, Prefix, common
from edged.worker.stored import WORTH_STORING_TOKENS, Stored

# Whoever goes on at once (a program, a test) is not to be kept waiting by a copy of a tenth of a second.
QUIET_S = 1.0
# Longer than people mostly take for their next line; shorter than most power cuts are apart.
RESTED_S = 30.0
_GROWTH = 1 / 2


@dataclass(frozen=True, slots=True)
class Wish:
    """The first `length` tokens of `source` should be on disk."""

    source: Known
    length: int


def next_wish(
    known: Iterable[Known],
    stored: Collection[Stored],
    *,
    quiet_s: float,
    is_leaving: bool = False,
    refused: Collection[Known] = (),
) -> Wish | None:
    """What to write first after `quiet_s` seconds without work; None where there is nothing, or nothing yet."""
    candidates = [one for one in known if not (isinstance(one, Prefix) and one.is_running)]
    for one in sorted(candidates, key=_weight, reverse=True):
        if not any(one is other for other in refused):
            length = _wanted_tokens(one, quiet_s, is_leaving=is_leaving)
            if length >= WORTH_STORING_TOKENS and _is_worth(one, length, stored, is_leaving=is_leaving):
                return Wish(one, length)
    return None


def wait_s(quiet_s: float) -> float | None:
    """When `next_wish` may answer otherwise although nothing happens; None where it will not."""
    return next((due_s - quiet_s for due_s in (QUIET_S, RESTED_S) if quiet_s < due_s), None)


def _weight(known: Known) -> tuple[bool, int, int]:
    return known.is_pinned, known.used, known.length


def _wanted_tokens(known: Known, quiet_s: float, *, is_leaving: bool) -> int:
    if is_leaving or (known.is_pinned and quiet_s >= QUIET_S) or (known.resumed and quiet_s >= RESTED_S):
        return known.length
    return known.shared if quiet_s >= QUIET_S else 0


def _is_worth(known: Known, length: int, stored: Iterable[Stored], *, is_leaving: bool) -> bool:
    offered = max((_offered(known, length, one) for one in stored), default=0)
    least = WORTH_STORING_TOKENS if is_leaving else max(WORTH_STORING_TOKENS, _GROWTH * offered)
    return length - offered >= least


def _offered(known: Known, length: int, by: Stored) -> int:
    """How many of the first `length` tokens of `known` a file offers to everybody whom `known` serves."""
    if not by.is_open_to(known.partition) or (known.is_pinned and not by.is_pinned):
        return 0
    return by.offers(common(known.tokens, by.tokens, min(length, by.length)))
