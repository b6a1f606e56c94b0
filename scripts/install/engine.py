"""The wheel of llama-cpp-python for this machine: from a folder of wheels, from the person's cache, else compiled.

The cache is `${XDG_CACHE_HOME:-~/.cache}/edged/`:

    sdist/            the source package, checked against requirements/engine.lock
    source/           the same, unpacked on demand by scripts/engine-source
    wheels/KEY/       one wheel per version, source, compiler, processor and CUDA: what a build depends on is its name
    building/         a build in progress; the folder is also the lock that lets one build run at a time
"""

import fcntl
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from install import virtual_environment
from install.compilation import OPTIONS, Build, compile_wheel, cuda_options
from install.errors import SetupError
from install.machine import Compiler, Cuda, find_compiler, find_cuda, require_disk
from install.processes import CommandFailed, quietly

_INSTALLED = "engine.key"  # in .venv: which build is installed there
_SCRIPTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Locked:
    """The source package as requirements/engine.lock names it."""

    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"llama_cpp_python-{self.version}.tar.gz"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where wheels and the source package are kept between checkouts."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "edged"


def read_lock(lock: Path) -> Locked:
    """The version and the hash of the one package in `lock`."""
    found = re.search(r"llama-cpp-python==(\S+)[\s\\]+--hash=sha256:([0-9a-f]{64})", lock.read_text())
    if found is None:
        raise SetupError(f"{lock} names no llama-cpp-python with a hash. Type: git checkout {lock}")
    return Locked(found[1], found[2])


def build_key(locked: Locked, compiler: Compiler, cuda: Cuda, environment: Mapping[str, str]) -> str:
    """A name for everything that a build depends on."""
    flags = [f"{name}={environment.get(name, '')}" for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS", "LDFLAGS")]
    options = [f"{name}={value}" for name, value in sorted((OPTIONS | cuda_options(cuda)).items())]
    parts = [locked.sha256, os.uname().machine, compiler.version, *compiler.native_flags, *options, *flags]
    if cuda.nvcc is not None:
        parts.append(quietly(cuda.nvcc, "--version"))
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{locked.version}-{digest[:16]}"


def install(root: Path, venv: Path) -> None:
    """Put the engine for this machine into `venv`."""
    locked = read_lock(root / "requirements/engine.lock")
    if wheel := _wheel_in_folder(locked):
        _install_wheel(venv, wheel, f"file:{wheel}:{wheel.stat().st_mtime_ns}")
        return

    compiler, cuda = _require_compiler(), find_cuda(os.environ)
    key = build_key(locked, compiler, cuda, os.environ)
    if (venv / _INSTALLED).exists() and (venv / _INSTALLED).read_text() == key:
        return
    wheel = _cached_wheel(key) or _build(root, locked, compiler, cuda, key)
    _install_wheel(venv, wheel, key)


def _wheel_in_folder(locked: Locked) -> Path | None:
    folder = virtual_environment.wheel_folder(os.environ)
    found = folder.glob(f"llama_cpp_python-{locked.version}-*_{os.uname().machine}.whl") if folder else []
    return next(iter(sorted(found)), None)


def _cached_wheel(key: str) -> Path | None:
    return next((cache_folder(os.environ) / "wheels" / key).glob("*.whl"), None)


def _install_wheel(venv: Path, wheel: Path, key: str) -> None:
    mark = venv / _INSTALLED
    if mark.exists() and mark.read_text() == key:
        return
    mark.unlink(missing_ok=True)
    virtual_environment.pip_install(venv, "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    _require_loadable(virtual_environment.interpreter(venv), wheel)
    mark.write_text(key)


def _require_loadable(python: Path, wheel: Path) -> None:
    """A wheel from elsewhere may hold instructions that this processor lacks: find out now, not in the first chat."""
    try:
        quietly(str(python), "-c", "import llama_cpp.llama_cpp as engine; engine.llama_print_system_info()")
    except CommandFailed as failure:
        reason = failure.output.strip().splitlines()[-1:] or ["the processor refused an instruction in it"]
        advice = f"Remove {wheel} and run this again: it is then compiled for this machine."
        raise SetupError(f"{wheel.name} does not work here: {reason[0]}. {advice}") from failure


def _require_compiler() -> Compiler:
    compiler = find_compiler()
    if compiler is None:
        install_system_packages("g++")
        compiler = find_compiler()
    if compiler is None:
        raise SetupError("There is no C++ compiler. Type: sudo apt-get install -y g++")
    return compiler


def install_system_packages(*names: str) -> None:
    """Install packages of the distribution; where that is not allowed, end with what to type."""
    with_names = [str(_SCRIPTS / "system_packages.sh"), *names]
    try:
        print(quietly(*with_names), flush=True)
    except CommandFailed as failure:
        raise SetupError(failure.output.strip().removeprefix("edged: ")) from failure


# Measured for 0.3.36 on Debian 12: source package 77 MB, unpacked without what is not read 75 MB, build tree 21 MB,
# build requirements 130 MB with pip's own copies; doubled where it matters for larger CUDA objects.
_BUILD_BYTES = 500_000_000


def _build(root: Path, locked: Locked, compiler: Compiler, cuda: Cuda, key: str) -> Path:
    """Compile the wheel and move it into the cache under `key`."""
    cache = cache_folder(os.environ)
    cache.mkdir(parents=True, exist_ok=True)
    with only_build(cache / "building") as folder:
        if wheel := _cached_wheel(key):  # made by the build that this one waited for
            return wheel
        require_disk(cache, _BUILD_BYTES, "compiling llama.cpp")
        print(f"edged: llama.cpp {locked.version} has to be compiled once. {cuda.reason}".rstrip(), flush=True)

        source = _source_package(root, folder)
        work = folder / "work"
        work.mkdir()
        compile_wheel(Build(source, build_tools(root, folder), compiler, cuda, work, cache / "compilation.log"))

        kept = cache / "wheels" / key
        kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        (work / "wheel").rename(kept)
    return next(kept.glob("*.whl"))


@contextmanager
def only_build(folder: Path) -> Iterator[Path]:
    """An empty folder that no other build uses; what a killed build left in it is removed."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _empty(folder)
            yield folder
        finally:
            _empty(folder)
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _source_package(root: Path, folder: Path) -> Path:
    """The source package from the cache, from EDGED_WHEELS, or downloaded; its hash is always checked.

    A download needs the build requirements, in `folder`: pip asks the package itself for its name and version.
    """
    lock = root / "requirements/engine.lock"
    locked = read_lock(lock)
    package = cache_folder(os.environ) / "sdist" / locked.file_name
    if not _has_hash(package, locked.sha256):
        print("edged: downloading the source of llama.cpp (77 MB)", flush=True)
        arguments = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "-r", str(lock)]
        virtual_environment.pip(build_tools(root, folder), "download", *arguments, "-d", str(package.parent))
    if not _has_hash(package, locked.sha256):
        raise SetupError(f"{package} is damaged. Type: rm {package}")
    return package


def build_tools(root: Path, folder: Path) -> Path:
    """The Python of an environment in `folder` with the locked build requirements."""
    tools = folder / "tools"
    if not tools.exists():
        virtual_environment.make(tools)
        virtual_environment.install_lock(tools, root / "requirements/build.lock")
    return virtual_environment.interpreter(tools)


def _has_hash(file: Path, sha256: str) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == sha256


def unpacked_source(root: Path) -> Path:
    """The whole source tree in the cache, unpacked on first use."""
    cache = cache_folder(os.environ)
    tree = cache / "source" / read_lock(root / "requirements/engine.lock").file_name.removesuffix(".tar.gz")
    if tree.exists():
        return tree

    tree.parent.mkdir(parents=True, exist_ok=True)
    with only_build(cache / "building") as folder:
        with tarfile.open(_source_package(root, folder)) as archive:
            archive.extractall(folder / "tree", filter="data")
        if not tree.exists():  # made by another process while this one waited
            (folder / "tree" / tree.name).rename(tree)
    return tree
