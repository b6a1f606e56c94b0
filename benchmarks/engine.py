"""The engine that the product uses, for what a benchmark asks of it directly: quantising, its version, its source."""

import ctypes
import importlib.metadata
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

QUANTS = ("F16", "Q4_0", "Q4_K_M", "Q8_0")

# llama.cpp would hold the largest tensor in 32 bits (1.2 GB for Gemma's embedding), more than a small board has free.
_QUANTISE_BUFFER_BYTES = 256 * 2**20

_ROOT = Path(__file__).resolve().parent.parent


def version() -> str:
    """The installed llama-cpp-python."""
    return importlib.metadata.version("llama-cpp-python")


@cache
def source() -> Path:
    """The unpacked source package of the engine, as `scripts/engine-source` finds or fetches it."""
    answer = subprocess.run([_ROOT / "scripts" / "engine-source"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(answer.stdout.strip())


def quantise(whole: Path, target: Path, quant: str) -> None:
    """Writes `target` from the F16 file `whole` as `llama-quantize` would; every core takes part."""
    # Imported here: a benchmark that only asks for figures does not load the engine.
    from edged.worker.bindings import lib

    lib.llama_log_set(_silence(lib), None)
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{quant}")
    parameters.nthread = os.cpu_count() or 1
    parameters.max_buf_size = _QUANTISE_BUFFER_BYTES
    failure = lib.llama_model_quantize(os.fsencode(whole), os.fsencode(target), ctypes.byref(parameters))
    if failure:
        raise RuntimeError(f"llama.cpp could not quantise {whole} to {quant} (code {failure})")


@cache
def _silence(lib: Any) -> Any:
    """A log receiver that drops llama.cpp's progress lines (a failure has a return code). llama.cpp keeps the pointer,
    so the object lives as long as the process."""
    return lib.llama_log_callback(lambda _level, _text, _data: None)
