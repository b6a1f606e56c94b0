"""Which worker may use how many cores: a pure division, told to the workers whenever it changes.

Threads of one step wait for each other, and spin while they do: two models that both use every core wait for threads
that cannot run, and together get a tenth of what one would (`benchmarks/LOG.md`). So those that answer at the same time
have cores of their own. Each takes a change at its next step; until then the old number holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edged.chat import Lane
from edged.local.process import WorkerProcess

# What a worker does: answers in a lane, measures its steps as soon as it may, or nothing.
Doing: TypeAlias = Lane | Literal["measuring", "nothing"]


def divide(cores: int, workers: Mapping[str, Doing], most_each: int | None = None) -> dict[str, int]:
    """How many threads each of `workers`, oldest first, may use.

    Whoever answers has at least one: with more workers than cores the kernel shares them out, which costs little
    because one thread waits for nobody. The rest is divided evenly among those that answer people; what these may not
    use, and all of it where there are none, is divided among the others that answer. What is left then goes to one of
    those that do nothing, for what it does unasked; one that has its steps yet to measure before one that has not.
    """
    most = min(cores, most_each or cores)
    shares = {name: int(doing in ("interactive", "background")) for name, doing in workers.items()}
    free = cores - sum(shares.values())
    for lane in ("interactive", "background"):
        members = [name for name, doing in workers.items() if doing == lane]
        while free > 0 and (short := [name for name in members if shares[name] < most]):
            for name in short[:free]:
                shares[name] += 1
                free -= 1
    idle = sorted((name for name, share in shares.items() if share == 0), key=lambda name: workers[name] == "nothing")
    if idle and free > 0:
        shares[idle[0]] = min(free, most)
    return shares


@dataclass(slots=True)
class Cores:
    """The cores of this machine, lent to workers. `most_each` is the owner's bound for one of them."""

    count: int
    most_each: int | None = None

    @property
    def threads(self) -> int:
        """What a worker may use while it is alone."""
        return self.most_each or self.count

    def lend(self, workers: Mapping[str, WorkerProcess]) -> None:
        """Tell each of the ready `workers` how many threads it may use now, where that is news."""
        shares = divide(
            max(self.count, self.threads), {name: doing(one) for name, one in workers.items()}, self.most_each
        )
        pids = {name: worker.pid for name, worker in workers.items() if worker.pid is not None}
        for name, worker in workers.items():
            worker.use_threads(shares[name], tuple(pid for other, pid in pids.items() if other != name))


def doing(worker: WorkerProcess) -> Doing:
    """What a worker does, as `divide` sees it."""
    return worker.lane or ("nothing" if worker.has_measured else "measuring")
