"""How much of a conversation a model keeps follows from its header, whatever kind of memory it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import synthetic
from edged.gguf import build, entries, header
from edged.gguf.build import Build
from edged.gguf.header import inspect
from edged.gguf.reading import Reader
from tests.gguf_draft import HEADS, I32, STRING, U32, Draft, many, one


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


def built(tmp_path: Path, architecture: str, **numbers: int | list[int]) -> Build:
    """What is read from a header of four layers, 64 wide, with two heads; `__` is a dot in the names of entries."""
    draft = Draft()
    draft.entries = {key: value for key, value in draft.entries.items() if not str(key).startswith("llama.")}
    draft.entries["general.architecture"] = one(STRING, architecture)
    wanted = {"block_count": 4, "context_length": 128, "embedding_length": 64, "feed_forward_length": 96}
    for name, value in {**wanted, "attention__head_count": 2, **numbers}.items():
        key = f"{architecture}.{name.replace('__', '.')}"
        draft.entries[key] = many(U32, value) if isinstance(value, list) else one(U32, value)
    (tmp_path / "drawn.gguf").write_bytes(draft.written())
    with (tmp_path / "drawn.gguf").open("rb") as file:
        reader = Reader(file.fileno())
        _, _, count = header.beginning(reader)
        return build.read(entries.read(reader, count), architecture)


@pytest.mark.parametrize("architecture", ["rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7"])
def test_rwkv_keeps_a_state_in_every_layer_and_nothing_of_a_token(architecture: str, tmp_path: Path) -> None:
    found = built(tmp_path, architecture, attention__head_count=0, wkv__head_size=16)
    once = built(tmp_path, architecture, attention__head_count=0, wkv__head_size=16, token_shift_count=1)

    assert (found.token_values, found.state_layers) == (0, 4)
    assert found.state_values == 4 * (2 * 64 + 64 * 16)
    assert once.state_values == 4 * (64 + 64 * 16)
    assert not found.is_cuttable


def test_a_latent_vector_is_kept_once(tmp_path: Path) -> None:
    lengths = {"attention__head_count_kv": 1, "attention__key_length": 72, "attention__value_length": 64}
    mla = {"attention__key_length_mla": 24, "attention__value_length_mla": 16}

    assert built(tmp_path, "deepseek2", **lengths, **mla).token_values == 4 * 72
    assert built(tmp_path, "deepseek2", **lengths).token_values == 4 * (72 + 64)
    assert built(tmp_path, "glm-dsa", **lengths, **mla).token_values == 4 * (72 + 64), "it keeps an index as well"


def test_delta_attention_keeps_a_square_for_each_head_where_a_layer_has_no_keys(tmp_path: Path) -> None:
    found = built(
        tmp_path,
        "kimi-linear",
        attention__head_count_kv=[0, 0, 0, 1],
        attention__key_length=72,
        attention__value_length=64,
        attention__key_length_mla=24,
        attention__value_length_mla=16,
        kda__head_dim=8,
        ssm__conv_kernel=4,
    )

    assert (found.token_values, found.state_layers) == (72, 3)
    assert found.state_values == 3 * (3 * 3 * 2 * 8 + 8 * 8 * 2)


def test_linear_attention_keeps_a_square_for_each_head(tmp_path: Path) -> None:
    found = built(tmp_path, "minimax-01", block_count=8, attention__key_length=32)

    assert (found.token_values, found.state_layers) == (2 * (32 + 32), 7)
    assert found.state_values == 7 * 32 * 32 * 2


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
