"""How to run a model on this machine: what follows from the configuration, and what an earlier run measured.

A worker finds out while it answers how many threads decode fastest, and while nobody asks what steps of each size
cost; nobody waits for a measurement. Here it is remembered, in `cache/tuning.json`, for the same file on the same
hardware in the same power mode. It is a cache: one that is missing or damaged costs the next worker a few slower
steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from edged import remembered
from edged.checked import reader
from edged.config import Engine
from edged.host import memory
from edged.store import ModelFile, unusable
from edged.wire import Tuned

log = logging.getLogger(__name__)

# Models times power modes that one device has seen lately; the oldest entries go.
_ENTRIES = 64
# Of the machine's memory, for what workers keep of conversations outside of their contexts: 256 MiB of 4 GiB are about
# 20,000 tokens of a 0.5B model (12.4 KB each).
_SNAPSHOT_SHARE = 1 / 16


@dataclass(frozen=True, slots=True)
class Loading:
    """How the weights come into memory.

    Repacked weights are no second copy where the file is read and not mapped. On the 0.5B shape in Q4_0 (x86-64) that
    decodes 8 to 10 % faster, takes 394 MiB in place of 582, and loads in 0.5 s instead of 0.4 (`benchmarks/LOG.md`).
    """

    maps_file: bool
    repacks: bool


@dataclass(frozen=True, slots=True)
class ChosenDrafter:
    """The smaller model that guesses ahead for another, or the reason why the one that was set does not."""

    drafter: ModelFile | None = None
    problem: str = ""


def choose_drafter(model: ModelFile, name: str | None, installed: Iterable[ModelFile]) -> ChosenDrafter:
    """Whether the model called `name` may guess ahead for `model`, if both fit (`fit.py`).

    It is no problem that it does not for itself, for smaller ones, and for those that make no words. Whether the two
    speak the same tokens turns out when they are loaded.
    """
    if not name or name == model.name or model.made_for not in ("words", None):
        return ChosenDrafter()
    drafter = next((file for file in installed if file.name == name), None)
    if drafter is None:
        return ChosenDrafter(problem=f"[engine] draft_model = {name!r}: no such model is installed.")
    if drafter.problem:
        return ChosenDrafter(problem=str(unusable(name, drafter.problem)))
    if drafter.made_for in ("vectors", "scores", "part"):
        return ChosenDrafter(problem=f"{name} was made for {drafter.made_for} and not for words.")
    if drafter.size_bytes >= model.size_bytes:
        return ChosenDrafter()
    return ChosenDrafter(drafter)


def snapshot_bytes(engine: Engine, among: int = 1) -> int:
    """What one worker may keep outside of its context if it is the `among`-th model in memory.

    The first has all that there is, since most devices hold one model for chats; who comes later has a part of it.
    """
    most_bytes = engine.snapshot_bytes
    if most_bytes is None:
        most_bytes = int(memory.total_bytes() * _SNAPSHOT_SHARE)
    return most_bytes // among


class Tuning:
    """What was measured, by model and machine. Reads its file once; writes it when something new is learnt."""

    def __init__(self, file: Path, machine: str) -> None:
        self._file = file
        self._machine = machine
        self._entries: dict[str, Tuned] = remembered.read(file, _parsed, {})
        self._writing = Lock()

    def known(self, model: ModelFile, how: Loading, most_threads: int) -> Tuned:
        """What was found out about a model that is loaded in this way and runs on at most so many threads."""
        return self._entries.get(self._key(model, how, most_threads), Tuned())

    def remember(self, model: ModelFile, how: Loading, most_threads: int, tuned: Tuned) -> None:
        """Keep what was found out, in place of what was known; what cannot be true is not kept."""
        if self.note(model, how, most_threads, tuned):
            self.write()

    def note(self, model: ModelFile, how: Loading, most_threads: int, tuned: Tuned) -> bool:
        """The same, but for the file: whether there is something to `write`. Waits for nobody."""
        try:
            _check(tuned)
        except ValueError as error:
            log.warning("what the worker of %s measured is not kept: %s", model.name, error)
            return False
        key = self._key(model, how, most_threads)
        others = [(other, known) for other, known in self._entries.items() if other != key]
        self._entries = dict([*others, (key, tuned)][-_ENTRIES:])
        return True

    def write(self) -> None:
        """Write down what is known now; any thread may."""
        with self._writing:
            remembered.write(self._file, self._entries, "the next start measures again")

    def _key(self, model: ModelFile, how: Loading, most_threads: int) -> str:
        loaded = "repacked" if how.repacks else "as it is"
        return f"{model.name} {model.size_bytes} {model.modified_s} {loaded} | {self._machine} | {most_threads} threads"


def _parsed(body: Any) -> dict[str, Tuned]:
    return {key: _check(reader(Tuned)(value)) for key, value in body.items()}


def _check(tuned: Tuned) -> Tuned:
    """The same; `ValueError` for what cannot be true: a worker reads strangers' files, and what it says lasts."""
    if tuned.decode_threads is not None and tuned.decode_threads < 1:
        raise ValueError(f"{tuned.decode_threads} threads")
    if not len(tuned.deep_rows_s) <= len(tuned.rows) == len(tuned.rows_s) or min(tuned.rows, default=1) < 1:
        raise ValueError("steps and their seconds do not match")
    if tuned.deep_rows_s and tuned.depth_tokens < 1:
        raise ValueError(f"a depth of {tuned.depth_tokens} tokens")
    if not all(0 < cost_s < math.inf for cost_s in (*tuned.rows_s, *tuned.deep_rows_s)):
        raise ValueError("a step that takes no time, or for ever")
    return tuned
