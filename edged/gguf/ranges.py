"""What a model may say about its own build, where llama.cpp would divide by it, count with it, or end the process.

The limits are those of `llama_model_base::load_hparams` in src/llama-model.cpp, most of which are assertions there:
exceptions they are not, and the process ends. Numbers that llama.cpp refuses with a sentence are checked where that is
cheap. Which architectures and tensors there are is left to it: it knows what its version knows, and says so.
"""

from __future__ import annotations

from edged.gguf.entries import Entries
from edged.gguf.reading import GgufInvalid, shown
from edged.gguf.tensors import Tensors

MOST_LAYERS = 512  # LLAMA_MAX_LAYERS in src/llama-hparams.h
_MOST_EXPERTS = 1024  # LLAMA_MAX_EXPERTS there
_MOST = 2**31 - 1  # llama.h tells all of them as int32_t, positions and tokens too
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")  # LLAMA_ROPE_SCALING_TYPES in src/llama-model.cpp
_POOLINGS = (0, 1, 2, 3, 4, 2**32 - 1)  # enum llama_pooling_type in include/llama.h; the last is -1, unspecified

# Architectures that end the process where they have no experts; the others of that kind have it in their names.
_EXPERTS_BY_NAME = ("moe", "smallthinker")
# One expert is none there (`load_hparams`).
_ONE_EXPERT_IS_NONE = ("hunyuan-dense", "hunyuan_vl")
_WHOLE_HEADS_TURN = ("llama", "deci", "falcon", "llama-embed")  # "invalid n_rot" in `load_hparams`
# Where positions have several numbers (`llama_model_rope_type`), `rope` asserts that they turn something.
_MANY_POSITIONS = ("qwen2vl", "paddleocr", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen4exp")
_SECTIONS = 4  # of which the last is for none of a text's positions
# There the embedding is as wide as features, which are no embeddings.
_NO_EMBEDDING = ("wavtokenizer-dec",)
# What is divided by unseen in src/models/*.cpp; elsewhere a zero says that there is no such thing.
_DIVISORS = {
    "full_attention_interval": ("qwen35", "qwen35moe", "qwen3next", "qwen4exp", "minimax-01"),
    "interleave_moe_layer_step": ("ernie4_5-moe",),
    "ssm.group_count": ("mamba2", "granitehybrid", "falcon-h1", "nemotron_h", "nemotron_h_moe"),
    "ssm.time_step_rank": ("mamba2", "granitehybrid", "falcon-h1", "nemotron_h", "nemotron_h_moe"),
}
_FRACTIONS = (
    # `eps >= 0.0f` is asserted where a norm is computed (ggml/src/ggml-cpu/ops.cpp): with the first word.
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.factor",
    "rope.scale_linear",
)


def check(said: Entries, architecture: str, tensors: Tensors) -> None:
    """Raises `GgufInvalid` for the first number that is out of its range. A vocabulary alone may lack any."""
    layers = _sizes(said, architecture, is_model=tensors.count > 0)
    for key in _FRACTIONS:
        value = said.real(f"{architecture}.{key}")
        if value is not None and value < 0:
            raise GgufInvalid(f"{architecture}.{key} is {value:g}, and it cannot be negative.")
    for key, architectures in _DIVISORS.items():
        if architecture in architectures and said.whole(f"{architecture}.{key}") == 0:
            raise GgufInvalid(f"{architecture}.{key} is 0, and llama.cpp divides by it.")
    _choices(said, architecture, is_model=tensors.count > 0)
    if layers is not None:
        heads = _heads(said, architecture, layers, tensors)
        _turning(said, architecture, heads)
        _experts(said, architecture, layers, tensors)


def _sizes(said: Entries, architecture: str, *, is_model: bool) -> int | None:
    """The number of layers, where it is told; and that, the context and the width are what they can be."""
    layers = _within(said, f"{architecture}.block_count", MOST_LAYERS, is_needed=is_model)
    _within(said, f"{architecture}.context_length", _MOST, is_needed=is_model)
    _within(said, f"{architecture}.embedding_length", _MOST, is_needed=is_model)
    for key in ("attention.key_length", "attention.value_length", "vocab_size", "embedding_length_out"):
        _within(said, f"{architecture}.{key}", _MOST, least=0)
    predicted = _within(said, f"{architecture}.nextn_predict_layers", _MOST, least=0)
    if layers is None:
        return None
    if predicted is not None and predicted > layers:
        raise GgufInvalid(f"{architecture}.nextn_predict_layers is {predicted}, of {layers} layers.")
    _all_within(said, f"{architecture}.feed_forward_length", layers)
    return layers


def _choices(said: Entries, architecture: str, *, is_model: bool) -> None:
    pooling = said.whole(f"{architecture}.pooling_type")
    if pooling is not None and pooling not in _POOLINGS:
        raise GgufInvalid(f"{architecture}.pooling_type is {pooling}; poolings are 0 to 4.")
    key = f"{architecture}.rope.scaling.type"
    if key in said and (scaling := said.text(key)) not in _ROPE_SCALINGS:
        raise GgufInvalid(f"{key} is {shown(scaling or 'a long text')}; there are {', '.join(_ROPE_SCALINGS)}.")
    said.truth(f"{architecture}.attention.causal")
    key = f"{architecture}.rope.dimension_sections"
    if is_model and architecture in _MANY_POSITIONS and not any((said.wholes(key, _SECTIONS) or ())[:-1]):
        raise GgufInvalid(f"{key} is 0 or missing: {architecture} has positions of several numbers.")


def _heads(said: Entries, architecture: str, layers: int, tensors: Tensors) -> int:
    """The width of a head, 0 where there are none; and that heads share keys evenly."""
    heads = _all_within(said, f"{architecture}.attention.head_count", layers) or (0,) * layers
    shared = _all_within(said, f"{architecture}.attention.head_count_kv", layers) or heads
    for layer, (all_of_them, with_keys) in enumerate(zip(heads, shared, strict=True)):
        if all_of_them and with_keys and all_of_them % with_keys:
            numbers = f"{all_of_them} heads share the keys of {with_keys}"
            raise GgufInvalid(f"{architecture}.attention.head_count: in layer {layer}, {numbers}, unevenly.")
    if tensors.has_attention and not any(heads):
        raise GgufInvalid(f"{architecture}.attention.head_count is 0 or missing, and there are tensors for attention.")
    width = said.whole(f"{architecture}.embedding_length")
    if width is None:
        return 0
    _embedding(architecture, width, tensors)
    told = [said.whole(f"{architecture}.attention.{key}") for key in ("key_length", "key_length_swa")]
    if not heads[0] or told[0] is not None:
        return max(length or 0 for length in told)
    if width % heads[0]:
        numbers = f"{width}, which {heads[0]} heads cannot share evenly"
        raise GgufInvalid(f"{architecture}.embedding_length is {numbers}, and attention.key_length says nothing else.")
    return max(width // heads[0], told[1] or 0)


def _embedding(architecture: str, width: int, tensors: Tensors) -> None:
    shape = tensors.embedding
    if shape and shape[0] != width and architecture not in _NO_EMBEDDING:
        raise GgufInvalid(
            f"{architecture}.embedding_length is {width}, and the tensor token_embd.weight has {shape[0]}."
        )


def _turning(said: Entries, architecture: str, head: int) -> None:
    """How much of a head is turned by its position: an even number of it (`rope` in ggml/src/ggml-cpu/ops.cpp)."""
    for key in (f"{architecture}.rope.dimension_count", f"{architecture}.rope.dimension_count_swa"):
        turned = said.whole(key)
        if turned is None or not head:
            continue
        if turned > head or (turned != head and architecture in _WHOLE_HEADS_TURN):
            raise GgufInvalid(f"{key} is {turned}, of heads that are {head} wide.")
        if turned % 2:
            raise GgufInvalid(f"{key} is {turned}, which is odd.")


def _experts(said: Entries, architecture: str, layers: int, tensors: Tensors) -> None:
    """How many experts there are, how many are asked for each token, and in how many groups they are."""
    prefix = f"{architecture}.expert"
    experts = said.whole(f"{prefix}_count") or 0
    asked = max(_all_within(said, f"{prefix}_used_count", layers) or (0,))
    groups = said.whole(f"{prefix}_group_count") or 0
    if architecture in _ONE_EXPERT_IS_NONE and experts <= 1:
        return
    if experts > _MOST_EXPERTS:
        raise GgufInvalid(f"{prefix}_count is {experts}, and llama.cpp has room for {_MOST_EXPERTS}.")
    if not experts and (tensors.has_router or any(name in architecture for name in _EXPERTS_BY_NAME)):
        raise GgufInvalid(f"{prefix}_count is 0 or missing, and the model is a mixture of experts.")
    if asked > experts or (experts and not asked):
        raise GgufInvalid(f"{prefix}_used_count is {asked}, of {experts} experts.")
    if groups and groups >= experts:
        raise GgufInvalid(f"{prefix}_group_count is {groups}, for {experts} experts.")
    if groups > 1:
        used = said.whole(f"{prefix}_group_used_count") or 0
        if experts % groups or not 0 < used < groups:
            raise GgufInvalid(f"{prefix}_group_count is {groups} for {experts} experts, with {used} of them in use.")


def _within(said: Entries, key: str, most: int, *, least: int = 1, is_needed: bool = False) -> int | None:
    value = said.whole(key)
    if value is None:
        if is_needed:
            raise GgufInvalid(f"{key} is missing, and llama.cpp loads no model without it.")
        return None
    if not least <= value <= most:
        raise GgufInvalid(f"{key} is {value}; it can be {least} to {most}.")
    return value


def _all_within(said: Entries, key: str, layers: int) -> tuple[int, ...] | None:
    values = said.wholes(key, layers)
    for layer, value in enumerate(values or ()):
        if value > _MOST:
            raise GgufInvalid(f"{key} is {value} in layer {layer}; it can be 0 to {_MOST}.")
    return values
