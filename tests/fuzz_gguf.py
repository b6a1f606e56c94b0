"""Looks for model files that `edged/gguf` does not answer as it promises, with atheris (libFuzzer for Python).

    python -m tests.fuzz_gguf --seconds 600 --load

The promises, for any bytes at all: nothing is raised but `GgufInvalid`, in less than a second of computing and 32 MB,
and nothing is read behind the header. `--load` then has llama.cpp load and run what was accepted, each in a process of
its own, which must end by itself: with an answer, or with a refusal in words.

It begins with the files of `malformed.py`. An input is a header; the place of the tensors' data is empty and as long as
it must be, so that headers are not refused for that alone; without the first byte's last bit it ends where it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.gguf_draft import F32, I32, STRING, TOKENS, TYPES, WIDTH, Draft, many, one
from tests.malformed import BENT, HARMLESS

MOST_S = 1.0
MOST_BYTES = 32 * 2**20
_LONGEST_INPUT_BYTES = 32 * 1024
_ROOM_BYTES = 2**22  # for tensors, as a hole; it can be read as half a million empty texts, too
_MOST_KEPT = 4000
_FEW = 16  # tokens
_COUNTS = struct.Struct("<QQQQ")
_HOW = "-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048", f"-max_len={_LONGEST_INPUT_BYTES}", "-verbosity=0"
_FOUND = re.compile(rb"^( === Uncaught Python exception|==\d+== *ERROR: libFuzzer)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was like: inputs, those of them that were accepted, the slowest and the largest, and what it found."""

    inputs: int
    accepted: int
    slowest_s: float
    most_bytes: int
    problem: str


def fuzz(seconds: int, folder: Path) -> Outcome:
    """Try inputs for so long; `folder` gets the inputs that were accepted, and those that broke a promise."""
    for name in ("seeds", "found", "accepted"):
        (folder / name).mkdir(exist_ok=True)
    for number, seed in enumerate(_seeds()):
        (folder / "seeds" / f"{number}").write_bytes(seed)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in _words()))
    (folder / "counts").write_bytes(bytes(_COUNTS.size))
    command = [sys.executable, "-m", "tests.fuzz_gguf", "--child", str(folder), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    inputs, accepted, _, most_bytes = _COUNTS.unpack((folder / "counts").read_bytes())
    is_well = done.returncode == 0 and not _FOUND.search(done.stdout)
    problem = "" if is_well else done.stdout.decode(errors="replace")[-4000:]
    slowest_s = _taken_s((folder / "slowest").read_bytes())
    if slowest_s >= MOST_S:
        problem += f"{folder / 'slowest'} takes {slowest_s:.2f} s"
    return Outcome(inputs, accepted, slowest_s, most_bytes, problem)


def _taken_s(data: bytes) -> float:
    """How long one input takes here, where nobody counts branches and allocations: a twentieth."""
    from edged.gguf.header import inspect  # not above: in the child it is imported where branches are counted
    from edged.gguf.reading import GgufInvalid

    place = os.memfd_create("header")
    try:
        _put(place, data)
        began_s = time.thread_time()
        with contextlib.suppress(GgufInvalid):
            inspect(place)
        return time.thread_time() - began_s
    finally:
        os.close(place)


def _put(place: int, data: bytes) -> None:
    os.ftruncate(place, 0)
    os.pwrite(place, data[1:], 0)
    os.ftruncate(place, len(data[1:]) + (_ROOM_BYTES if data[:1] and data[0] & 1 else 0))


def _seeds() -> Iterator[bytes]:
    for case in (*HARMLESS.values(), *BENT.values()):
        draft = Draft()
        cut = case.bend(draft)
        header = draft.header() if cut is None else cut
        if len(header) < _LONGEST_INPUT_BYTES:
            yield bytes([cut is None]) + header
    short = Draft()  # so that most of what changes in it is no token
    short.tensor("token_embd.weight").shape = (WIDTH, _FEW)
    short.tensor("token_embd.weight").size_bytes = 4 * WIDTH * _FEW
    short.entries["tokenizer.ggml.model"] = one(STRING, "gpt2")
    short.entries["tokenizer.ggml.merges"] = many(STRING, ["e t"])
    short.entries["tokenizer.ggml.tokens"] = many(STRING, TOKENS[-_FEW:])
    short.entries["tokenizer.ggml.scores"] = many(F32, [0.0] * _FEW)
    short.entries["tokenizer.ggml.token_type"] = many(I32, TYPES[-_FEW:])
    yield b"\1" + short.header()


def _words() -> Iterator[str]:
    """What libFuzzer may put in: names that mean something, and numbers at the edge of something."""
    keys = {key for case in (*HARMLESS.values(), *BENT.values()) for key in _keys_of(case.bend)}
    yield from (key for key in sorted(keys) if re.fullmatch(r"[\w.]+", key))
    numbers = (0, 1, 2, 31, 32, 512, 513, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)
    for form in ("<I", "<Q"):
        for number in numbers:
            if number < 2 ** (8 * struct.calcsize(form)):
                yield "".join(f"\\x{byte:02x}" for byte in struct.pack(form, number))


def _keys_of(bend: object) -> Iterator[str]:
    draft = Draft()
    if callable(bend) and bend(draft) is None:
        yield from (key for key in draft.entries if isinstance(key, str))


def _child(folder: Path, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["edged.gguf"]):
        from edged.gguf import header, reading

    with (folder / "counts").open("r+b") as file:
        counts = mmap.mmap(file.fileno(), _COUNTS.size)
    chance, place, read_behind = random.Random(1), os.memfd_create("header"), [0]
    pread = os.pread

    def noted(descriptor: int, count: int, at: int) -> bytes:
        read_behind[0] = max(read_behind[0], at)
        return pread(descriptor, count, at)

    patch("os.pread", noted).start()
    tracemalloc.start()

    def try_input(data: bytes) -> None:
        _put(place, data)
        inputs, accepted, slowest_us, most_bytes = _COUNTS.unpack(counts)
        before_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        read_behind[0], began_s, found, said = 0, time.thread_time(), None, "."
        try:
            found = header.inspect(place)
        except reading.GgufInvalid as error:
            said = str(error)
        took_s = time.thread_time() - began_s
        taken_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
        assert said.endswith("."), said
        assert taken_bytes < MOST_BYTES, f"it took {taken_bytes} bytes"
        if found is not None:
            assert not found.tensors.count or read_behind[0] < found.tensors.data_offset, "it read behind the header"
            is_kept = not found.problem and (accepted < _MOST_KEPT or chance.random() < _MOST_KEPT / accepted)
            if is_kept:
                kept = accepted if accepted < _MOST_KEPT else chance.randrange(_MOST_KEPT)
                (folder / "accepted" / f"{kept}.gguf").write_bytes(data[1:])
            accepted += not found.problem
        if took_s * 1e6 > slowest_us:
            (folder / "slowest").write_bytes(data)
        most = max(slowest_us, int(took_s * 1e6)), max(most_bytes, taken_bytes)
        counts[:] = _COUNTS.pack(inputs + 1, accepted, *most)

    # The short form tries the same inputs every time; what a long one finds is a matter of luck, and of its owner.
    seed = 1 if seconds < 60 else 0
    how = (
        *_HOW,
        f"-seed={seed}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/found/",
        f"-dict={folder}/words",
    )
    atheris.Setup([sys.argv[0], *how, str(folder / "seeds")], try_input)
    atheris.Fuzz()


def load_all(files: list[Path], seconds: float) -> tuple[int, int, list[str]]:
    """How many of `files` llama.cpp ran and refused in words, and what those that ended its process were."""
    ran, refused, broken = 0, 0, []
    end_s = time.monotonic() + seconds
    for file in files:
        if time.monotonic() > end_s:
            break
        with file.open("r+b") as content:
            content.truncate(file.stat().st_size + _ROOM_BYTES)
        command = [sys.executable, "-m", "tests.run_gguf", str(file)]
        environment = os.environ | {"GGML_NO_BACKTRACE": "1"}
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, env=environment)
            code, said = done.returncode, done.stderr.decode(errors="replace").strip().splitlines()
        except subprocess.TimeoutExpired:
            code, said = -1, ["it did not end"]
        ran, refused = ran + (code == 0), refused + (code == 3)
        if code not in (0, 3):
            broken.append(f"{file}: {code}: {' | '.join(said[-3:])}")
        else:
            file.unlink()
    return ran, refused, broken


def main() -> int:
    """Fuzz, say how it was, and fail where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_gguf")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--load", action="store_true", help="have llama.cpp load what was accepted, as long again")
    parser.add_argument("--folder", type=Path, help="where what is found stays")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(asked.child, asked.seconds)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
    folder.mkdir(exist_ok=True)
    found = fuzz(asked.seconds, folder)
    print(
        f"{found.inputs} inputs, {found.accepted} accepted, slowest {found.slowest_s:.3f} s, "
        f"most {found.most_bytes / 2**20:.1f} MiB\n{found.problem}"
    )
    broken: list[str] = []
    if asked.load:
        ran, refused, broken = load_all(sorted((folder / "accepted").iterdir()), asked.seconds)
        print(f"llama.cpp ran {ran}, refused {refused} in words, and ended its process for {len(broken)}:", *broken)
    if found.problem or broken:
        print(f"what was found is in {folder}")
    return 1 if found.problem or broken else 0


if __name__ == "__main__":
    sys.exit(main())
