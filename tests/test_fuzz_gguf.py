"""A few seconds of `python -m tests.fuzz_gguf`, so that it keeps working; `test_gguf.py` states the promises."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.fuzz_gguf import MOST_BYTES, MOST_S, fuzz, load_all
from tests.gguf_draft import straight

SECONDS = 4


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="there is no atheris for this machine")
def test_nothing_that_libfuzzer_thinks_of_breaks_a_promise(tmp_path: Path) -> None:
    found = fuzz(SECONDS, tmp_path)

    assert found.problem == ""
    assert found.inputs > 200, "all that it began with, and more"
    assert found.accepted > 0
    assert found.slowest_s < MOST_S
    assert found.most_bytes < MOST_BYTES


def test_what_ends_the_engines_process_is_told_from_what_it_refuses(tmp_path: Path) -> None:
    good, refused, killing = (tmp_path / f"{name}.gguf" for name in ("good", "refused", "killing"))
    good.write_bytes(straight())
    refused.write_bytes(straight().replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_ab.weight"))
    killing.write_bytes(straight().replace(b"<0x41>", b"<0x42>"))  # twice the same token

    assert load_all([good, refused], 60) == (1, 1, [])
    ran, _, broken = load_all([killing], 60)
    assert (ran, len(broken)) == (0, 1)
    assert "killing.gguf: -6" in broken[0]
