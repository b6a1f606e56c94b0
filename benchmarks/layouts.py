"""From a shape to the entries and tensors of a GGUF, in the names and orders that llama.cpp's loaders ask for.

Which tensors an architecture has was read in `src/models/{qwen2,llama,gemma3,qwen35,qwen3,bert}.cpp` of the engine's
source package, the metadata in `conversion/*.py` beside it. The file says nothing about the values beyond their scale.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.shapes import DeltaNet, RopeScaling, Shape

Entry = int | float | bool | str | tuple[int, ...] | tuple[bool, ...] | tuple[str, ...]

# LLAMA_POOLING_TYPE_* in llama.h.
_POOLING_TYPES = {"mean": 1, "cls": 2, "last": 3, "rank": 4}

EMBEDDING = "token_embd.weight"

# Queries and keys larger than unit size look at a few tokens instead of averaging all: the text depends on the prompt.
_ATTENTION_GAIN = 2.0

# The last feed-forward, in sizes of a token; its activation takes off half.
_LAST_GAIN = 5.0


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` as numpy says it (rows first). `spread` is the standard deviation around `middle`; 0 makes a constant.

    Vectors, and what llama.cpp computes with in 32 bits, are stored in 32 bits (`is_exact`) and never quantised.
    `has_signs` negates a random half. `values`, where given, is the whole content. `drawn_as` is the name that decides
    the random numbers, where another tensor shall have the same.
    """

    name: str
    shape: tuple[int, ...]
    spread: float = 0.0
    middle: float = 0.0
    is_exact: bool = False
    has_signs: bool = False
    values: tuple[float, ...] | None = None
    drawn_as: str = ""


def entries(shape: Shape) -> dict[str, Entry]:
    """The metadata below `general` and `tokenizer`."""
    found: dict[str, Entry] = {
        "block_count": len(shape.kept_blocks) or shape.blocks,
        "context_length": shape.context_tokens,
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.key_value_heads,
        "attention.key_length": shape.head_size,
        "attention.value_length": shape.head_size,
        "attention.layer_norm_rms_epsilon": shape.norm_epsilon,
        "rope.freq_base": shape.rope_base,
        "rope.dimension_count": shape.rope_size or shape.head_size,
        "vocab_size": shape.rows,
    }
    if shape.window is not None:
        found |= {
            "attention.sliding_window": shape.window.tokens,
            "attention.sliding_window_pattern": tuple((i + 1) % shape.window.period != 0 for i in range(shape.blocks)),
            "rope.freq_base_swa": shape.window.rope_base,
        }
    if shape.delta_net is not None:
        found |= _delta_net_entries(shape.delta_net)
    if shape.architecture == "bert":
        found |= {"attention.causal": False, "attention.layer_norm_epsilon": shape.norm_epsilon}
    if shape.pooling is not None:
        found["pooling_type"] = _POOLING_TYPES[shape.pooling]
    if shape.labels:
        found["classifier.output_labels"] = shape.labels
    return {f"{shape.architecture}.{name}": value for name, value in found.items()}


def _delta_net_entries(net: DeltaNet) -> dict[str, Entry]:
    return {
        "ssm.conv_kernel": net.convolution,
        "ssm.state_size": net.head_size,
        "ssm.group_count": net.heads,
        "ssm.time_step_rank": net.heads,
        "ssm.inner_size": net.heads * net.head_size,
        "full_attention_interval": net.period,
        "rope.dimension_sections": net.rope_sections,
    }


def tensors(shape: Shape) -> Iterator[Tensor]:
    """All tensors in file order. Logits get a spread of 2.5, the usual work of samplers."""
    if shape.architecture == "bert":
        yield from _bert(shape)
    else:
        yield from _generator(shape)
    if shape.pooling == "rank":
        if shape.architecture == "bert":
            yield _matrix("cls", shape.width, shape.width)
        yield _matrix("cls.output", max(len(shape.labels), 1), shape.width)


def _bert(shape: Shape) -> Iterator[Tensor]:
    """An encoder: positions are learnt, a norm follows each addition, and nothing predicts a word."""
    yield Tensor(EMBEDDING, (shape.rows, shape.width), 1.0)
    yield Tensor("position_embd.weight", (shape.context_tokens, shape.width), 0.3, is_exact=True)
    yield from _layer_norm("token_embd_norm", shape.width)
    for block in range(shape.blocks):
        prefix = f"blk.{block}"
        yield from _attention(shape, prefix)
        yield from _layer_norm(f"{prefix}.attn_output_norm", shape.width)
        yield _matrix(f"{prefix}.ffn_up", shape.feed_forward, shape.width)
        yield _matrix(f"{prefix}.ffn_down", shape.width, shape.feed_forward)
        yield from _layer_norm(f"{prefix}.layer_output_norm", shape.width)


def _layer_norm(name: str, size: int) -> Iterator[Tensor]:
    yield _norm(name, size)
    yield Tensor(f"{name}.bias", (size,), 0.1, is_exact=True)


def _generator(shape: Shape) -> Iterator[Tensor]:
    # Gemma multiplies the embedding by sqrt(width) on the way in.
    spread = 1 / math.sqrt(shape.width) if shape.architecture == "gemma3" else 1.0
    yield Tensor(EMBEDDING, (shape.rows, shape.width), spread)
    # The output matrix is the embedding: without the signs, the most likely word after any would be itself.
    logit_gain = 2.5 / (spread * math.sqrt(shape.width))
    yield Tensor("output_norm.weight", (shape.width,), middle=logit_gain, is_exact=True, has_signs=True)
    if shape.rope_scaling is not None:
        factors = _rope_factors(shape, shape.rope_scaling)
        yield Tensor("rope_freqs.weight", (len(factors),), is_exact=True, values=factors)
    for place, block in enumerate(shape.kept_blocks or range(shape.blocks)):
        for tensor in _block(shape, block):
            yield replace(tensor, name=tensor.name.replace(f"blk.{block}.", f"blk.{place}."), drawn_as=tensor.name)


def _block_gain(shape: Shape) -> float:
    """How much an attention or a feed-forward adds to the stream, whose tokens enter with size 1.

    All of them together add a fifth of the token itself, where a shape does not say otherwise: enough that the text
    depends on the prompt. With blocks of full size a network of random numbers is an amplifier, and a rounding error in
    the first block changes every word after; trained networks are not like that. Only the last feed-forward outweighs
    the stream: without it the likeliest word after B, if B is the likeliest after A, would be A, because the output
    matrix is the embedding.
    """
    return shape.depth_gain / math.sqrt(shape.blocks)


def _block(shape: Shape, block: int) -> Iterator[Tensor]:
    prefix, gain = f"blk.{block}", _block_gain(shape)
    last_gain = _LAST_GAIN if block == shape.blocks - 1 else gain
    yield _norm(f"{prefix}.attn_norm", shape.width)
    if shape.delta_net is not None and (block + 1) % shape.delta_net.period != 0:
        yield from _delta_net(shape, shape.delta_net, prefix)
    else:
        yield from _attention(shape, prefix)

    if shape.architecture in ("gemma3", "qwen35"):
        # Gemma's scales what attention adds; Qwen3.5's, of the same name, is the norm before the feed-forward.
        yield _norm(f"{prefix}.post_attention_norm", shape.width, gain if shape.architecture == "gemma3" else 1.0)
    if shape.architecture == "gemma3":
        yield _norm(f"{prefix}.post_ffw_norm", shape.width, last_gain)
    if shape.architecture != "qwen35":
        yield _norm(f"{prefix}.ffn_norm", shape.width)
    yield _matrix(f"{prefix}.ffn_gate", shape.feed_forward, shape.width)
    yield _matrix(f"{prefix}.ffn_up", shape.feed_forward, shape.width)
    yield _matrix(f"{prefix}.ffn_down", shape.width, shape.feed_forward, last_gain)


def _attention(shape: Shape, prefix: str) -> Iterator[Tensor]:
    query = shape.heads * shape.head_size
    key_value = shape.key_value_heads * shape.head_size
    gate = 2 if shape.architecture == "qwen35" else 1  # Qwen3.5 computes a gate per head beside the query
    yield _matrix(f"{prefix}.attn_q", query * gate, shape.width, _ATTENTION_GAIN)
    yield _matrix(f"{prefix}.attn_k", key_value, shape.width, _ATTENTION_GAIN)
    yield _matrix(f"{prefix}.attn_v", key_value, shape.width)
    yield _matrix(f"{prefix}.attn_output", shape.width, query, _block_gain(shape))
    if shape.query_key_value_bias:
        # A bias of the values would be the same in every answer and pull all of them to the same few tokens.
        for name, size, spread in (("attn_q", query, 0.1), ("attn_k", key_value, 0.1), ("attn_v", key_value, 0.001)):
            yield Tensor(f"{prefix}.{name}.bias", (size,), spread, is_exact=True)
    if shape.query_key_norm:
        yield _norm(f"{prefix}.attn_q_norm", shape.head_size, _ATTENTION_GAIN)
        yield _norm(f"{prefix}.attn_k_norm", shape.head_size, _ATTENTION_GAIN)


def _delta_net(shape: Shape, net: DeltaNet, prefix: str) -> Iterator[Tensor]:
    inner = net.heads * net.head_size
    yield _matrix(f"{prefix}.attn_qkv", 3 * inner, shape.width)
    yield _matrix(f"{prefix}.attn_gate", inner, shape.width)
    yield Tensor(f"{prefix}.ssm_conv1d.weight", (3 * inner, net.convolution), 0.5, is_exact=True)
    yield Tensor(f"{prefix}.ssm_dt.bias", (net.heads,), 0.1, is_exact=True)
    # Decay per step is exp(softplus(...) x this): negative, or the state grows without bound.
    yield Tensor(f"{prefix}.ssm_a", (net.heads,), middle=-0.5, is_exact=True)
    yield _matrix(f"{prefix}.ssm_beta", net.heads, shape.width)
    yield _matrix(f"{prefix}.ssm_alpha", net.heads, shape.width)
    yield _norm(f"{prefix}.ssm_norm", net.head_size)
    yield _matrix(f"{prefix}.ssm_out", shape.width, inner, _block_gain(shape))


def _matrix(name: str, rows: int, columns: int, gain: float = 1.0) -> Tensor:
    return Tensor(f"{name}.weight", (rows, columns), gain / math.sqrt(columns))


def _norm(name: str, size: int, gain: float = 1.0) -> Tensor:
    return Tensor(f"{name}.weight", (size,), middle=gain, is_exact=True)


def _rope_factors(shape: Shape, scaling: RopeScaling) -> tuple[float, ...]:
    """How much longer each wavelength becomes: short ones not at all, long ones by `factor`, a ramp between."""

    def stretch(index: int) -> float:
        wavelength = 2 * math.pi * math.pow(shape.rope_base, 2 * index / shape.head_size)
        turns = scaling.original_context_tokens / wavelength
        if turns > scaling.high:
            return 1.0
        if turns < scaling.low:
            return scaling.factor
        ramp = (turns - scaling.low) / (scaling.high - scaling.low)
        return 1 / ((1 - ramp) / scaling.factor + ramp)

    return tuple(stretch(index) for index in range(shape.head_size // 2))
