"""Compiles llama.cpp from the source package of llama-cpp-python into a wheel, with progress and an honest estimate.

Only what the daemon loads is built: the library `llama` and its `ggml` backends. The package would also build
llama.cpp's `common` and `mtmd` (42 % of the time on two cores) and pack every library seven times (20 MB against 5 MB).
"""

import os
import re
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from install import estimate
from install.bar import Bar
from install.errors import SetupError
from install.machine import Compiler, Cuda, compile_jobs, cores, free_memory_bytes
from install.processes import CommandFailed, clean_environment, lines_of, quietly

OPTIONS = {
    "cmake.define.GGML_NATIVE": "ON",
    "cmake.define.GGML_CCACHE": "OFF",  # a compiler cache of the person's would be filled for one use
    "cmake.define.LLAVA_BUILD": "OFF",
    # Python loads libllama.so, which wants libggml*.so.0 beside it; the rest are copies, headers and CMake files.
    "wheel.exclude": "lib/**;include/**;bin/**;llama_cpp/lib/*.so.*.*",
}
# The package forces `common` into the cache; a plain variable set inside llama.cpp's own project() wins over that.
_PROJECT_HOOK = "set(LLAMA_BUILD_COMMON OFF)\n"

_SKIPPED = ("/.git/", "/vendor/llama.cpp/models/", "/vendor/llama.cpp/docs/", "/vendor/llama.cpp/tools/")
_PROBE = f"ggml/src/{estimate.PROBE}"
_ALONE = 1.2  # the clock may run this much ahead of the compilers on an idle machine: reading files, starting them
_STEP_MARK = "edged-step "
_TABLE = Path(__file__).with_name("engine_steps.tsv")
_BUILD = "import sys; from scikit_build_core.build import build_wheel; " + (
    "print(build_wheel(sys.argv[1], dict(option.split('=', 1) for option in sys.argv[2:])))"
)


@dataclass(frozen=True, slots=True)
class Build:
    """What is compiled, with what, and in which folder (on the disk where the wheel will be kept)."""

    source_package: Path
    python: Path  # of an environment with the locked build requirements
    compiler: Compiler
    cuda: Cuda
    folder: Path
    log: Path  # written when it fails


def compile_wheel(build: Build) -> Path:
    """Build the wheel and return its path; `steps.tsv` beside it has what every step cost here."""
    source = _unpack(build.source_package, build.folder)
    engine = source / "vendor/llama.cpp"
    jobs = compile_jobs(cores(), free_memory_bytes())
    probe_s, is_alone = _probe(build.compiler, engine, jobs)

    cuda_sources = _cuda_sources(engine) if build.cuda.nvcc else 0
    steps = estimate.with_cuda(estimate.read_steps(_TABLE, os.uname().machine), cuda_sources)
    estimated_s = probe_s * estimate.duration_probes(steps, jobs)
    text = f"edged: compiling llama.cpp for this machine, {jobs} at once: about {estimate.spoken(estimated_s)}"
    text += "" if is_alone else ", longer while other programs keep it busy"
    print(text, flush=True)

    started = time.monotonic()
    configure_s, pack_s = _run(build, source, estimate.Progress(steps, estimated_s), jobs)
    took_s = time.monotonic() - started
    print(f"edged: compiled in {estimate.spoken(took_s)} (estimated {estimate.spoken(estimated_s)})", flush=True)

    costs = [(estimate.CONFIGURE, configure_s), *_step_durations(build.folder / "tree"), (estimate.PACK, pack_s)]
    (build.folder / "wheel/steps.tsv").write_text(estimate.measured_costs(costs))
    return next((build.folder / "wheel").glob("*.whl"))


def _unpack(package: Path, folder: Path) -> Path:
    """The source tree without what a build does not read: that is two thirds of it."""
    with tarfile.open(package) as archive:
        members = [member for member in archive if not any(part in f"/{member.name}" for part in _SKIPPED)]
        archive.extractall(folder, members=members, filter="data")
    return folder / package.name.removesuffix(".tar.gz")


def _probe(compiler: Compiler, engine: Path, jobs: int) -> tuple[float, bool]:
    """Processor seconds to compile the probe while `jobs` compilers run, and whether nothing else kept them waiting.

    Not the clock's seconds: what else runs in these few seconds says little about the next minutes.
    """
    includes = [f"-I{engine / part}" for part in ("ggml/include", "ggml/src")]
    command = [compiler.path, "-O3", "-DNDEBUG", "-std=gnu++17", "-fPIC", *includes, "-c", str(engine / _PROBE)]
    before = os.times()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda _: quietly(*command, "-o", "/dev/null"), range(jobs)))
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    return used_s / jobs, (after.elapsed - before.elapsed) < _ALONE * used_s / jobs


def _cuda_sources(engine: Path) -> int:
    """How many CUDA files are compiled; of the vector attention kernels only a few are by default."""
    sources = (engine / "ggml/src/ggml-cuda").rglob("*.cu")
    return sum(not source.name.startswith("fattn-vec") for source in sources)


def _run(build: Build, source: Path, progress: estimate.Progress, jobs: int) -> tuple[float, float]:
    """Configure, compile and pack. Returns the seconds before the first and after the last compiled step."""
    hook = build.folder / "project.cmake"
    hook.write_text(_PROJECT_HOOK)
    options = (
        OPTIONS
        | cuda_options(build.cuda)
        | {
            "build-dir": str(build.folder / "tree"),
            "cmake.verbose": "false",  # commands instead of outputs would be printed, and the outputs are the progress
            "cmake.define.CMAKE_PROJECT_llama.cpp_INCLUDE": str(hook),
        }
    )
    wheel = build.folder / "wheel"
    wheel.mkdir()
    command = [str(build.python), "-c", _BUILD, str(wheel), *(f"{key}={value}" for key, value in options.items())]

    try:
        with lines_of(command, cwd=source, environment=_build_environment(build, jobs)) as lines:
            return _follow(lines, progress)
    except CommandFailed as failure:
        build.log.write_text(failure.output)
        raise SetupError(_explain(failure.output, build.log)) from failure


def cuda_options(cuda: Cuda) -> dict[str, str]:
    """The options that make it a build for CUDA, none for the processor only."""
    if cuda.nvcc is None:
        return {}
    architectures = {"cmake.define.CMAKE_CUDA_ARCHITECTURES": cuda.architectures} if cuda.architectures else {}
    return {"cmake.define.GGML_CUDA": "ON", "cmake.define.CMAKE_CUDA_COMPILER": cuda.nvcc} | architectures


def _build_environment(build: Build, jobs: int) -> dict[str, str]:
    """The locked cmake and ninja first on the PATH; ninja prints a line that `_follow` reads."""
    environment = clean_environment()
    return environment | {
        "PATH": f"{build.python.parent}:{environment['PATH']}",
        "CXX": build.compiler.path,
        "CMAKE_GENERATOR": "Ninja",
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
        "NINJA_STATUS": _STEP_MARK,
    }


def _follow(lines: Iterator[str], progress: estimate.Progress) -> tuple[float, float]:
    """Show the progress while the steps end."""
    started = time.monotonic()
    first_s, last_s = 0.0, 0.0
    bar = Bar(sys.stdout.isatty())
    for line in lines:
        if not line.startswith(_STEP_MARK):
            continue
        last_s = time.monotonic() - started
        if not progress.done:
            first_s = last_s
            progress.finish(estimate.CONFIGURE)
        if output := re.search(r"object (\S+)|(?:library|module) (\S+)", line):
            progress.finish(output[1] or output[2])
        bar.show(progress.fraction(), progress.left_s(last_s))
    bar.end()
    return first_s, time.monotonic() - started - last_s


def _step_durations(tree: Path) -> list[tuple[str, float]]:
    """What ninja's log says, in the order of the starts."""
    rows = [line.split("\t") for line in (tree / ".ninja_log").read_text().splitlines()[1:]]
    steps = sorted((int(start_ms), int(end_ms), output) for start_ms, end_ms, _, output, _ in rows)
    return [(output, (end_ms - start_ms) / 1000) for start_ms, end_ms, output in steps]


def _explain(output: str, log: Path) -> str:
    """One sentence from the output of a build that failed."""
    if "No space left on device" in output:
        return f"The disk of {log.parent} is full. Make room (df -h {log.parent} shows it), then run this again."
    if "Killed signal terminated program" in output:
        return "The compiler was killed for lack of memory. Stop other programs or add swap, then run this again."
    errors = [line.strip() for line in output.splitlines() if re.search(r"error:|CMake Error", line)]
    return f"llama.cpp could not be compiled: {errors[0] if errors else 'see the log'} (whole log: {log})"
