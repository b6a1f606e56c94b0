"""The server that comes with llama-cpp-python, running the very same compiled engine, to be compared with.

Its web framework is installed into an environment in the cache, made on first use (`pip`, no hashes: nothing of the
product ever runs from it). The engine is not installed again: the environment sees the project's own packages behind
its own, so both servers load the same library file, compiled with the same flags.

By default that server cuts a running stream when another request arrives; `--interrupt_requests false` makes it finish
one answer after another instead.
"""

import contextlib
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

from benchmarks import engine
from benchmarks.server import Server, free_port, running
from benchmarks.synthetic import cache_directory

# The `server` extra in the pyproject.toml of llama-cpp-python 0.3.36.
_REQUIREMENTS = (
    "uvicorn>=0.22.0",
    "fastapi>=0.100.0",
    "pydantic-settings>=2.0.1",
    "sse-starlette>=1.6.1",
    "starlette-context>=0.3.6,<0.4",
    "PyYAML>=5.1",
)

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_FINISHED = "finished"


@contextlib.contextmanager
def rival(model: Path, threads: int, context_tokens: int) -> Iterator[Server]:
    """`python -m llama_cpp.server` with `model`, listening; the name of the model in requests is ignored by it."""
    port = free_port()
    command = [_environment(), "-m", "llama_cpp.server", "--model", model, "--port", port, "--host", "127.0.0.1"]
    command += ["--interrupt_requests", "false", "--n_ctx", context_tokens, "--verbose", "false"]
    command += ["--n_threads", threads, "--n_threads_batch", threads]
    with running([str(word) for word in command], port, {}) as server:
        server.wait_listening()
        yield server


def is_installed() -> bool:
    """Whether starting it would install nothing."""
    return (_folder() / _FINISHED).exists()


def _environment() -> Path:
    """The Python of the rival's environment."""
    folder = _folder()
    python, finished = folder / "bin" / "python", folder / _FINISHED
    if not finished.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_REQUIREMENTS], check=True)
        finished.touch()
    packages = folder / "lib" / f"python{_PYTHON}" / "site-packages"
    (packages / "engine.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _folder() -> Path:
    return cache_directory().with_name("rival") / f"{engine.version()}-python{_PYTHON}"
