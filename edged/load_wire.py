"""What a worker says of a load beside all else: how gaps are filled, what memory was taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Infill:
    """The control tokens around a text with a gap: before what is in front of it, behind it, and inside of it."""

    front: str
    behind: str
    gap: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a load has taken, by llama.cpp's own account: weights, cells and states, and its compute and output buffers.

    `process_bytes` is all the rest of the process at that moment; None where the kernel does not tell it apart, as for
    a mapped file and with memory on a device.
    """

    weights_bytes: int
    cells_bytes: int
    compute_bytes: int
    process_bytes: int | None = None
