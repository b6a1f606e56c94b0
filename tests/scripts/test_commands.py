"""scripts/run on machines that lack something, and on one that has everything already."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What scripts/run needs of a bare system; no compiler, no package manager.
TOOLS = (
    "bash",
    "sh",
    "readlink",
    "dirname",
    "sha256sum",
    "flock",
    "rm",
    "mv",
    "env",
    "id",
    "mktemp",
    "uname",
)


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of what an installation reads."""
    copy = tmp_path / "edged checkout"
    for folder in ("scripts", "requirements"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "guide"))
    shutil.copy(root / "pyproject.toml", copy)
    return copy


@pytest.fixture
def recording(checkout: Path) -> Path:
    """The same, with an interpreter that only notes that it was called. Returns the notes."""
    calls = checkout / "calls"
    fake = checkout / "fake-python"
    fake.write_text(
        f'#!/bin/sh\necho "$@" >>"{calls}"\nsleep 0.3\nmkdir -p "{checkout}/.venv/bin"\n'
        f'for name in python edged; do echo "#!/bin/sh\necho started \\"\\$@\\"" >"{checkout}/.venv/bin/$name"; done\n'
        f'chmod +x "{checkout}"/.venv/bin/*\n'
    )
    fake.chmod(0o755)
    (checkout / "scripts/install/interpreter.sh").write_text(f'#!/bin/sh\necho "{fake}"\n')
    return calls


def run(checkout: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "scripts/run"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)


def path_of(tmp_path: Path, *names: str) -> str:
    """A folder with only these commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in names:
        real = shutil.which(name)
        assert real is not None, name
        (folder / name).symlink_to(real)
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin/python3")
    return str(folder)


def test_the_second_run_installs_nothing_and_passes_the_arguments_on(
    checkout: Path, recording: Path, bare: dict[str, str]
) -> None:
    first, second = run(checkout, bare, "--port", "9000"), run(checkout, bare, "--port", "9000")
    assert first.stdout == second.stdout == "started serve --port 9000\n"
    assert recording.read_text().splitlines() == [f"-B -m install {checkout} run"]


def test_setup_starts_nothing(checkout: Path, recording: Path, bare: dict[str, str]) -> None:
    result = run(checkout, bare, "--setup")
    assert (result.returncode, result.stdout) == (0, "")
    assert recording.exists()


@pytest.mark.parametrize("changed", ["requirements/run.lock", "pyproject.toml", "scripts/install/engine.py"])
def test_a_change_of_what_is_installed_installs_again(
    checkout: Path, recording: Path, bare: dict[str, str], changed: str
) -> None:
    run(checkout, bare, "--setup")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    run(checkout, bare, "--setup")
    assert len(recording.read_text().splitlines()) == 2


def test_two_runs_at_once_install_once(checkout: Path, recording: Path, bare: dict[str, str]) -> None:
    command = [str(checkout / "scripts/run"), "--setup"]
    both = [subprocess.Popen(command, env=bare) for _ in range(2)]
    assert [process.wait(timeout=20) for process in both] == [0, 0]
    assert len(recording.read_text().splitlines()) == 1


def test_an_installation_that_failed_is_tried_again(checkout: Path, recording: Path, bare: dict[str, str]) -> None:
    (checkout / "fake-python").rename(checkout / "away")
    assert run(checkout, bare, "--setup").returncode != 0
    (checkout / "away").rename(checkout / "fake-python")
    assert run(checkout, bare, "--setup").returncode == 0
    assert len(recording.read_text().splitlines()) == 1


def test_without_network_one_sentence_says_what_to_do(checkout: Path, bare: dict[str, str]) -> None:
    result = run(checkout, bare, "--setup")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "cannot be reached" in result.stderr
    assert "EDGED_WHEELS=FOLDER scripts/run" in result.stderr


def test_without_a_compiler_one_sentence_says_what_to_type(
    checkout: Path, bare: dict[str, str], tmp_path: Path
) -> None:
    (checkout / "requirements/run.lock").write_text("")
    result = run(checkout, bare | {"PATH": path_of(tmp_path, *TOOLS)}, "--setup")
    assert result.returncode == 1
    assert "packages are missing" in result.stderr
    assert "g++" in result.stderr


def test_without_disk_space_one_sentence_gives_the_numbers(root: Path, bare: dict[str, str], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=20m none "$1" && cp -r "$2"/scripts "$2"/requirements "$2"/pyproject.toml "$1" && '
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script + '"$1"/scripts/run --setup']
    result = subprocess.run(
        [*command, "sh", str(small), str(root)], env=bare, capture_output=True, text=True, timeout=50, check=False
    )
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"no namespace to make a small disk in: {result.stderr.strip()}")
    assert result.returncode == 1
    assert f"Not enough disk space in {small}: the environment .venv needs 200 MB" in result.stderr
