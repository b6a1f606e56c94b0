"""Child processes that never outlive this one and whose output is shown only when they fail."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class CommandFailed(Exception):
    """A command ended with a failure; `output` is all that it printed."""

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(f"{' '.join(command)} failed")
        self.output = output


def end_with_parent() -> None:
    """Ask for SIGTERM when the calling shell dies; that and a closed terminal become an exit that ends the children."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def clean_environment() -> dict[str, str]:
    """The environment for children: nothing that makes Python look for modules elsewhere, no question ever."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


@contextmanager
def lines_of(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Iterator[Iterator[str]]:
    """The lines that `command` prints, as they come. Raises CommandFailed at the end when it fails.

    Leaving the block early, by an exception or a signal, ends the command and all of its children.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that one signal reaches compilers that were started by a build tool
    ) as process:
        assert process.stdout is not None
        printed: list[str] = []
        try:
            yield _remember(process.stdout, printed)
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if status != 0:
        raise CommandFailed(command, "".join(printed))


def _remember(lines: Iterator[str], printed: list[str]) -> Iterator[str]:
    for line in lines:
        printed.append(line)
        yield line.rstrip("\n")


def quietly(*command: str, cwd: Path = Path("/")) -> str:
    """Run `command` to its end and return what it printed."""
    with lines_of(command, cwd=cwd, environment=clean_environment()) as lines:
        return "\n".join(lines)
