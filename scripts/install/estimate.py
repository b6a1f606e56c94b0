"""How long a compilation will take, and how far it is.

`engine_steps.tsv` lists every step of the engine's build with what it costs, measured in probes: one probe is the time
that a machine needs to compile one typical file of the engine, which is a step of the build itself. So the table holds
on a slow machine as on a fast one, and an estimate is: compile the probe (as many times at once as there will be jobs,
because cores that share a cache or a power limit slow each other down), then play the steps through on that many jobs.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

PROBE = "gguf.cpp"  # 4 s on a 2-core x86-64: long enough to measure, 3 % of the whole
# The two steps that are not compilations and run alone, and the mean cost of a CUDA file.
CONFIGURE, PACK, CUDA = "configure", "pack", "cuda"


def read_steps(table: Path, machine: str) -> dict[str, float]:
    """The cost in probes of every step on `machine` (uname's name), in the order in which the build starts them."""
    rows = [line.split("\t") for line in table.read_text().splitlines() if line and not line.startswith("#")]
    column = 0 if machine == "x86_64" else 1
    return {row[2]: float(row[column]) for row in rows if row[column] != "-"}


def with_cuda(steps: Mapping[str, float], cuda_sources: int) -> dict[str, float]:
    """The steps of a build with so many CUDA files besides; without any, the row of their mean cost falls away."""
    plain = {step: probes for step, probes in steps.items() if step != CUDA}
    return plain | {f"{CUDA}/{number}": steps[CUDA] for number in range(cuda_sources)}


def duration_probes(steps: Mapping[str, float], jobs: int) -> float:
    """How many probes long the whole build is: the lone steps, and the others on `jobs` compilers."""
    alone = sum(probes for step, probes in steps.items() if step in (CONFIGURE, PACK))
    ends = [0.0] * jobs
    for step, probes in steps.items():
        if step not in (CONFIGURE, PACK):
            heapq.heappush(ends, heapq.heappop(ends) + probes)
    return alone + max(ends)


@dataclass(slots=True)
class Progress:
    """How much of a build is done, by the cost of its steps, and how long the rest will take."""

    steps: Mapping[str, float]
    estimated_s: float
    done: dict[str, float] = field(default_factory=dict)

    def finish(self, step: str) -> None:
        """A step that the table does not know costs as much as its mean step."""
        self.done[step] = self.steps.get(step, fmean(self.steps.values()))

    def fraction(self) -> float:
        """Between 0 and 1; never 1 before the end, however many steps came that were not expected."""
        return min(0.99, sum(self.done.values()) / sum(self.steps.values()))

    def left_s(self, elapsed_s: float) -> float:
        """From the estimate at first, from the pace so far once a tenth is done."""
        done = self.fraction()
        return max(self.estimated_s - elapsed_s, 0.0) if done < 0.1 else elapsed_s * (1 - done) / done


def spoken(seconds: float) -> str:
    """`40 s`, `2 min 10 s`, `1 h 05 min`: as exact as an estimate is."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def measured_costs(durations_s: Sequence[tuple[str, float]]) -> str:
    """The steps of a finished build as rows `probes, step`, for the column of this machine in `engine_steps.tsv`."""
    probe_s = next(duration for step, duration in durations_s if step.endswith(f"{PROBE}.o"))
    return "".join(f"{duration / probe_s:.3f}\t{step}\n" for step, duration in durations_s)
