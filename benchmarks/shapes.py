"""The shapes of known models: every number that decides how much work a token is, with the place it was read.

Speed depends on the shape of a network, not on what its weights say. A shape here carries the numbers of the published
model (layers, widths, heads, rows of the vocabulary) and the source each was read from, so that a figure measured with
random weights stands for the model of that name. A number without a source has no place in this file; that is why a
model which one would expect may be missing.

    litgpt    Lightning-AI/litgpt, litgpt/config.py, commit 26857050: one entry per published config.json
    gemma     google/gemma_pytorch, gemma/config.py, commit 014acb7a: get_config_for_1b
    brolm     wlejon/brolm, tests/test_qwen35_config.cpp, commit 5544049e: mirror of Qwen/Qwen3.5-0.8B config.json
    mlc       mlc-ai/mlc-llm, python/mlc_llm/model/model_preset.py, commit 01ced331: copies of config.json files
    convert   conversion/*.py of the llama.cpp in the engine's source package: how a checkpoint becomes a GGUF

The last shapes, `nano` and `tiny*`, are nobody's model: one small network per architecture, for tests.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Window:
    """Sliding-window attention: `tokens` wide in all blocks but every `period`-th, with a rope base of its own."""

    tokens: int
    period: int
    rope_base: float


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Gated delta net in all blocks but every `period`-th: a recurrent state of fixed size in place of a KV cache."""

    heads: int  # key and value heads alike
    head_size: int
    convolution: int
    period: int
    rope_sections: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama 3's stretching of long wavelengths."""

    factor: float
    low: float
    high: float
    original_context_tokens: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the work per token, and the vocabulary and template that decide what the words cost.

    `vocabulary` names a `ggml-vocab-*.gguf` of the engine's source package, `template` a file of its
    `models/templates`, "" for none. `rows` is the number of rows of the embedding, padding included. All models here
    tie the output matrix to the embedding.
    """

    architecture: str
    blocks: int
    width: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head_size: int
    rows: int
    context_tokens: int
    rope_base: float
    norm_epsilon: float
    vocabulary: str
    template: str
    end_token: str  # the one that the instruct model ends its turn with
    rope_size: int | None = None  # None: the whole head
    query_key_value_bias: bool = False
    query_key_norm: bool = False
    window: Window | None = None
    delta_net: DeltaNet | None = None
    rope_scaling: RopeScaling | None = field(default=None)
    pooling: str | None = None  # how a model that was made for vectors makes one of a text's; "rank" makes scores
    depth_gain: float = 0.2  # what all blocks together add to a token, in sizes of it; not counting the last one
    kept_blocks: tuple[int, ...] = ()  # a smaller model: these blocks of the one with `blocks`, with the same numbers
    labels: tuple[str, ...] = ()  # of a classifier with more than one output
    rerank_template: str = ""


# The Qwen2 vocabulary of the source package already has the 151,936 rows of the models (151,643 tokens, three control
# tokens, padding); the 19 control tokens that Qwen2.5 added after them are padding here.
QWEN2_5_0_5B = Shape(
    architecture="qwen2",
    blocks=24,  # litgpt "Qwen2.5-0.5B{}": n_layer
    width=896,  # n_embd
    feed_forward=4864,  # intermediate_size
    heads=14,  # n_head
    key_value_heads=2,  # n_query_groups
    head_size=64,  # n_embd / n_head
    rows=151_936,  # padded_vocab_size; tied: mlc "qwen2_0_5b": tie_word_embeddings
    context_tokens=32_768,  # block_size
    rope_base=1_000_000.0,  # rope_base
    norm_epsilon=1e-6,  # norm_eps
    query_key_value_bias=True,  # attn_bias
    vocabulary="qwen2",
    template="Qwen-Qwen2.5-7B-Instruct.jinja",
    end_token="<|im_end|>",  # id 151645, mlc "qwen2_0_5b": eos_token_id
)

QWEN2_5_1_5B = replace(
    QWEN2_5_0_5B,
    blocks=28,  # litgpt "Qwen2.5-1.5B{}": n_layer; tied: mlc "qwen2_1_5b"
    width=1536,  # n_embd
    feed_forward=8960,  # intermediate_size
    heads=12,  # n_head
    head_size=128,  # n_embd / n_head
    context_tokens=131_072,  # block_size
)

LLAMA_3_2_1B = Shape(
    architecture="llama",
    blocks=16,  # litgpt "Llama-3.2-1B{}": n_layer
    width=2048,  # n_embd
    feed_forward=8192,  # intermediate_size
    heads=32,  # n_head
    key_value_heads=8,  # n_query_groups
    head_size=64,  # mlc "llama3_2_1b": head_dim
    rows=128_256,  # padded_vocab_size; tied: mlc "llama3_2_1b": tie_word_embeddings
    context_tokens=131_072,  # block_size
    rope_base=500_000.0,  # rope_base
    norm_epsilon=1e-5,  # mlc "llama3_2_1b": rms_norm_eps
    rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192),  # rope_adjustments
    vocabulary="llama-bpe",
    template="meta-llama-Llama-3.2-3B-Instruct.jinja",
    end_token="<|eot_id|>",  # id 128009, the last of mlc "llama3_2_1b": eos_token_id
)

# Gemma 3's own vocabulary is not in the source package; Gemma 4's has as many rows, and its template fits it.
GEMMA_3_1B = Shape(
    architecture="gemma3",
    blocks=26,  # gemma: num_hidden_layers
    width=1152,  # hidden_size
    feed_forward=6912,  # intermediate_size
    heads=4,  # num_attention_heads
    key_value_heads=1,  # num_key_value_heads
    head_size=256,  # head_dim
    rows=262_144,  # vocab_size
    context_tokens=32_768,  # max_position_embeddings
    rope_base=1_000_000.0,  # rope_wave_length, GLOBAL
    norm_epsilon=1e-6,  # convert gemma.py: rms_norm_eps
    query_key_norm=True,  # use_qk_norm
    window=Window(512, 6, 10_000.0),  # sliding_window_size, attn_types, rope_wave_length LOCAL_SLIDING
    vocabulary="gemma-4",
    template="google-gemma-4-31B-it.jinja",
    end_token="<turn|>",
)

# The source package's vocabulary for Qwen3.5 splits text as Qwen3.5 does but holds Qwen2's tokens; the rest of the
# 248,320 rows is padding here. The rows are what costs time, not which words they stand for.
QWEN3_5_0_8B = Shape(
    architecture="qwen35",
    blocks=24,  # brolm: num_hidden_layers
    width=1024,  # hidden_size
    feed_forward=3584,  # intermediate_size
    heads=8,  # num_attention_heads
    key_value_heads=2,  # num_key_value_heads
    head_size=256,  # head_dim
    rows=248_320,  # vocab_size, tied: tie_word_embeddings
    context_tokens=262_144,  # max_position_embeddings
    rope_base=10_000_000.0,  # rope_theta
    norm_epsilon=1e-6,  # rms_norm_eps
    rope_size=64,  # head_dim x partial_rotary_factor 0.25
    query_key_norm=True,  # convert qwen.py keeps self_attn.{q,k}_norm; src/models/qwen35.cpp requires them
    delta_net=DeltaNet(
        heads=16,  # linear_num_key_heads = linear_num_value_heads
        head_size=128,  # linear_key_head_dim = linear_value_head_dim
        convolution=4,  # linear_conv_kernel_dim
        period=4,  # full_attention_interval
        rope_sections=(11, 11, 10, 0),  # mrope_section; the fourth as in convert qwen.py
    ),
    vocabulary="qwen35",
    template="Qwen3.5-4B.jinja",
    end_token="<|im_end|>",
)

# For tests. Phi-3's vocabulary is the smallest of the package with tokens for a chat (32,064 rows).
TINY = Shape(
    architecture="llama",
    blocks=2,
    width=64,
    feed_forward=128,
    heads=2,
    key_value_heads=1,
    head_size=32,  # the smallest that can be kept in cells of eight bits, as real models are
    rows=32_064,
    context_tokens=4096,
    rope_base=10_000.0,
    norm_epsilon=1e-5,
    vocabulary="phi-3",
    template="microsoft-Phi-3.5-mini-instruct.jinja",
    end_token="<|end|>",
)

# For tests of vectors and scores: an encoder with the vocabulary and the tensors of bge-small.
TINY_BERT = replace(
    TINY,
    architecture="bert",
    key_value_heads=2,
    rows=30_522,
    context_tokens=512,
    norm_epsilon=1e-12,
    vocabulary="bert-bge",
    template="",
    end_token="[SEP]",
    pooling="cls",
)

SHAPES: dict[str, Shape] = {
    "qwen2.5-0.5b": QWEN2_5_0_5B,
    "qwen2.5-1.5b": QWEN2_5_1_5B,
    # What a small model of the same family is to a large one: here it agrees because it is a part of it. The last block
    # weighs most in what is said (`layouts.py`), and the less the others add the easier it is to foresee.
    "qwen2.5-1.5b-draft": replace(QWEN2_5_1_5B, kept_blocks=(QWEN2_5_1_5B.blocks - 1,)),
    "qwen2.5-1.5b-easy": replace(QWEN2_5_1_5B, depth_gain=0.05),
    "qwen2.5-1.5b-easy-draft": replace(QWEN2_5_1_5B, depth_gain=0.05, kept_blocks=(QWEN2_5_1_5B.blocks - 1,)),
    "llama3.2-1b": LLAMA_3_2_1B,
    "gemma3-1b": GEMMA_3_1B,
    "qwen3.5-0.8b": QWEN3_5_0_8B,
    "nano": replace(TINY, blocks=1, width=32, feed_forward=32, heads=1),
    "tiny": TINY,
    # So deep that a step of the one takes many of the other, although both end in the same vocabulary.
    "tiny-deep": replace(TINY, blocks=48, depth_gain=0.05),
    "tiny-deep-draft": replace(TINY, blocks=48, depth_gain=0.05, kept_blocks=(47,)),
    "tiny-window": replace(TINY, architecture="gemma3", query_key_norm=True, window=Window(32, 2, 10_000.0)),
    # As tools are called by most models, and as most think: behind a marker, and in a thought that the prompt opens.
    "tiny-caller": replace(TINY, template="Qwen-Qwen2.5-7B-Instruct.jinja"),
    "tiny-thinker": replace(TINY, template="Qwen3.5-4B.jinja"),
    # As models for code fill a gap in a text: a vocabulary with control tokens for that.
    "tiny-filler": replace(TINY, vocabulary="starcoder", rows=49_152, template="", end_token="<|endoftext|>"),
    "tiny-bert": TINY_BERT,
    "tiny-bert-mean": replace(TINY_BERT, pooling="mean"),
    "tiny-reranker": replace(TINY_BERT, pooling="rank"),
    "tiny-last": replace(TINY, pooling="last"),
    "tiny-judge": replace(  # as Qwen3-Reranker: convert qwen.py
        TINY,
        architecture="qwen3",
        query_key_norm=True,
        pooling="rank",
        labels=("yes", "no"),
        rerank_template="<|system|>\nJudge.<|end|>\n<|user|>\n{query}\n{document}<|end|>\n<|assistant|>\n",
    ),
    "tiny-hybrid": replace(
        TINY,
        architecture="qwen35",
        query_key_norm=True,
        blocks=4,
        delta_net=DeltaNet(heads=2, head_size=32, convolution=4, period=2, rope_sections=(4, 2, 2, 0)),
    ),
}
