"""`python -m install.peers ROOT` prints where llama.cpp's own server and benchmark are, compiled on first use.

They come from the source tree that the engine's wheel comes from and are compiled with its options, so a comparison
with them is one of programs, not of kernels. Three things that the tree would fetch while it is built are left out:
the server's page, HTTPS, and everything that is not asked for. With `--if-built` nothing is compiled: where they are
missing the command prints nothing.
"""

import hashlib
import os
import shlex
import shutil
import sys
from pathlib import Path

from install.compilation import OPTIONS, cuda_options
from install.engine import build_key, build_tools, cache_folder, only_build, read_lock, unpacked_source
from install.errors import SetupError
from install.machine import Compiler, Cuda, compile_jobs, cores, find_compiler, find_cuda, free_memory_bytes
from install.processes import CommandFailed, clean_environment, lines_of

PROGRAMS = ("llama-server", "llama-bench")

_DEFINE = "cmake.define."
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",  # what scikit-build-core sets for a wheel
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",  # npm
    "LLAMA_USE_PREBUILT_UI": "OFF",  # a download
    "LLAMA_OPENSSL": "OFF",
}


def main(arguments: list[str]) -> int:
    """Print the folder; what is done on the way goes to stderr."""
    result, sys.stdout = sys.stdout, sys.stderr
    try:
        folder = built(Path(arguments[0]), may_compile="--if-built" not in arguments[1:])
    except SetupError as refusal:
        print(f"edged: {refusal}")
        return 1
    if folder is not None:
        print(folder, file=result)
    return 0


def built(root: Path, *, may_compile: bool) -> Path | None:
    """The folder of the programs; None where they are missing and may not be compiled."""
    compiler, cuda = find_compiler(), find_cuda(os.environ)
    if compiler is None:
        raise SetupError("There is no C++ compiler. Type: sudo apt-get install -y g++")
    peers = cache_folder(os.environ) / "peers"
    key = build_key(read_lock(root / "requirements/engine.lock"), compiler, cuda, os.environ)
    kept = peers / f"{key}-{_own_key()}"
    if kept.exists() or not may_compile:
        return kept if kept.exists() else None

    source = unpacked_source(root) / "vendor/llama.cpp"
    peers.mkdir(parents=True, exist_ok=True)
    with only_build(peers / "building") as folder:
        if not kept.exists():  # made by the build that this one waited for
            _compile(root, source, folder, compiler, cuda)
            (folder / "tree/bin").rename(kept)
    return kept


def configuration(source: Path, tree: Path, cuda: Cuda) -> list[str]:
    """The arguments of `cmake` that set up `tree`."""
    engine = {key.removeprefix(_DEFINE): value for key, value in (OPTIONS | cuda_options(cuda)).items()}
    options = {key: value for key, value in engine.items() if "." not in key} | _OPTIONS
    # The programs stand in one folder with their libraries and find them there wherever it is moved.
    options |= {"CMAKE_BUILD_RPATH_USE_ORIGIN": "ON"}
    defined = [f"-D{key}={value}" for key, value in options.items()]
    return ["-S", str(source), "-B", str(tree), "-G", "Ninja", *defined, *shlex.split(os.environ.get("CMAKE_ARGS", ""))]


def _own_key() -> str:
    """What the programs depend on beyond what the engine does."""
    return hashlib.sha256(repr((PROGRAMS, sorted(_OPTIONS.items()))).encode()).hexdigest()[:8]


def _compile(root: Path, source: Path, folder: Path, compiler: Compiler, cuda: Cuda) -> None:
    jobs = compile_jobs(cores(), free_memory_bytes())
    print(f"edged: compiling {' and '.join(PROGRAMS)} to compare with, {jobs} at once; this takes a while", flush=True)
    cmake = str(build_tools(root, folder).with_name("cmake"))
    environment = clean_environment() | {"CXX": compiler.path}
    environment["PATH"] = f"{Path(cmake).parent}:{environment['PATH']}"
    tree = folder / "tree"
    targets = [argument for program in PROGRAMS for argument in ("--target", program)]
    log = folder.parent / "compilation.log"
    try:
        for command in (
            [cmake, *configuration(source, tree, cuda)],
            [cmake, "--build", str(tree), "--parallel", str(jobs), *targets],
        ):
            with lines_of(command, cwd=folder, environment=environment) as lines:
                for line in lines:
                    print(line, flush=True)
    except CommandFailed as failure:
        log.write_text(failure.output)
        shutil.rmtree(tree, ignore_errors=True)
        raise SetupError(f"llama.cpp's programs could not be compiled (whole log: {log})") from failure


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
