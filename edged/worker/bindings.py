"""llama.cpp's functions (`lib`), what it last complained of, and the error that it ends in.

`llama_cpp.llama_cpp` is loaded without running the package's own `__init__`, which would pull in numpy, jinja2 and a
cache library: about 20 MiB and 0.2-0.4 s for nothing that is used here (`tests/test_architecture.py` holds it).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR in ggml.h
# llama_model_base::load_tensors in src/llama-model.cpp
_OFFLOADED = re.compile(rb"offloaded (\d+)/\d+ layers to GPU")
# What is said of every buffer that is allocated: `load_tensors` in src/llama-model.cpp, src/llama-kv-cache.cpp,
# src/llama-memory-recurrent.cpp, and `sched_reserve` and the constructor in src/llama-context.cpp.
_BUFFER = re.compile(rb"(?<!\S)(\S+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
_CONTINUED_LEVEL = 5  # GGML_LOG_LEVEL_CONT
# llama_model_load_from_file_impl in src/llama.cpp says this behind the reason, and nothing more.
_NO_REASON = b"failed to load model"


# How llama.cpp and ggml say that they found no memory: ggml/src/ggml-backend.cpp, ggml-alloc.c and ggml.c,
# `load_tensors` in src/llama-model.cpp, src/llama-kv-cache.cpp, src/llama-memory-recurrent.cpp; `cudaMalloc failed` in
# ggml-cuda.cu. What follows may be another sentence ("failed to reserve initial output buffer"), so each is looked at.
_STARVED = re.compile(rb"(?:failed|unable) to allocate|cudaMalloc failed|out of memory|bad_alloc")


class EngineError(Exception):
    """llama.cpp refused or failed; the text is its own last error."""


def _load_bindings() -> ModuleType:
    package = importlib.util.find_spec("llama_cpp")
    if package is None:
        raise EngineError("llama-cpp-python is not installed in this environment; run scripts/run --setup")
    hollow = importlib.util.module_from_spec(package)
    sys.modules.setdefault("llama_cpp", hollow)
    return importlib.import_module("llama_cpp.llama_cpp")


lib: Any = _load_bindings()


def ggml() -> Any:
    """The library below llama.cpp, for what `lib` does not bind."""
    return importlib.import_module("llama_cpp._ggml").libggml


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that llama.cpp allocated: of which kind, and what for: model, KV, RS, compute or output."""

    place: str
    purpose: str
    size_bytes: int


class _ErrorLog:
    """llama.cpp's log, reduced to its last error, whether any was for want of memory, and what it allocated and put on
    a GPU: it has no call for that.

    Everything else it says is of no use to an owner.
    """

    def __init__(self) -> None:
        self.last = ""
        self.has_starved = False
        self.offloaded_layers = 0
        self.buffers: list[Buffer] = []
        self._is_error = False
        self.callback = lib.llama_log_callback(self._receive)

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONTINUED_LEVEL:
            self._is_error = level == _ERROR_LEVEL
        if found := _OFFLOADED.search(text):
            self.offloaded_layers = int(found[1])
        if found := _BUFFER.search(text):
            place, purpose, mebibytes = found[1].decode(), found[2].decode(), float(found[3])
            self.buffers.append(Buffer(place, purpose, int(mebibytes * 2**20)))
        if self._is_error:
            self.has_starved = self.has_starved or _STARVED.search(text) is not None
            line = text.decode(errors="replace")
            if not (self.last and _NO_REASON in text):
                self.last = line.strip() or self.last
            sys.stderr.write(line)


@cache
def _error_log() -> _ErrorLog:
    """The one of this process: llama.cpp keeps the pointer, so it must outlive every model."""
    return _ErrorLog()


def listen() -> None:
    """Initialise llama.cpp, and keep what it complains of from here on, also if another listened meanwhile.

    The package's own `_logger` puts itself in this place wherever somebody imports it.
    """
    lib.llama_log_set(_error_log().callback, None)
    lib.llama_backend_init()


def forget_errors() -> None:
    """What it complained of so far is of no interest any more."""
    log = _error_log()
    log.last, log.has_starved = "", False


def has_starved() -> bool:
    """Whether it has complained of finding no memory since then."""
    return _error_log().has_starved


def last_error(otherwise: str) -> str:
    """llama.cpp's last complaint, or `otherwise` where it had none."""
    return _error_log().last or otherwise


def buffers() -> Sequence[Buffer]:
    """All that was allocated so far, in order."""
    return _error_log().buffers


def offloaded_layers() -> int:
    """How many layers of the last model that was loaded lie on a GPU."""
    return _error_log().offloaded_layers
