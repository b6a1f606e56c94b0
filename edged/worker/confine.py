"""What every child gives up before it reads anything from a stranger."""

from __future__ import annotations

import ctypes
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def confine(*, extra_memory_bytes: int | None = None) -> None:
    """Leave no core dump and no orphan, and be read by nobody; with `extra_memory_bytes`, grow by so much at most.

    The socketpair is the usual leash. The parent-death signal is for a child that is stopped or inside a long decode
    when the daemon dies: it could not read the end-of-file. Conversations are in here, so nobody gets to see this
    memory: not a file, not the program that a kernel pipes core dumps into whatever their limit (core(5)), and not
    another model's process, which runs as the same user.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0))
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A terminal's Ctrl-C reaches the whole process group, and systemd's stop the whole cgroup, while running answers
    # are still drained: when a child ends is the daemon's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if extra_memory_bytes is not None:
        limit_bytes = _address_space_bytes() + extra_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def limit_files(most_bytes: int) -> None:
    """From now on no file grows past `most_bytes`: the daemon hands out descriptors, and this bounds what one costs.

    Writing more fails with EFBIG; Python ignores the signal that comes with it.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])  # proc(5): total program size in pages
    return pages * resource.getpagesize()
