"""llama.cpp's functions (`lib`), what it last complained of, and the error that it ends in.

`llama_cpp.llama_cpp` is loaded without running the package's own `__init__`, which would pull in numpy, jinja2 and a
cache library: about 20 MiB and 0.2-0.4 s for nothing that is used here (`tests/test_architecture.py` holds it).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR in ggml.h
_CONTINUED_LEVEL = 5  # GGML_LOG_LEVEL_CONT


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


class _ErrorLog:
    """llama.cpp's log, reduced to its last errors; everything else it says is of no use to an owner."""

    def __init__(self) -> None:
        self.last = ""
        self._is_error = False
        self.callback = lib.llama_log_callback(self._receive)
        lib.llama_log_set(self.callback, None)

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONTINUED_LEVEL:
            self._is_error = level == _ERROR_LEVEL
        if self._is_error:
            line = text.decode(errors="replace")
            self.last = line.strip() or self.last
            sys.stderr.write(line)


@cache
def _error_log() -> _ErrorLog:
    """The one of this process: llama.cpp keeps the pointer, so it must outlive every model."""
    return _ErrorLog()


def listen() -> None:
    """Initialise llama.cpp, and keep what it complains of from here on. Calling it again changes nothing."""
    _error_log()
    lib.llama_backend_init()


def last_error(otherwise: str) -> str:
    """llama.cpp's last complaint, or `otherwise` where it had none."""
    return _error_log().last or otherwise
