"""What llama.cpp could compute on beside the processor, from ggml's list of devices."""

from __future__ import annotations

import ctypes
from typing import Any

from edged.worker.bindings import ggml

# enum ggml_backend_dev_type in ggml-backend.h: CPU 0, GPU 1, IGPU 2, ACCEL 3. A Jetson's GPU shares the memory: IGPU.
_GPU_TYPES = (1, 2)


def gpus() -> tuple[str, ...]:
    """The GPUs that this build of llama.cpp sees, by name; empty for a build without support for any."""
    library: Any = ggml()
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_type.restype = ctypes.c_int
    library.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_description.restype = ctypes.c_char_p
    devices = map(library.ggml_backend_dev_get, range(library.ggml_backend_dev_count()))
    return tuple(
        library.ggml_backend_dev_description(device).decode(errors="replace")
        for device in devices
        if library.ggml_backend_dev_type(device) in _GPU_TYPES
    )
