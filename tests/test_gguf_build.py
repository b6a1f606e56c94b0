"""How much of a conversation a model keeps follows from its header, whatever kind of memory it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import synthetic
from edged.gguf.header import inspect
from tests.gguf_draft import HEADS, I32, U32, Draft, many


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # Two layers, one head for keys, 32 values in it.
        ("tiny", {"token_values": 2 * 2 * 32, "window_values": 0, "state_values": 0}),
        # One of two sees 32 tokens.
        ("tiny-window", {"token_values": 2 * 32, "window_values": 2 * 32, "window_tokens": 32}),
        # Two of four have a state: three columns of 3 × 64 channels, and 32 × 64 values.
        ("tiny-hybrid", {"token_values": 2 * 2 * 32, "state_layers": 2, "state_values": 2 * (3 * 192 + 32 * 64)}),
    ],
)
def test_what_is_kept_of_a_token_a_window_and_a_sequence(shape: str, expected: dict[str, int], tmp_path: Path) -> None:
    build = inspect(synthetic.build(shape, "Q8_0", tmp_path)).build

    assert {name: getattr(build, name) for name in expected} == expected
    assert build.is_cuttable == (shape == "tiny")


@pytest.mark.parametrize("shape", ["tiny", "tiny-window", "tiny-hybrid"])
def test_what_layers_weigh_and_keep_is_all_of_it(shape: str, tmp_path: Path) -> None:
    found = inspect(synthetic.build(shape, "Q8_0", tmp_path))
    tensors, build = found.tensors, found.build

    assert set(tensors.layer_bytes) == set(range(build.layers))
    outside_bytes = tensors.output_bytes + tensors.embedding_bytes
    assert tensors.size_bytes == pytest.approx(sum(tensors.layer_bytes.values()) + outside_bytes, rel=0.02)
    assert len(build.kept) == build.layers
    assert sum(layer.token_values for layer in build.kept) == build.token_values
    assert sum(layer.window_values for layer in build.kept) == build.window_values
    assert sum(layer.state_values for layer in build.kept) == build.state_values


def test_layers_may_differ(tmp_path: Path) -> None:
    draft = Draft()
    draft.entries["llama.attention.head_count_kv"] = many(I32, [HEADS])
    (tmp_path / "one.gguf").write_bytes(draft.written())

    assert inspect(tmp_path / "one.gguf").build.token_values > 0


def test_an_entry_of_another_kind_counts_as_none_and_refuses_nothing(tmp_path: Path) -> None:
    draft = Draft()
    draft.entries["llama.expert_feed_forward_length"] = many(U32, [1, 2, 3])
    draft.entries["llama.ssm.state_size"] = many(U32, [7])
    (tmp_path / "odd.gguf").write_bytes(draft.written())

    build = inspect(tmp_path / "odd.gguf").build
    assert (build.experts, build.state_values) == (1, 0)
