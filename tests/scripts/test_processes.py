"""Children of the installation: what they print is kept, and none is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from install.processes import CommandFailed, clean_environment, quietly


def test_a_failed_command_tells_what_it_printed() -> None:
    with pytest.raises(CommandFailed) as failure:
        quietly("sh", "-c", "echo out; echo err >&2; exit 3")
    assert failure.value.output == "out\nerr\n"


def test_children_find_no_modules_from_elsewhere_and_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/lib")
    assert "PYTHONPATH" not in clean_environment()
    assert clean_environment()["PIP_NO_INPUT"] == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_installation_that_is_ended_leaves_no_process(root: Path, number: signal.Signals) -> None:
    code = (
        "from install.processes import end_with_parent, clean_environment, lines_of\n"
        "from pathlib import Path\n"
        "end_with_parent()\n"
        "command = ['sh', '-c', 'sleep 300 & echo $!; echo $$; wait']\n"
        "with lines_of(command, cwd=Path('/'), environment=clean_environment()) as lines:\n"
        "    for line in lines: print(line, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(root / "scripts")}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        children = [int(process.stdout.readline()), int(process.stdout.readline())]
        process.send_signal(number)
        assert process.wait(timeout=5) == 128 + number
        process.stdout.read()  # ends when the last child that could still write is gone
    for child in children:
        assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than an exit status that nobody has read."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
