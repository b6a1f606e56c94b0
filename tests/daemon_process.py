"""The daemon as a process of its own, as a person runs it: started, asked, stopped, and searched for what it left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil

from edged import control
from edged.errors import EdgedError

ROOT = Path(__file__).parents[1]
# Everything here takes well under a second on an idle machine; a test that waits longer than this has found a defect.
PATIENCE_S = 25.0
# The daemon's own promise is 30 s from SIGTERM to its end.
STOP_S = 30.0
_POLL_S = 0.01
_LISTENING = re.compile(r"listening address=(http://\S+)")
# What an owner may have set on the machine that runs the tests, and what systemd sets for its services.
_FOREIGN = ("EDGED_", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
# Threads that wait for each other in every step stand still when the machine has other things to do as well.
_THREADS = {"EDGED_ENGINE__THREADS": "1"}

Found = TypeVar("Found")


def until(look: Callable[[], Found | None], what: str, within_s: float = PATIENCE_S) -> Found:
    """What `look` returns as soon as that is true. AssertionError says `what` never was."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(_POLL_S)
    return found


def bare_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anybody's configuration of edged, with one thread and `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, **_THREADS, **(extra or {})}


@cache
def _owners_key(socket: Path) -> str:
    asked = {"name": "tests", "scopes": ["chat", "admin", "metrics"]}
    return str(control.ask(socket, "/edged/v1/keys", "POST", asked)["key"])


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """A running daemon. It leads a session of its own, so whatever it leaves behind can be found."""

    process: subprocess.Popen[bytes]
    state_dir: Path
    log_file: Path

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it listens, from its own log. AssertionError when it does not say so."""
        found = _LISTENING.search(self.log())
        assert found, f"no address in the log:\n{self.log()}"
        return found[1]

    @property
    def control(self) -> Path:
        """The socket of its owner."""
        return self.state_dir / "edged.sock"

    def owners_key(self) -> str:
        """A key that may do everything."""
        return _owners_key(self.control)

    def log(self) -> str:
        """Everything it has written to standard error."""
        return self.log_file.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return control.ask(self.control, path, timeout_s=PATIENCE_S)

    def status(self) -> dict[str, Any]:
        """`/edged/v1/status`."""
        body: dict[str, Any] = self.get("/edged/v1/status")
        return body

    def requests(self) -> list[dict[str, Any]]:
        """`/edged/v1/requests`, newest first."""
        found: list[dict[str, Any]] = self.get("/edged/v1/requests")["requests"]
        return found

    def events(self) -> list[str]:
        """The names of what happened to it, oldest first."""
        return [event["event"] for event in self.get("/edged/v1/events")["events"]]

    def resident(self, model: str) -> dict[str, Any] | None:
        """What status says of `model`; None while it is not in memory."""
        return next((found for found in self.status()["residents"] if found["model"] == model), None)

    def worker_pid(self, model: str) -> int:
        """The process that holds `model`, once it is ready."""
        return until(lambda: self._ready_pid(model), f"{model} is loaded")

    def template_pid(self) -> int:
        """The process that renders chats."""
        return self.child("edged.worker.template").pid

    def child(self, module: str) -> psutil.Process:
        """A child that runs `module`, once there is one."""
        return until(lambda: self._child(module), f"a process runs {module}")

    def children(self) -> list[psutil.Process]:
        """Every live process of the daemon's session but itself, also after its end."""
        return [process for process in psutil.process_iter() if process.pid != self.pid and self._is_ours(process)]

    def wait_ready(self) -> None:
        """Return when a chat would be admitted."""
        until(self._is_ready, f"ready; its log:\n{self.log()}")

    def wait_listening(self) -> None:
        """Return when it answers at all."""
        until(lambda: self._is_alive() and _LISTENING.search(self.log()), "listening")

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it as systemd does; it must go in time, with exit code 0, and leave no process behind."""
        if self.process.poll() is None:
            self.terminate()
        assert self.process.wait(STOP_S) == 0, f"its log:\n{self.log()}"
        assert self.children() == []

    def _child(self, module: str) -> psutil.Process | None:
        for child in self.children():
            with suppress(psutil.NoSuchProcess):
                if module in child.cmdline():
                    return child
        return None

    def _ready_pid(self, model: str) -> int | None:
        found = self.resident(model)
        return int(found["pid"]) if found and found["state"] == "ready" else None

    def _is_ready(self) -> bool:
        if not self._is_alive() or not _LISTENING.search(self.log()):
            return False
        try:
            return bool(self.get("/readyz"))
        except EdgedError:
            return False

    def _is_alive(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
        return True

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False


def descriptors(pid: int) -> int:
    """How many a process has open. Of a sealed one only root may see which; Linux 6.2 tells everybody how many."""
    return Path(f"/proc/{pid}/fd").stat().st_size or psutil.Process(pid).num_fds()


@contextmanager
def running(
    models: Mapping[str, Path] | None = None,
    config: str = "",
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    *,
    wait: bool = True,
    state: Path | None = None,
    within: Sequence[str] = (),
) -> Iterator[DaemonProcess]:
    """`edged serve` on a free port with a state directory of its own, until the block ends.

    `models` are copied into its folder under their names; `config` is the text of its configuration file. With `wait`
    it is ready, else it only listens. With `state` it finds there what an earlier one has left. `within` is a command
    that becomes the one behind it. At the end, unless the
    test has already seen to that, it is told to stop, must exit with 0, and must leave no process.
    """
    with tempfile.TemporaryDirectory(prefix="edged-test-") as name:
        folder = Path(name)
        state, settings = state or folder / "state", folder / "edged.toml"
        settings.touch(mode=0o600)  # it may hold a secret
        settings.write_text(config)
        if models:
            (state / "models").mkdir(parents=True, mode=0o700, exist_ok=True)
        for model, file in (models or {}).items():
            if not (state / "models" / f"{model}.gguf").exists():
                shutil.copyfile(file, state / "models" / f"{model}.gguf")
        command = [*within, sys.executable, "-m", "edged", "serve", "--port", "0"]
        command += ["--state-dir", str(state), "--config", str(settings), *arguments]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=bare_environment(environment), stderr=log, start_new_session=True
            )
        daemon = DaemonProcess(process, state, folder / "log")
        try:
            daemon.wait_ready() if wait else daemon.wait_listening()
            yield daemon
            if process.poll() is None:
                daemon.stop()
            until(lambda: not daemon.children(), f"its children are gone: {daemon.children()}")
        finally:
            _clear_away(daemon)


def _clear_away(daemon: DaemonProcess) -> None:
    """After a failed test: whatever still runs is ended, so that the next test finds the machine as this one did."""
    for process in daemon.children():
        process.kill()
    if daemon.process.poll() is None:
        daemon.process.kill()
    daemon.process.wait()
