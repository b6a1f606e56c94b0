"""What a load took is told by llama.cpp and the kernel, and by nobody where they cannot tell it apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.load_wire import Taken
from edged.worker.bindings import Buffer, _error_log, forget_errors, has_starved
from edged.worker.taken import resident_bytes, taken

HOST = [
    Buffer("CPU", "model", 100),
    Buffer("CPU_REPACK", "model", 50),
    Buffer("CPU", "KV", 20),
    Buffer("CPU", "RS", 5),
    Buffer("CPU", "compute", 7),
    Buffer("CPU", "output", 3),
]


def test_what_is_left_of_the_process_is_its_own() -> None:
    assert taken(HOST, 1000) == Taken(150, 25, 10, 1000 - 150 - 25 - 3), "nothing was computed yet"


def test_pages_of_a_mapped_file_and_a_device_are_not_told_apart() -> None:
    assert taken([*HOST, Buffer("CPU_Mapped", "model", 1)], 1000).process_bytes is None
    assert taken([*HOST, Buffer("CUDA0", "KV", 1)], 1000).process_bytes is None
    assert taken(HOST, None).process_bytes is None


def test_the_kernel_tells_how_much_a_process_has(tmp_path: Path) -> None:
    assert resident_bytes(tmp_path / "none") is None
    found = resident_bytes()
    assert found is not None
    assert found > 10 * 2**20


INFO, ERROR = 2, 4  # GGML_LOG_LEVEL_* in ggml.h


@pytest.mark.parametrize(
    ("said", "is_starved"),
    [
        ([(ERROR, "alloc_tensor_range: failed to allocate CPU buffer of size 1099511627776")], True),
        ([(ERROR, "error loading model: unable to allocate CUDA0 buffer")], True),
        ([(ERROR, "error loading model: std::bad_alloc")], True),
        (
            [(ERROR, "failed to allocate CPU buffer of size 9"), (ERROR, "failed to reserve initial output buffer")],
            True,
        ),
        ([(ERROR, "error loading model: missing tensor 'token_embd.weight'")], False),
        ([(ERROR, "failed to initialize the context: n_ctx_seq == 0")], False),
        ([(INFO, "failed to allocate host buffer for async uploads")], False),
        ([], False),
    ],
)
def test_what_the_engine_says_without_memory_is_known_from_what_it_says_of_a_bad_file(
    said: list[tuple[int, str]], is_starved: bool
) -> None:
    forget_errors()
    for level, text in said:
        _error_log()._receive(level, f"{text}\n".encode(), None)

    assert has_starved() == is_starved
    forget_errors()
    assert not has_starved()
