"""A real cgroup of one's own whose memory the kernel limits: version 2 where it has the controller, else version 1.

A machine has it in one of them: /proc/self/cgroup names it in a line of version 1, or not (cgroups(7)).
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edged.host import cgroup
from tests.daemon_process import until


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """The group's folder, and whether it is of version 1."""

    folder: Path
    is_old: bool

    def limit(self, most_bytes: int) -> None:
        """From here on the kernel gives it no more, in memory or swap. Once for each group."""
        if self.is_old:
            self._write("memory.limit_in_bytes", most_bytes)
            with_swap = ("memory.memsw.limit_in_bytes", most_bytes)
        else:
            self._write("memory.max", most_bytes)
            with_swap = ("memory.swap.max", 0)
        if (self.folder / with_swap[0]).exists():  # a kernel may have no swap
            self._write(*with_swap)

    def kills(self) -> int:
        """How many of its processes the kernel has killed because there was no memory."""
        lines = (self.folder / ("memory.oom_control" if self.is_old else "memory.events")).read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def processes(self) -> set[int]:
        """Who is in it."""
        return {int(line) for line in (self.folder / "cgroup.procs").read_text().split()}

    def _write(self, name: str, number: int) -> None:
        (self.folder / name).write_text(str(number))

    def entering(self, *, unseen: bool = False) -> list[str]:
        """A command that enters it and becomes the one behind it. `unseen`: that one does not see the limit, as in a
        container whose group has no limit and stands in one that has.
        """
        become = "exec unshare --cgroup" if unseen else "exec"
        return ["sh", "-c", f'echo $$ > "$0/cgroup.procs" && {become} "$@"', str(self.folder)]


@contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """An empty group, which is removed with all that is in it. Skips the test where there can be none."""
    old = cgroup.levels_v1("memory")
    if old and (old[0] / "memory.limit_in_bytes").exists():
        place, is_old = old[0], True
    else:
        levels, is_old = cgroup.levels(), False
        given = [level for level in levels if _gives_memory(level)]
        if not given:
            pytest.skip("no cgroup around us gives its children a limit of memory")
        place = given[0]
    try:
        folder = Path(tempfile.mkdtemp(prefix="edged-test-", dir=place))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    group = MemoryGroup(folder, is_old)
    try:
        yield group
    finally:
        for pid in group.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: _is_removed(folder), f"{folder} is removed")


def _gives_memory(level: Path) -> bool:
    try:
        return "memory" in (level / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _is_removed(folder: Path) -> bool:
    """A group is busy for a moment after its last process has ended."""
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
