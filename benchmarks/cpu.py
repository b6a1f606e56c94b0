"""CPU time and memory of processes, as the kernel accounts them.

`schedstat` counts nanoseconds per thread, where `stat` counts ticks of 10 ms; and it says how long a thread was ready
to run and had to wait for a core, which is the error bar of every wall-clock time measured on a busy machine.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """Seconds on a core, and seconds ready but without one."""

    ran_s: float
    waited_s: float

    def __sub__(self, earlier: "ThreadTime") -> "ThreadTime":
        return ThreadTime(self.ran_s - earlier.ran_s, self.waited_s - earlier.waited_s)


def main_thread(pid: int) -> ThreadTime:
    """Time of the thread that runs `main`: in a worker, the one that runs Python (the others are the engine's)."""
    return _thread(Path(f"/proc/{pid}/task/{pid}/schedstat"))


def all_threads_s(pid: int) -> float:
    """Seconds on a core of all living threads."""
    return sum(_thread(path).ran_s for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def pss_bytes(pid: int) -> int:
    """Proportional set size: private pages, plus a fair part of each shared one."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss line; the process may have just ended")


def _thread(schedstat: Path) -> ThreadTime:
    ran, waited, _slices = schedstat.read_text().split()
    if ran == "0":
        raise RuntimeError(f"{schedstat} is all zero: this kernel was built without CONFIG_SCHED_INFO")
    return ThreadTime(int(ran) / 1e9, int(waited) / 1e9)
