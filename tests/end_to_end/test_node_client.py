"""npm's official OpenAI client, as pages and programs of Node's use it, against the daemon as a process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.daemon_process import DaemonProcess, bare_environment

HERE = Path(__file__).with_name("node")
SCRIPT = HERE / "openai.test.mjs"
# PyPI's Node, beside the Python that runs this.
NODE = Path(sys.executable).with_name("node")
# All of them together; each is done within seconds on an idle machine.
PATIENCE_S = 50
TESTS = re.findall(r'^test\("(.+)",', SCRIPT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def failures(all_kinds: DaemonProcess) -> dict[str, str]:
    """Every test that was run, by name, with what is reported of it: nothing where it passed."""
    if not NODE.exists() or not (HERE / "node_modules").is_dir():
        pytest.skip("Node and npm's packages are missing: scripts/test installs them")
    environment = bare_environment({"EDGED_URL": all_kinds.url, "EDGED_KEY": all_kinds.owners_key()})
    command = [str(NODE), "--test-reporter=junit", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout, done.stderr
    cases = ElementTree.fromstring(done.stdout).iter("testcase")
    return {case.attrib["name"]: "".join(f"{child.tag}: {child.text}" for child in case) for case in cases}


@pytest.mark.parametrize("name", TESTS)
def test_with_npms_client(failures: dict[str, str], name: str) -> None:
    assert failures[name] == ""


def test_all_of_them_are_reported(failures: dict[str, str]) -> None:
    assert set(failures) == set(TESTS)
