"""`python -m install ROOT run|test`: everything that the daemon, or the tests besides, need."""

import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path

from install import engine, virtual_environment
from install.errors import SetupError
from install.estimate import spoken
from install.machine import require_disk
from install.processes import CommandFailed, clean_environment, end_with_parent, lines_of

# .venv as measured on x86-64 with Python 3.11: 130 MB for the daemon, 700 MB with the tests, of which 200 are
# Node; 43 MB of its packages lie beside them.
_VENV_BYTES = {"run": 200_000_000, "test": 850_000_000}


def main() -> int:
    """Install for the purpose given; one sentence on stderr where that is not possible."""
    root, purpose = Path(sys.argv[1]), sys.argv[2]
    end_with_parent()
    started = time.monotonic()
    try:
        install(root, purpose)
    except SetupError as refusal:
        print(f"edged: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"edged: installed in {spoken(time.monotonic() - started)}", flush=True)
    return 0


def install(root: Path, purpose: str) -> None:
    """From the system's packages up to the editable installation of this repository."""
    virtual_environment.wheel_folder(os.environ)  # a wrong name is told before anything is made
    if importlib.util.find_spec("ensurepip") is None:
        engine.install_system_packages(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    venv = root / ".venv"
    if not venv.exists():
        require_disk(root, _VENV_BYTES[purpose], "the environment .venv")
    virtual_environment.make(venv)

    print(f"edged: installing the packages of requirements/{purpose}.lock", flush=True)
    virtual_environment.install_lock(venv, root / f"requirements/{purpose}.lock")
    engine.install(root, venv)
    virtual_environment.pip_install(venv, "--no-deps", "--no-index", "--no-build-isolation", "-e", str(root))
    if purpose == "test":
        install_browser()
        install_openssl()
        install_node_packages(venv, root / "tests/end_to_end/node")


def install_browser() -> None:
    """Chromium for the tests of the page, which say that they are skipped where there is none."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    try:
        engine.install_system_packages("chromium", "chromium-driver")
    except SetupError as refusal:
        print(f"edged: the tests of the page will be skipped. {refusal}", flush=True)


def install_openssl() -> None:
    """The command that judges certificates in the tests as clients judge them. Raises `SetupError`."""
    if shutil.which("openssl") is None:
        engine.install_system_packages("openssl")


def install_node_packages(venv: Path, folder: Path) -> None:
    """npm's packages for the tests of its clients, as locked in `folder`, with the npm that comes in `venv`."""
    npm, environment = str(venv / "bin/npm"), clean_environment()
    environment["PATH"] = f"{venv / 'bin'}:{environment['PATH']}"  # npm starts the `node` that it finds there
    print("edged: installing npm's packages for the tests of its clients", flush=True)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        with lines_of(command, cwd=folder, environment=environment) as lines:
            for _ in lines:
                pass
    except (CommandFailed, OSError) as failure:
        output = failure.output if isinstance(failure, CommandFailed) else str(failure)
        said = output.strip().splitlines() or ["npm said nothing."]
        print(f"edged: the tests of npm's clients will be skipped. {said[0]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
