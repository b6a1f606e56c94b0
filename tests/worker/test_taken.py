"""What a load took is told by llama.cpp and the kernel, and by nobody where they cannot tell it apart."""

from __future__ import annotations

from pathlib import Path

from edged.load_wire import Taken
from edged.worker.bindings import Buffer, is_starvation
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


def test_what_the_engine_says_without_memory_is_known_from_what_it_says_of_a_bad_file() -> None:
    assert is_starvation("alloc_tensor_range: failed to allocate CPU buffer of size 1099511627776")
    assert is_starvation("error loading model: std::bad_alloc")
    assert not is_starvation("error loading model: missing tensor 'token_embd.weight'")
