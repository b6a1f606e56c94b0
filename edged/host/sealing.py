"""This process, closed to the others of its user before it reads a secret.

Children run as the same user, and they are where strangers' files are read: without this, one that was taken over could
read the daemon's memory (ptrace(2), "Ptrace access mode checking"). And a crash leaves nothing behind: a limit of 0
keeps core dumps out of files, but not out of a program that the kernel pipes them into (core(5)), as many distributions
have it; a process that cannot be dumped leaves neither.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def seal() -> None:
    """No core dump, no debugger, no reading of /proc/PID/mem or environ; and what it writes is for its owner alone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0)):
        log.warning("processes of the same user can read this one's memory: %s", os.strerror(ctypes.get_errno()))
