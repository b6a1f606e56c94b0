"""What loads have really taken, remembered: the next forecast of the same file on the same machine begins there.

It stands in `cache/memory.json` beside `tuning.json`, and is a cache as well: without it the arithmetic stands alone.
What a load teaches that failed for memory, or an answer during which the kernel killed the worker, is only that it took
more than there was, which may have been others' doing: it is forgotten when the daemon starts anew.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

from edged import remembered
from edged.checked import reader
from edged.local.needs import UNLEARNED, Learned
from edged.store import ModelFile

log = logging.getLogger(__name__)

# Files times machines that one device has seen lately; the oldest entries go.
_ENTRIES = 64
# A worker reads strangers' files, so what it says is believed within bounds: the arithmetic is exact for what it knows,
# and what it does not know (an architecture that keeps other things) was never off by more.
_LEAST_RATIO, _MOST_RATIO = 0.5, 4.0
_LEAST_MISSING_BYTES = 2**20
_LEAST_PROCESS_BYTES, _MOST_PROCESS_BYTES = 16 * 2**20, 4 * 2**30


class Calibration:
    """What was learnt, by model and machine. Reads its file once; writes it when something new is learnt.

    Several threads may write at once, as loads end together; who reads never waits for them.
    """

    def __init__(self, file: Path, machine: str) -> None:
        self._file = file
        self._machine = machine
        self._entries: dict[str, Learned] = remembered.read(file, _parsed, {})
        self._writing = RLock()

    def known(self, model: ModelFile) -> Learned:
        """What loads of this file taught; nothing, for the first."""
        return self._entries.get(self._key(model), UNLEARNED)

    def remember(self, model: ModelFile, learned: Learned) -> None:
        """Keep what a load taught, in place of what was known, cut to its bounds; what is no number is not kept."""
        try:
            learned = _check(_bounded(learned))
        except ValueError as error:
            log.warning("what the load of %s took is not kept: %s", model.name, error)
            return
        key = self._key(model)
        with self._writing:
            if self._entries.get(key) == learned:
                return
            others = [(other, known) for other, known in self._entries.items() if other != key]
            self._entries = dict([*others, (key, learned)][-_ENTRIES:])
            remembered.write(self._file, self._entries, "the next load is forecast by arithmetic")

    def note_success(self, model: ModelFile, learned: Learned) -> None:
        """A load has taken so much. What was missing before is forgotten by halves: it may have been others' doing."""
        with self._writing:
            left_bytes = self.known(model).missing_bytes // 2
            left_bytes = left_bytes if left_bytes >= _LEAST_MISSING_BYTES else 0
            self.remember(model, replace(learned, missing_bytes=left_bytes))

    def note_failure(self, model: ModelFile, missing_bytes: int) -> None:
        """A worker took at least so much more than was forecast."""
        with self._writing:
            self.remember(model, replace(self.known(model), missing_bytes=max(0, missing_bytes)))

    def _key(self, model: ModelFile) -> str:
        return f"{model.name} {model.size_bytes} {model.modified_s} | {self._machine}"


def _parsed(body: Any) -> dict[str, Learned]:
    found = {key: _check(reader(Learned)(value)) for key, value in body.items()}
    return {key: replace(learned, missing_bytes=0) for key, learned in found.items()}


def _bounded(learned: Learned) -> Learned:
    """The nearest that is believed: far off in one number, a load has still taught the others."""
    process_bytes = learned.process_bytes
    if process_bytes is not None:
        process_bytes = min(max(process_bytes, _LEAST_PROCESS_BYTES), _MOST_PROCESS_BYTES)
    ratios = (learned.weights, learned.cells, learned.compute)
    weights, cells, compute = (
        min(max(ratio, _LEAST_RATIO), _MOST_RATIO) if math.isfinite(ratio) else ratio for ratio in ratios
    )
    return replace(learned, weights=weights, cells=cells, compute=compute, process_bytes=process_bytes)


def _check(learned: Learned) -> Learned:
    """The same; `ValueError` for what cannot be true."""
    for ratio in (learned.weights, learned.cells, learned.compute):
        if not (math.isfinite(ratio) and _LEAST_RATIO <= ratio <= _MOST_RATIO):
            raise ValueError(f"{ratio:g} times the forecast")
    process_bytes = learned.process_bytes
    if process_bytes is not None and not _LEAST_PROCESS_BYTES <= process_bytes <= _MOST_PROCESS_BYTES:
        raise ValueError(f"a process of {process_bytes} bytes")
    if learned.missing_bytes < 0:
        raise ValueError(f"{learned.missing_bytes} bytes missing")
    return learned
