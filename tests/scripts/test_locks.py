"""What is locked, and that no file says where packages come from."""

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

LOCKS = ("run", "test", "build", "engine")


def requirements(lock: Path) -> dict[str, str]:
    """The lines of every requirement in a lock file, by name and version."""
    text = re.sub(r"\\\n", " ", lock.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.split()[0]: line for line in lines}


def files(lock: Path) -> dict[str, set[str]]:
    """The hashes of every requirement; for which Pythons it is one may differ from lock to lock."""
    return {name: set(re.findall(r"--hash=(\S+)", line)) for name, line in requirements(lock).items()}


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_has_an_exact_version_and_hashes(root: Path, name: str) -> None:
    found = requirements(root / f"requirements/{name}.lock")
    assert found
    for requirement, line in found.items():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", requirement)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), requirement


def test_what_the_project_declares_is_locked(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    declared = [*project["project"]["dependencies"], *chain(*project["dependency-groups"].values())]
    names = {re.split(r"[^a-z0-9-]", entry)[0] for entry in declared}
    locked = {name.split("==")[0] for lock in LOCKS for name in requirements(root / f"requirements/{lock}.lock")}
    assert names <= locked


def test_the_tests_run_with_the_versions_that_are_shipped(root: Path) -> None:
    run, test = (files(root / f"requirements/{name}.lock") for name in ("run", "test"))
    assert run.items() <= test.items()


def test_no_file_names_a_registry(root: Path) -> None:
    hosts = "|".join(["pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs", "deb" + r"\.debian\.org"])
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=root, capture_output=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [root / name for name in listed.stdout.decode().split("\0") if name]
    naming = [file for file in files if file.is_file() and re.search(hosts.encode(), file.read_bytes())]
    assert naming == []
