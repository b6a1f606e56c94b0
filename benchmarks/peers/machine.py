"""Whether the machine kept its speed while it was measured, and how fast it copies memory.

Heat and a weak power supply lower the clock, a hypervisor takes cores away: a figure measured meanwhile says nothing
about a program. Boards and processors that count such events are asked; and because many do not, a piece of plain
arithmetic is timed before and after, on the processor's own time so that other programs do not matter.
"""

import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_Bytes = npt.NDArray[np.uint8]

# A step that spins waits for the slowest core: one lost twentieth of a core is lost by all.
_MOST_STOLEN = 0.05
# Neighbours in a shared cache and another core's turbo move the same arithmetic by some percent.
_MOST_SLOWED = 0.10
_ARITHMETIC_STEPS = 200_000
_ARITHMETIC_RUNS = 5
# Far larger than any cache, small enough for a board of 1 GB.
_COPY_BYTES = 128 * 2**20
_COPY_RUNS = 5

_THROTTLE_COUNTS = "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
# Raspberry Pi's firmware: documentation/asciidoc/computers/os/using-vcgencmd.adoc, get_throttled; the low bits say now.
_PI_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
_PI_SIGNS = {0: "undervoltage", 1: "capped clock", 2: "throttled", 3: "soft temperature limit"}


@dataclass(frozen=True, slots=True)
class Condition:
    """The machine at one moment. `arithmetic_s` is the quickest of some runs of the same work."""

    throttle_events: int
    signs: frozenset[str]
    stolen_ticks: int
    all_ticks: int
    arithmetic_s: float


def condition(system: Path = Path("/sys"), processes: Path = Path("/proc")) -> Condition:
    """Takes a tenth of a second."""
    events = sum(int(path.read_text()) for path in system.glob(_THROTTLE_COUNTS))
    pi = system / _PI_THROTTLED
    bits = int(pi.read_text(), 16) if pi.exists() else 0
    signs = frozenset(name for bit, name in _PI_SIGNS.items() if bits >> bit & 1)
    # man 5 proc, /proc/stat: user nice system idle iowait irq softirq steal, then guest times that user includes
    ticks = [int(word) for word in (processes / "stat").read_text().partition("\n")[0].split()[1:9]]
    return Condition(events, signs, ticks[7], sum(ticks), min(_arithmetic_s() for _ in range(_ARITHMETIC_RUNS)))


def disturbance(before: Condition, after: Condition) -> str:
    """Why nothing measured between these two may be published; empty if it may."""
    if after.signs | before.signs:
        return f"the firmware reports: {', '.join(sorted(after.signs | before.signs))}"
    if after.throttle_events > before.throttle_events:
        return f"the processor was throttled {after.throttle_events - before.throttle_events} times by heat"
    stolen = (after.stolen_ticks - before.stolen_ticks) / max(1, after.all_ticks - before.all_ticks)
    if stolen > _MOST_STOLEN:
        return f"the hypervisor took {stolen:.0%} of the cores away (at most {_MOST_STOLEN:.0%})"
    slowed = after.arithmetic_s / before.arithmetic_s - 1
    if abs(slowed) > _MOST_SLOWED:
        return f"the same arithmetic took {slowed:+.0%} time at the end (at most {_MOST_SLOWED:.0%} either way)"
    return ""


@functools.cache
def copy_bytes_per_s() -> float:
    """Bytes read and written per second when every core copies memory; the best of some runs, measured once."""
    cores = len(os.sched_getaffinity(0))
    sources = [np.ones(_COPY_BYTES // cores, dtype=np.uint8) for _ in range(cores)]
    targets = [np.zeros_like(source) for source in sources]
    with ThreadPoolExecutor(cores) as pool:
        took_s = min(_copy_s(pool, targets, sources) for _ in range(_COPY_RUNS))
    return 2 * sum(source.nbytes for source in sources) / took_s


def _copy_s(pool: ThreadPoolExecutor, targets: Sequence[_Bytes], sources: Sequence[_Bytes]) -> float:
    began_s = time.perf_counter()
    list(pool.map(np.copyto, targets, sources))
    return time.perf_counter() - began_s


def _arithmetic_s() -> float:
    began_s = time.thread_time()
    total = 0
    for number in range(_ARITHMETIC_STEPS):
        total += number * number
    return time.thread_time() - began_s
