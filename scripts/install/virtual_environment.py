"""`.venv/`: made, repaired, and filled with what a lock file says, from a folder of wheels first where one is named."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from install.errors import SetupError
from install.processes import CommandFailed, quietly

_BEGUN = "installing"  # in the environment while packages are written; left behind only by an installation that died
_UNREACHABLE = re.compile(
    r"name resolution|Failed to establish a new connection|unreachable|timed out|ProxyError|Connection refused|"
    r"from versions: none"
)


def interpreter(folder: Path) -> Path:
    """The Python of the environment in `folder`."""
    return folder / "bin/python"


def wheel_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of wheels that is used before the network, if one is named."""
    name = environment.get("EDGED_WHEELS")
    if name and not Path(name).is_dir():
        raise SetupError(f"EDGED_WHEELS is {name}, which is no folder. Name the folder that holds the wheels.")
    return Path(name).resolve() if name else None


def make(folder: Path) -> None:
    """Make the environment, or make it anew where it is half finished, moved, or its Python is gone."""
    if folder.exists() and not _is_sound(folder):
        print(f"edged: {folder} is incomplete: making it anew", flush=True)
        shutil.rmtree(folder)
    if not folder.exists():
        try:
            quietly(sys.executable, "-m", "venv", str(folder))
        except CommandFailed as failure:
            raise SetupError(explain(failure.output, folder)) from failure


def _is_sound(folder: Path) -> bool:
    """Finished, made at this very place, and its interpreter starts."""
    settings = folder / "pyvenv.cfg"
    if (folder / _BEGUN).exists() or not settings.exists() or str(folder) not in settings.read_text():
        return False
    try:
        quietly(str(interpreter(folder)), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))")
    except (CommandFailed, OSError):
        return False
    return True


def install_lock(folder: Path, lock: Path) -> None:
    """Install what `lock` lists; every file must have one of the hashes that it gives."""
    pip_install(folder, "--require-hashes", "-r", str(lock))


def pip_install(folder: Path, *arguments: str) -> None:
    """Run `pip install` in the environment, offline from EDGED_WHEELS where that suffices."""
    begun = folder / _BEGUN
    begun.touch()
    pip(interpreter(folder), "install", *arguments)
    begun.unlink()


def pip(python: Path, verb: str, *arguments: str) -> None:
    """Run pip quietly; a failure is told in one sentence."""
    command = [str(python), "-m", "pip", verb, "--quiet", "--retries", "2"]
    if wheels := wheel_folder(os.environ):
        try:
            quietly(*command, "--no-index", "--find-links", str(wheels), *arguments)
        except CommandFailed as failure:
            print(f"edged: {wheels} does not hold everything: {_missing(failure.output)}", flush=True)
        else:
            return
    try:
        quietly(*command, *arguments)
    except CommandFailed as failure:
        raise SetupError(explain(failure.output, python.parent)) from failure


def _missing(output: str) -> str:
    """The last error that pip printed."""
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return errors[-1] if errors else output.strip().splitlines()[-1]


def explain(output: str, folder: Path) -> str:
    """What a failed pip or venv means, and what to type."""
    if "No space left on device" in output:
        return f"The disk of {folder} is full. Make room (df -h {folder} shows it), then run this again."
    if _UNREACHABLE.search(output):
        return (
            "Packages are missing and the package index cannot be reached. Connect this machine to the internet and "
            "run this again, or name a folder that holds the wheels: EDGED_WHEELS=FOLDER scripts/run"
        )
    return f"Installing packages failed: {_missing(output)}"
