"""How long loads take: what they took here before, how much longer one will, and when one counts as stuck.

What is expected is learnt from the last loads on this device, kept in `cache/loads.json`: a cache, without which the
first load says only how far it is.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edged import remembered
from edged.checked import reader
from edged.errors import ModelLoading

# Loading is bound by the disk: the slowest SD cards still sold (speed class 10) promise 10 MB/s. Nothing is called
# stuck in less than a minute.
_SLOWEST_DISK_BYTES_PER_S = 10_000_000
_SHORTEST_LOAD_DEADLINE_S = 60.0
# The last loads count: a card wears out, and a file is in the page cache or not.
_REMEMBERED = 16
# Smaller files load in the time that a process takes to start, all in about the same; larger ones as the disk reads.
_TELLING_BYTES = 64 * 2**20


def load_deadline_s(model_bytes: int) -> float:
    """How long a model of this size may take to load before it counts as stuck."""
    return max(_SHORTEST_LOAD_DEADLINE_S, model_bytes / _SLOWEST_DISK_BYTES_PER_S)


def bytes_on_disk(descriptor: int) -> int:
    """What has to be read of an open file: a file may claim any size, and holes cost nothing (inode(7), st_blocks)."""
    status = os.fstat(descriptor)
    return min(status.st_size, 512 * status.st_blocks)


@dataclass(frozen=True, slots=True)
class Took:
    """A model of so many bytes was in memory after so many seconds."""

    size_bytes: int
    seconds: float


class LoadTimes:
    """The last loads on this device. Without a `file` they are forgotten with the process."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._loads: list[Took] = remembered.read(file, _parsed, []) if file else []

    def expected_s(self, size_bytes: int) -> float | None:
        """How long a file of this size will take; None while nothing that compares was loaded."""
        telling = [load for load in self._loads if load.size_bytes >= _TELLING_BYTES]
        small = [load for load in self._loads if load.size_bytes < _TELLING_BYTES]
        if size_bytes >= _TELLING_BYTES and telling:
            return size_bytes * median(load.seconds / load.size_bytes for load in telling)
        return median(load.seconds for load in small) if size_bytes < _TELLING_BYTES and small else None

    def note(self, size_bytes: int, seconds: float) -> None:
        """One more has ended well."""
        if size_bytes > 0 and 0 < seconds < math.inf:
            self._loads = [*self._loads, Took(size_bytes, round(seconds, 3))][-_REMEMBERED:]

    def keep(self) -> None:
        """Write them down; takes as long as the disk takes."""
        if self._file is None:
            return
        remembered.write(self._file, self._loads, "the next start cannot say how long loads take")


def _parsed(body: Any) -> list[Took]:
    loads: list[Took] = [reader(Took)(value) for value in body]
    return [load for load in loads if load.size_bytes > 0 and 0 < load.seconds < math.inf][-_REMEMBERED:]


def left_s(elapsed_s: float, progress: float, expected_s: float | None = None) -> float:
    """How much longer a load takes that is so far, where loads like it took `expected_s`.

    What it says itself counts the more the further it is; what was expected counts until it has passed.
    """
    told_s = elapsed_s * (1 - progress) / progress if progress > 0 else None
    if expected_s is None or elapsed_s >= expected_s:
        return elapsed_s if told_s is None else told_s
    remembered_s = expected_s - elapsed_s
    return remembered_s if told_s is None else progress * told_s + (1 - progress) * remembered_s


def loading(elapsed_s: float, progress: float, expected_s: float | None = None) -> ModelLoading:
    """The error that says how far a load is, and when it will be through."""
    eta_s = left_s(elapsed_s, progress, expected_s)
    return ModelLoading(
        f"The model is being loaded: {progress:.0%}, about {eta_s:.0f} s to go.", progress=progress, retry_after_s=eta_s
    )


def must_load(model: str, expected_s: float, deadline_s: float) -> ModelLoading:
    """The error for a request that does not want to wait for a load that has not begun."""
    return ModelLoading(
        f"The model {model} is not in memory. Loading it takes about {expected_s:.0f} s, and this request would wait "
        f"{deadline_s:g} s at most. Come back then.",
        progress=0.0,
        retry_after_s=expected_s,
    )
