"""A model from the hub to an answer and back to nothing: the daemon, the command and Ollama's client as processes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import ollama
import pytest

from edged import catalogue
from tests import daemon_process
from tests.daemon_process import PATIENCE_S, ROOT, DaemonProcess, bare_environment, until
from tests.end_to_end.test_cli import edged
from tests.hub import Fault, Hub, beside

ENTRY = catalogue.entries()[0]
OTHER = "hf.co/someone/Other-GGUF:Q4_0"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def hub(tiny: Path) -> Iterator[Hub]:
    """A hub in a thread of its own, with a model of the catalogue and another one."""
    with beside() as hub:
        hub.repositories[ENTRY.repository] = {f"x-{ENTRY.quantisation}.gguf": tiny.read_bytes()}
        hub.repositories["someone/Other-GGUF"] = {"other-Q4_0.gguf": tiny.read_bytes() + bytes(8)}
        yield hub


@pytest.fixture(scope="module")
def device(hub: Hub) -> Iterator[DaemonProcess]:
    """A daemon that knows that hub and no other; every test leaves it without models, as it found it."""
    named = json.dumps([urlsplit(hub.files_url).netloc])
    config = (
        f'[downloads]\nhuggingface = "{hub.hub_url}"\nmodelscope = ""\nollama = "{hub.hub_url}"\n'
        f"hosts = {named}\nreserve_bytes = 0\n"
    )
    with daemon_process.running(config=config) as daemon:
        yield daemon


def of(device: DaemonProcess) -> tuple[str, str]:
    """Which daemon a command means."""
    return "--state-dir", str(device.state_dir)


def names(device: DaemonProcess) -> set[str]:
    """What is installed beside the guide."""
    return {model["name"] for model in device.get("/edged/v1/models")["models"]} - {"guide"}


@dataclass
class Terminal:
    """The command on a terminal of its own."""

    process: subprocess.Popen[bytes]
    master: int
    said: str = ""

    def reads(self, what: str) -> str:
        """Everything that was shown, once `what` was."""
        until(lambda: what in self._more(), f"{what!r} is shown")
        return self.said

    def ends(self) -> str:
        """Everything that was shown, to the end."""
        until(lambda: self._more() and self.process.poll() is not None, "the command ends")
        return self._more()

    def _more(self) -> str:
        with suppress(BlockingIOError, OSError):  # nothing more for now, or for ever
            while data := os.read(self.master, 65536):
                self.said += _CONTROL.sub("", data.decode())
        return self.said


def _at(slave: int) -> None:
    """In the child: sit down at the terminal, where Ctrl-C counts, whoever started the tests in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.login_tty(os.dup(slave))


@contextmanager
def terminal(*words: str, columns: int = 80) -> Iterator[Terminal]:
    """`edged` with these words on a terminal so wide."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.set_blocking(master, False)
    environment = bare_environment({"TERM": "xterm-256color"})
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "edged", *words],
        cwd=ROOT,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: _at(slave),
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


def test_from_the_catalogue_to_an_answer_and_back_to_nothing(device: DaemonProcess, tiny: Path) -> None:
    pulled = edged("pull", ENTRY.name, *of(device))
    assert pulled.returncode == 0, pulled.stderr
    assert f"{ENTRY.name} is installed" in pulled.stdout
    assert names(device) == {ENTRY.name}

    with closing(ollama.Client(host=device.url, timeout=PATIENCE_S)) as client:
        answer = client.generate(ENTRY.name, "hello", raw=True, options={"num_predict": 4})
        assert answer.eval_count == 4

    advice = json.loads(edged("models", "--recommend", "--json", *of(device)).stdout)
    judged = {model["name"]: model for model in advice["models"]}
    assert judged[ENTRY.name]["installed"]
    assert judged[ENTRY.name]["size_bytes"] == tiny.stat().st_size
    assert advice["best"]["chat"] == ENTRY.name
    # What loads took and what was measured for the advice are remembered beside each other.
    assert "will be written anew" not in device.log()

    scrubbed = edged("scrub", *of(device))
    assert (scrubbed.returncode, scrubbed.stdout.count("good")) == (0, 1), scrubbed.stderr
    removed = edged("rm", ENTRY.name, *of(device))
    assert (removed.returncode, names(device)) == (0, set()), removed.stderr
    assert list((device.state_dir / "models" / "blobs").iterdir()) == []
    again = edged("rm", ENTRY.name, *of(device))
    assert (again.returncode, "no model named" in again.stderr) == (1, True)


def owners_client(device: DaemonProcess) -> ollama.Client:
    """A client with a key that may fetch and delete."""
    headers = {"Authorization": f"Bearer {device.owners_key()}"}
    return ollama.Client(host=device.url, timeout=PATIENCE_S, headers=headers)


def test_ollamas_client_pulls_with_a_bar_and_chats_under_the_name_that_it_asked_for(
    hub: Hub, device: DaemonProcess
) -> None:
    hub.faults = [Fault(bytes_per_s=2_000_000)]
    with closing(owners_client(device)) as client:
        told = list(client.pull(ENTRY.name, stream=True))
        assert told[0].status == "pulling manifest"
        assert told[-1].status == "success"
        bars = [one for one in told if one.digest]
        assert bars
        assert all((one.completed or 0) <= (one.total or 0) for one in bars)
        assert client.pull(ENTRY.name).status == "success"  # a second time there is nothing to do
        assert ENTRY.name in {(model.model or "").removesuffix(":latest") for model in client.list().models}
        answer = client.generate(f"{ENTRY.name}:latest", "hello", raw=True, options={"num_predict": 2})
        assert answer.eval_count == 2
        with pytest.raises(ollama.ResponseError, match="nobody/nothing"):
            client.pull("hf.co/nobody/nothing")
        client.delete(ENTRY.name)
    assert names(device) == set()


def test_the_bar_on_a_terminal_and_what_ctrl_c_does_not_end(hub: Hub, device: DaemonProcess) -> None:
    is_left = Event()  # only then does the second half come, so that there is something to leave
    hub.faults = [Fault(bytes_per_s=600_000, meanwhile=lambda at: at < 1_500_000 or is_left.wait(PATIENCE_S))]
    with terminal("pull", OTHER, *of(device)) as shown:
        line = shown.reads("━")
        assert "/2.99 MB" in shown.reads("MB")
        assert OTHER.rpartition("/")[2] in line
        os.write(shown.master, b"\x03")
        said = shown.ends()
        is_left.set()
        assert "is still being fetched by the daemon" in said
        assert "Traceback" not in said
        assert shown.process.returncode == 1
    with terminal("pull", OTHER, *of(device), columns=120) as shown:
        assert "is installed" in shown.ends()
        assert shown.process.returncode == 0
    assert names(device) == {OTHER}
    listed = edged("pull", "--json", *of(device))
    assert json.loads(listed.stdout)["pulls"][0]["state"] == "done"
    assert edged("rm", OTHER, *of(device)).returncode == 0


def test_a_download_can_be_left_and_cancelled(hub: Hub, device: DaemonProcess) -> None:
    hub.faults = [Fault(stall_at=1_000_000)]
    left = edged("pull", OTHER, "--detach", *of(device))
    assert left.returncode == 0, left.stderr
    assert "edged pull" in left.stdout
    assert OTHER in edged("pull", *of(device)).stdout
    ended = edged("pull", "--cancel", OTHER, *of(device))
    assert ended.returncode == 0, ended.stderr
    until(lambda: device.get("/edged/v1/pulls")["pulls"][0]["state"] == "cancelled", "it is cancelled")
    assert edged("pull", "--cancel", OTHER, *of(device)).returncode == 1
    assert names(device) == set()


def test_what_cannot_be_fetched_is_said_in_a_sentence(device: DaemonProcess) -> None:
    for reference, words in (("hf.co/nobody/nothing", "nobody/nothing"), ("ftp://x", "no https address")):
        refused = edged("pull", reference, *of(device))
        assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr


def test_a_model_goes_onto_a_stick_and_comes_back_with_and_without_a_daemon(
    device: DaemonProcess, tmp_path: Path
) -> None:
    stick, elsewhere = tmp_path / "stick", tmp_path / "elsewhere"
    stick.mkdir()
    assert edged("pull", ENTRY.name, *of(device)).returncode == 0
    exported = edged("export", ENTRY.name, stick, *of(device))
    assert exported.returncode == 0, exported.stderr
    assert edged("rm", ENTRY.name, *of(device)).returncode == 0

    for state in (device.state_dir, elsewhere):
        imported = edged("import", stick, "--state-dir", state)
        assert imported.returncode == 0, imported.stderr
        listed = json.loads(edged("models", "--json", "--state-dir", state).stdout)["models"]
        assert ENTRY.name in {model["name"] for model in listed}
    assert names(device) == {ENTRY.name}
    assert edged("rm", ENTRY.name, *of(device)).returncode == 0
    removed = edged("rm", "--json", ENTRY.name, "guide", "--state-dir", elsewhere)
    assert removed.returncode == 1
    assert [one["name"] for one in json.loads(removed.stdout)["removed"]] == [ENTRY.name]


def test_without_a_daemon_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    for words in (("pull", ENTRY.name), ("pull",), ("scrub",)):
        refused = edged(*words, "--state-dir", tmp_path)
        assert refused.returncode == 1
        assert "scripts/run" in refused.stderr


@pytest.mark.parametrize("command", ["models", "pull", "rm", "import", "export", "scrub"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = edged(command, "--help")
    assert shown.returncode == 0
    assert f"example: edged {command}" in shown.stdout
    assert "--json" in shown.stdout
    assert edged(command, "--nonsense").returncode == 2
