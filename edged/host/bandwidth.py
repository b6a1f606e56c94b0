"""How many bytes a second this machine's memory gives, by copying: what decoding one token at a time is bound by."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

# Larger than the last-level caches of boards and desktops (a 32 MiB L3 among them), small beside any model.
_BUFFER_BYTES = 64 * 2**20
_SECONDS = 0.5


def copy_bytes_per_s() -> float:
    """Bytes read plus bytes written per second, one copying thread per usable core. Takes half a second."""
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: _copy(), range(threads)))


def _copy() -> float:
    """One thread's share; ctypes lets the others run meanwhile."""
    source, target = ctypes.create_string_buffer(_BUFFER_BYTES), ctypes.create_string_buffer(_BUFFER_BYTES)
    ctypes.memset(source, 1, _BUFFER_BYTES)  # untouched pages are all the same page of zeros, which a cache holds
    ctypes.memset(target, 1, _BUFFER_BYTES)
    began, copies = perf_counter(), 0
    while (elapsed_s := perf_counter() - began) < _SECONDS:
        ctypes.memmove(target, source, _BUFFER_BYTES)
        copies += 1
    return 2 * copies * _BUFFER_BYTES / elapsed_s
