"""How much memory a load has taken, as llama.cpp and the kernel say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edged.load_wire import Taken
from edged.worker.bindings import Buffer

_KIB = 1024
# Where buffers lie that are memory of the process (names of buffer types in ggml/src/ggml-cpu and ggml-cuda).
_HOSTS = ("CPU", "CPU_REPACK", "CPU_Mapped", "AMX", "CUDA_Host")
_MAPPED = "CPU_Mapped"
# What a fresh context has written to: cells are cleared (src/llama-kv-cache.cpp), and so are outputs. Compute buffers
# are first touched by a step.
_TOUCHED = ("model", "KV", "RS", "output")


def taken(buffers: Sequence[Buffer], resident_bytes: int | None) -> Taken:
    """The account of a load after which the process had `resident_bytes`."""
    are_told_apart = all(buffer.place in _HOSTS and buffer.place != _MAPPED for buffer in buffers)
    process_bytes = None
    if resident_bytes is not None and are_told_apart:
        process_bytes = max(0, resident_bytes - _total(buffers, *_TOUCHED))
    return Taken(
        _total(buffers, "model"), _total(buffers, "KV", "RS"), _total(buffers, "compute", "output"), process_bytes
    )


def resident_bytes(file: Path = Path("/proc/self/smaps_rollup")) -> int | None:
    """Memory of this process (kernel: Documentation/ABI/testing/procfs-smaps_rollup); None where nobody tells.

    `Rss` and not `Pss`: pages that it shares with another worker would count for half, and for more when that one ends.
    """
    try:
        fields = [line.split() for line in file.read_text().splitlines()[1:]]
    except OSError:
        return None
    return next((int(field[1]) * _KIB for field in fields if field[0] == "Rss:"), None)


def _total(buffers: Sequence[Buffer], *purposes: str) -> int:
    return sum(buffer.size_bytes for buffer in buffers if buffer.purpose in purposes)
