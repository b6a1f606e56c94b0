"""Starts a server as a process of its own, waits for its port, and ends it: the daemon, or whom it is compared with."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edged import control
from edged.config import control_socket

ROOT = Path(__file__).resolve().parent.parent

# Loading a model of 1 GB from an SD card at 10 MB/s takes 100 s; nothing that is measured here takes longer.
_DEADLINE_S = 180.0
# The daemon promises to be gone within 30 s of SIGTERM.
_STOP_S = 35.0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `started_s` is when its process was created, on the clock of `time.perf_counter`."""

    process: subprocess.Popen[bytes]
    port: int
    started_s: float
    log: Path
    control: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def status(self) -> dict[str, Any]:
        """What the daemon tells its owner of itself."""
        if self.control is None:
            raise RuntimeError(f"{self.process.args!r} is not the daemon")
        return control.ask(self.control, "/edged/v1/status")

    def wait_listening(self) -> float:
        """Seconds from the start of the process to the first connection that it accepted."""
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return time.perf_counter() - self.started_s
            self.pause()

    def cpu_s(self) -> float:
        """Processor time that it and its children have used; that of children which have ended is not counted."""
        used_s = 0.0
        for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used_s += times.user + times.system
        return used_s

    def pause(self) -> None:
        """A moment between two attempts. RuntimeError once the process has ended or is far too late."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.returncode}:\n{self._last_words()}")
        if time.perf_counter() - self.started_s > _DEADLINE_S:
            raise RuntimeError(f"{self.process.args!r} was not ready after {_DEADLINE_S:.0f} s:\n{self._last_words()}")
        time.sleep(_POLL_S)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], port: int, environment: Mapping[str, str], *, controlled_by: Path | None = None
) -> Iterator[Server]:
    """Runs `command` until the block ends. Its output goes to a file, for the error message if it fails.

    With `controlled_by`, its socket for its owner, it is the daemon, which must end by itself when it is told to;
    llama-server hangs now and then if somebody was being answered.
    """
    with tempfile.TemporaryDirectory(prefix="edged-benchmark-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            started_s = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        try:
            yield Server(process, port, started_s, log, controlled_by)
        finally:
            _stop(process, is_ours=controlled_by is not None)


@contextlib.contextmanager
def daemon(
    models: Path | None = None,
    *,
    through_script: bool = False,
    settings: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> Iterator[Server]:
    """The appliance on a free port with an empty state directory of its own, whose models are those in `models`.

    `settings` are configuration keys (`engine.threads`). What this machine is otherwise configured to do is left out.
    With `home`, a folder, the state is kept there and found again by the next one.
    """
    port = free_port()
    program = ROOT / "scripts" / "run" if through_script else Path(sys.executable).with_name("edged")
    with tempfile.TemporaryDirectory(prefix="edged-state-") as folder:
        state, config = (home or Path(folder)) / "state", Path(folder) / "edged.toml"
        config.write_text("# all defaults\n")
        if models is not None and not state.exists():
            state.mkdir(mode=0o700)
            (state / "models").symlink_to(models)
        command = [program, *([] if through_script else ["serve"])]
        command += ["--port", str(port), "--state-dir", state, "--config", config]
        variables = {f"EDGED_{key.upper().replace('.', '__')}": value for key, value in (settings or {}).items()}
        words = [str(word) for word in command]
        with running(words, port, variables, controlled_by=control_socket(state)) as server:
            yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes], *, is_ours: bool) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if is_ours:
            raise RuntimeError(f"{process.args!r} did not end within {_STOP_S:.0f} s of SIGTERM") from None
