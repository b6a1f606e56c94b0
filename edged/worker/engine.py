"""What batching asks of an engine: rows in, cells shared, kept and given back. `context.py` is llama.cpp's.

A slot is llama.cpp's number of a sequence. Cells are one pool for all slots; one cell holds one token, and several
slots may share it.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol


class MemoryFull(Exception):
    """The engine found no cells for a batch; its memory is as it was before."""


class DecodeFailed(Exception):
    """The engine computed nothing of a batch. What can be cut was cut back, what cannot may be spoilt."""


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a batch: where it belongs, and whether a next token will be drawn from its output."""

    token: int
    position: int
    slot: int
    has_output: bool


class Slots(Protocol):
    """What is asked of an engine to share, to keep and to forget."""

    @property
    def context_tokens(self) -> int:
        """Cells in the pool."""
        ...

    @property
    def slots(self) -> int:
        """Sequence numbers: who runs, and what is cached, has one each."""
        ...

    @property
    def is_cuttable(self) -> bool:
        """Whether a sequence can be cut behind any token; else only with a checkpoint from there."""
        ...

    def copy(self, source: int, target: int, count: int) -> None:
        """Have the empty slot `target` share `count` cells of `source`; what cannot be cut is shared whole."""
        ...

    def cut(self, slot: int, count: int) -> None:
        """Let go of all but the first `count` cells of a slot; what cannot be cut must be back there already."""
        ...

    def release(self, slot: int) -> None:
        """Let go of every cell of a slot."""
        ...

    def checkpoint(self, slot: int) -> bytes:
        """The part of a slot's state that cannot be cut, as it is now."""
        ...

    def checkpoint_bytes(self, slot: int) -> int:
        """How long `checkpoint` would be."""
        ...

    def resume(self, slot: int, checkpoint: bytes) -> None:
        """Put that part back as it was."""
        ...

    def save(self, slot: int) -> bytes:
        """The whole state of a slot."""
        ...

    def save_bytes(self, slot: int) -> int:
        """How long `save` would be."""
        ...

    def load(self, slot: int, state: bytes) -> bool:
        """Fill the empty slot with a saved state; False, and still empty, where that failed."""
        ...


class Engine(Slots, Protocol):
    """The model's memory, reduced to what batching needs. It has at least one slot more than `sequences`."""

    @property
    def sequences(self) -> int:
        """Sequences that may run at once."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Most rows that one decode takes."""
        ...

    def decode(self, rows: Items[Row]) -> None:
        """Compute a batch. Raises `MemoryFull` or `DecodeFailed`."""
        ...
