"""How a model is built, as far as that decides how much memory it takes: what it keeps of each token, and its widths.

The numbers are those of `llama_hparams` in src/llama-hparams.cpp: `n_embd_k_gqa` and `n_embd_v_gqa` values for each
token in each layer that attends, `n_embd_r` and `n_embd_s` for each sequence in each layer that has a state. Which
layers do is decided in `load_arch_hparams` of src/models/*.cpp; here by the same entries, where an architecture follows
the common rule. What follows none of them is counted as attending to everything, which takes the most. An entry that
cannot be read counts as none: whether it matters is llama.cpp's to say, and nothing but a forecast depends on it here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from struct import iter_unpack

from edged.gguf.entries import Entries
from edged.gguf.reading import GgufInvalid

# The period of the layers without a window where the file says nothing (`load_swa_pattern` in src/models), and whether
# the first of a period is the one without. Only these have windows: what an entry says to others is not asked for.
_PERIODS = {
    "afmoe": (4, False),
    "cohere2": (4, False),
    "cohere2moe": (4, True),
    "exaone-moe": (4, False),
    "exaone4": (4, False),
    "gemma-embedding": (6, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gemma4": (0, False),
    "gpt-oss": (2, False),
    "granite_swa": (0, False),
    "laguna": (4, True),
    "llama4": (4, False),
    "mellum": (4, False),
    "mimo2": (0, False),
    "olmo2": (4, False),
    "plamo3": (8, False),
    "smallthinker": (4, True),
}
# Every so many layers one attends and has no state, where the file lists none (src/models/qwen35.cpp and its kin, and
# minimax-01.cpp).
_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}
# States of other shapes than Mamba's (`n_embd_r` and `n_embd_s` in src/llama-hparams.cpp): RWKV's, those of Kimi's
# delta attention, and those of linear attention, a square for each head.
_RWKV = ("rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")
_SHIFTED_TOKENS = 2  # `token_shift_count` in src/llama-hparams.h, where the file says nothing
# Vectors that are alive for a token where it is mixed with the one before (src/models/rwkv7-base.cpp: six, of which
# `needs.py` counts three for each width here).
_MIXED_WIDTHS = 2
_DELTA = ("kimi-linear", "kimi-k3", "bailingmoe3", "glm5-next")
_LINEAR = ("minimax-01",)
# Keys and values are made of one latent vector, which is kept as the key; no values are (`is_mla` in
# src/llama-kv-cache.cpp), where the file has the lengths of both. Those of the kin that keep an index beside it
# (deepseek32, dots3note, glm-dsa, glm5-next, hy-v4) are counted with values, which take more than their index.
_LATENT = ("deepseek2", "mistral4", "kimi-linear", "kimi-k3", "bailingmoe3")
# A layer has a state where it has no heads with keys (src/models/granite-hybrid.cpp and its kin).
_STATE_WITHOUT_KEYS = ("jamba", "granitehybrid", "lfm2", "lfm2moe", "plamo2", *_DELTA)
_STATE_WITHOUT_KEYS_OR_FEED = ("nemotron_h", "nemotron_h_moe")
_STATE_BESIDE_KEYS = ("falcon-h1",)
_STATE_EVERYWHERE = ("mamba", "mamba2", *_RWKV, *_STATE_BESIDE_KEYS)
# As many layers keep cells there, the others look into theirs (`n_layer_kv_from_start`).
_GEMMA3N_LAYERS = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps: values of each token, of each in a window, and of each sequence."""

    token_values: int = 0
    window_values: int = 0
    state_values: int = 0


@dataclass(frozen=True, slots=True)
class Build:
    """`token_values` are kept of each token; `window_values` of the last `window_tokens`, by the layers that see only
    those; `state_values` of each sequence, in `state_layers` layers. `head_values` is the width of a key's head.

    `width` and `feed_forward` are what passes between and inside of the layers, for one token; `experts` work on it at
    once, and `state_width` is what a layer with a state spreads it to. `merges` are the rules of the tokenizer. `kept`
    tells the values of the first sentence layer by layer.
    """

    layers: int = 0
    width: int = 0
    feed_forward: int = 0
    experts: int = 1
    token_values: int = 0
    window_values: int = 0
    window_tokens: int = 0
    state_values: int = 0
    state_layers: int = 0
    state_width: int = 0
    head_values: int = 0
    merges: int = 0
    kept: tuple[Kept, ...] = ()

    @property
    def is_cuttable(self) -> bool:
        """Whether a sequence can be cut behind any token."""
        return not self.window_tokens and not self.state_values


def read(said: Entries, architecture: str) -> Build:
    """The build of a whole model whose entries were checked."""
    layers = _whole(said, f"{architecture}.block_count")
    width = _whole(said, f"{architecture}.embedding_length")
    heads = _wholes(said, f"{architecture}.attention.head_count", layers) or (0,) * layers
    shared = _wholes(said, f"{architecture}.attention.head_count_kv", layers) or heads
    key = _whole(said, f"{architecture}.attention.key_length") or (width // heads[0] if layers and heads[0] else 0)
    value = _whole(said, f"{architecture}.attention.value_length") or key
    window_key = _whole(said, f"{architecture}.attention.key_length_swa") or key
    window_value = _whole(said, f"{architecture}.attention.value_length_swa") or value
    dense = _wholes(said, f"{architecture}.feed_forward_length", layers) or (0,) * layers
    window_tokens, has_window = _windows(said, architecture, layers)
    has_state = _states(said, architecture, shared, dense)
    experts = max((1, *_wholes(said, f"{architecture}.expert_used_count", layers)))
    expert = max((0, *_wholes(said, f"{architecture}.expert_feed_forward_length", layers)))
    convolution, spread, state = _state(said, architecture, width, heads[0] if layers else 0, key)
    value = 0 if _is_latent(said, architecture) else value
    keeping = _keeping(said, architecture, layers)
    kept = []
    for layer, keys in enumerate(shared):
        attends = layer < keeping and (not has_state[layer] or architecture in _STATE_BESIDE_KEYS)
        of_token, of_window = (attends and not has_window[layer]), (attends and has_window[layer])
        kept.append(
            Kept(
                of_token * keys * (key + value),
                of_window * keys * (window_key + window_value),
                has_state[layer] * (convolution + state),
            )
        )
    return Build(
        layers=layers,
        width=width,
        feed_forward=max(expert * experts, *dense, 0),
        experts=experts if expert else 1,
        token_values=sum(layer.token_values for layer in kept),
        window_values=sum(layer.window_values for layer in kept),
        window_tokens=window_tokens if any(has_window) else 0,
        state_values=sum(layer.state_values for layer in kept),
        state_layers=sum(has_state),
        state_width=spread if any(has_state) else 0,
        head_values=key,
        merges=_count(said, "tokenizer.ggml.merges"),
        kept=tuple(kept),
    )


def _windows(said: Entries, architecture: str, layers: int) -> tuple[int, list[bool]]:
    """How many tokens a window has, and which layers see no more than that."""
    tokens = _whole(said, f"{architecture}.attention.sliding_window")
    if not tokens or architecture not in _PERIODS:
        return 0, [False] * layers
    period, is_first = _PERIODS[architecture]
    key = f"{architecture}.attention.sliding_window_pattern"
    if listed := _booleans(said, key, layers):
        return tokens, listed
    period = _whole(said, key) or period
    if not period:
        return tokens, [False] * layers
    return tokens, [(layer % period != 0) if is_first else (layer % period < period - 1) for layer in range(layers)]


def _states(said: Entries, architecture: str, shared: tuple[int, ...], feed_forward: tuple[int, ...]) -> list[bool]:
    """Which layers have one."""
    layers = len(shared)
    if architecture in _STATE_EVERYWHERE:
        return [True] * layers
    if architecture in _STATE_WITHOUT_KEYS_OR_FEED:
        return [not keys and not feed for keys, feed in zip(shared, feed_forward, strict=True)]
    if architecture in _STATE_WITHOUT_KEYS:
        return [not keys for keys in shared]
    if architecture not in _INTERVALS:
        return [False] * layers
    if listed := _booleans(said, f"{architecture}.attention.recurrent_layers", layers):
        return listed
    interval = _whole(said, f"{architecture}.full_attention_interval") or _INTERVALS[architecture]
    return [(layer + 1) % interval != 0 for layer in range(layers)]


def _is_latent(said: Entries, architecture: str) -> bool:
    lengths = [_whole(said, f"{architecture}.attention.{name}") for name in ("key_length_mla", "value_length_mla")]
    return architecture in _LATENT and all(lengths)


def _state(said: Entries, architecture: str, width: int, heads: int, key: int) -> tuple[int, int, int]:
    """Values of a layer with a state: of its convolution, between its matrices, and of what it remembers."""
    if architecture in _RWKV:
        shifted = _whole(said, f"{architecture}.token_shift_count") or _SHIFTED_TOKENS
        return shifted * width, _MIXED_WIDTHS * width, width * _whole(said, f"{architecture}.wkv.head_size")
    if architecture in _DELTA:
        head, kernel = (_whole(said, f"{architecture}.{name}") for name in ("kda.head_dim", "ssm.conv_kernel"))
        inner = 3 * heads * head  # of queries, keys and values
        return (kernel - 1 if kernel else 3) * inner, inner, head * head * heads
    if architecture in _LINEAR:
        return 0, 3 * heads * key, key * key * heads
    if short := _whole(said, f"{architecture}.shortconv.l_cache"):
        return width * (short - 1), 3 * width, 0
    names = ("conv_kernel", "inner_size", "group_count", "state_size")
    kernel, inner, group, size = (_whole(said, f"{architecture}.ssm.{name}") for name in names)
    channels = inner + 2 * group * size
    return max(kernel - 1, 0) * channels, channels, size * inner


def _keeping(said: Entries, architecture: str, layers: int) -> int:
    """How many of the first layers keep cells of their own; no prompt is read by those that only predict."""
    if architecture == "gemma3n":
        return min(layers, _GEMMA3N_LAYERS)
    others = _whole(said, f"{architecture}.attention.shared_kv_layers") if architecture == "gemma4" else 0
    return max(0, layers - others - _whole(said, f"{architecture}.nextn_predict_layers"))


def _booleans(said: Entries, key: str, count: int) -> list[bool]:
    """A list of so many; none where it is something else, as some architectures have a number there."""
    with suppress(GgufInvalid):
        found = said.list(key, "bool", "u32", "i32")
        if found is not None and found.count >= count and found.data:
            form = "<?" if len(found.data) == found.count else "<I"
            return [bool(value) for (value,) in iter_unpack(form, found.data)][:count]
    return []


def _whole(said: Entries, key: str) -> int:
    with suppress(GgufInvalid):
        return said.whole(key) or 0
    return 0


def _wholes(said: Entries, key: str, count: int) -> tuple[int, ...]:
    with suppress(GgufInvalid):
        return said.wholes(key, count) or ()
    return ()


def _count(said: Entries, key: str) -> int:
    with suppress(GgufInvalid):
        found = said.list(key, "str")
        return found.count if found else 0
    return 0
