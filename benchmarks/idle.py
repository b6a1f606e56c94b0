"""What the appliance costs while nobody asks.

Memory is the proportional set size: what would come back if the process ended, libraries shared with others counted
by their share. CPU is what the scheduler counted for all threads. No model is resident, so this is the daemon itself:
everything else on the board is free for whoever needs it, and on battery or in a fleet it is the idle power.
"""

import time

import psutil

from benchmarks import cpu
from benchmarks.report import Figure, Line
from benchmarks.server import daemon

_PSS_LIMIT_MIB = 60.0
_CPU_LIMIT_PERCENT = 0.5
# Imports on first use, the first timers: what happens once is not idling.
_SETTLE_S = 5.0


def measure(is_quick: bool) -> Figure:
    """The daemon without a resident model."""
    watch_s = 5.0 if is_quick else 30.0
    with daemon(settings={"models.preload": "false"}) as server:
        server.wait_listening()
        server.get("/healthz")
        time.sleep(_SETTLE_S)
        pid = server.process.pid
        before_s, began = cpu.all_threads_s(pid), time.perf_counter()
        time.sleep(watch_s)
        busy_percent = 100 * (cpu.all_threads_s(pid) - before_s) / (time.perf_counter() - began)
        memory_mib = cpu.pss_bytes(pid) / 2**20
        children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        children_mib = sum(cpu.pss_bytes(child) for child in children) / 2**20
    lines = (
        Line("daemon without a resident model, PSS", memory_mib, "MiB", _PSS_LIMIT_MIB),
        Line("its child processes, PSS", children_mib, "MiB", note=f"{len(children)} processes"),
        Line("idle CPU", busy_percent, "% of a core", _CPU_LIMIT_PERCENT, f"over {watch_s:.0f} s"),
    )
    return Figure("idle", lines, {"settle_s": _SETTLE_S, "watch_s": watch_s}, is_quick)
