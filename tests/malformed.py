"""Some hundred and seventy ways to bend a model's file: what each is, and what its refusal must mention.

What is bent loads when it is straight, so whatever is refused is refused for its bend. `HARMLESS` are bends that real
files have.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tests.gguf_draft import (
    ALIGNMENT,
    ARRAY,
    F32,
    F64,
    FEED_FORWARD,
    HEADS,
    I32,
    STRING,
    TOKENS,
    TYPES,
    U8,
    U16,
    U32,
    U64,
    WIDTH,
    Draft,
    Tensor,
    many,
    one,
    text,
)

_TOKENS, _SCORES, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"
_EPSILON = "llama.attention.layer_norm_rms_epsilon"

Bend: TypeAlias = Callable[[Draft], bytes | None]


@dataclass(frozen=True, slots=True)
class Case:
    """A way to bend the file, or to cut what was written; and what its refusal mentions (a pattern)."""

    bend: Bend
    mentions: str = ""

    def written(self) -> bytes:
        """The bent file."""
        draft = Draft()
        cut = self.bend(draft)
        return draft.written() if cut is None else cut


def _set(key: str | bytes, value: bytes, mentions: str) -> Case:
    def bend(draft: Draft) -> None:
        draft.entries[key] = value

    return Case(bend, mentions)


def _number(key: str, number: int, mentions: str | None = None) -> Case:
    return _set(key, one(U32, number), mentions or rf"{key} is {number}")


def _without(key: str, mentions: str) -> Case:
    def bend(draft: Draft) -> None:
        del draft.entries[key]

    return Case(bend, mentions)


def _draft(mentions: str, **changes: object) -> Case:
    def bend(draft: Draft) -> None:
        for name, value in changes.items():
            setattr(draft, name, value)

    return Case(bend, mentions)


def _tensor(mentions: str, of: str = "blk.0.ffn_up.weight", **changes: object) -> Case:
    """Its size in the file stays what it was, so that whatever lies behind it is where it should be."""

    def bend(draft: Draft) -> None:
        tensor = draft.tensor(of)
        for key, value in changes.items():
            setattr(tensor, key, value)

    return Case(bend, mentions)


def _cut(mentions: str, place: Callable[[bytes, bytes], int]) -> Case:
    def bend(draft: Draft) -> bytes:
        whole = draft.written()
        return whole[: place(draft.header(), whole)]

    return Case(bend, mentions)


def _again(raw: bytes, mentions: str) -> Case:
    return _draft(mentions, again=[raw])


def _experts(mentions: str, count: int, used: int, **more: int) -> Case:
    def bend(draft: Draft) -> None:
        draft.entries["llama.expert_count"] = one(U32, count)
        draft.entries["llama.expert_used_count"] = one(U32, used)
        for key, value in more.items():
            draft.entries[f"llama.{key}"] = one(U32, value)

    return Case(bend, mentions)


def _vocabulary(model: str, mentions: str, **more: bytes) -> Case:
    def bend(draft: Draft) -> None:
        draft.entries["tokenizer.ggml.model"] = one(STRING, model)
        for key in ("bos_token_id", "eos_token_id", "unknown_token_id"):
            del draft.entries[f"tokenizer.ggml.{key}"]
        draft.entries |= {f"tokenizer.ggml.{key}": value for key, value in more.items()}

    return Case(bend, mentions)


def _of(architecture: str, key: str, mentions: str) -> Case:
    """The same model under another architecture's name, with a 0 where that one divides."""

    def bend(draft: Draft) -> None:
        draft.entries = {
            name.replace("llama.", f"{architecture}.", 1) if isinstance(name, str) else name: value
            for name, value in draft.entries.items()
        }
        draft.entries["general.architecture"] = one(STRING, architecture)
        draft.entries[f"{architecture}.{key}"] = one(U32, 0)

    return Case(bend, mentions)


def _tight(draft: Draft) -> None:
    draft.alignment = 8
    draft.entries["general.alignment"] = one(U32, 8)


def _three_heads(draft: Draft) -> None:
    draft.entries["llama.attention.head_count"] = draft.entries["llama.attention.head_count_kv"] = one(U32, 3)


def _odd_rope(draft: Draft) -> None:
    draft.entries["llama.attention.key_length"] = draft.entries["llama.rope.dimension_count"] = one(U32, 31)


def _short_bert(draft: Draft) -> None:
    """Ninety tokens, and its beginning and end are the 102nd and 103rd."""
    _vocabulary("bert", "").bend(draft)
    draft.entries[_TOKENS], draft.entries[_TYPES] = many(STRING, TOKENS[:90]), many(I32, [1] * 90)


def _bert_with_bytes(draft: Draft) -> None:
    _vocabulary("bert", "").bend(draft)


def _turning_nothing(draft: Draft) -> None:
    _of("paddleocr", "expert_count", "").bend(draft)
    draft.entries["paddleocr.rope.dimension_sections"] = many(I32, [0, 0, 0, 16])


def _fifth_of_three(draft: Draft) -> None:
    draft.entries |= {"split.no": one(U16, 4), "split.count": one(U16, 3)}


def _without_separator(draft: Draft) -> None:
    """As in a small model that llama.cpp's own tests load."""
    for key in ("seperator_token_id", "padding_token_id"):
        draft.entries[f"tokenizer.ggml.{key}"] = one(U32, 2**32 - 1)


def _shared_keys(draft: Draft) -> None:
    draft.entries["llama.attention.head_count_kv"] = one(U32, 1)
    for name in ("k", "v"):
        place = draft.tensors.index(draft.tensor(f"blk.0.attn_{name}.weight"))
        draft.tensors[place] = Tensor(draft.tensors[place].name, (WIDTH, WIDTH // HEADS))


BENT: Mapping[str, Case] = {
    # G1: what it is
    "empty": Case(lambda draft: b"", "it is empty"),
    "one byte": Case(lambda draft: b"G", "no GGUF"),
    "only the magic": Case(lambda draft: b"GGUF", "version"),
    "another magic": _draft("no GGUF: it begins with 'GGML'", magic=b"GGML"),
    "a text": Case(lambda draft: b"not a model at all\n" * 100, "no GGUF: it begins with 'not '"),
    "version 0": _draft("version 0,", version=0),
    "version 1": _draft("version 1,", version=1),
    "version 2^32-1": _draft("version 4294967295", version=2**32 - 1),
    "bytes the other way round": _draft("other order of bytes", version=3 << 24),
    # G2: counts
    "2^63 tensors": _draft("9223372036854775808 tensors", tensor_count=2**63),
    "-1 tensors": _draft("18446744073709551615 tensors", tensor_count=2**64 - 1),
    "2^40 tensors": _draft("1099511627776 tensors", tensor_count=2**40),
    "more tensors than any model": _draft("32769 tensors", tensor_count=32769),
    "one tensor more than there is": _draft("tensor 11", tensor_count=12),
    "2^63 entries": _draft("9223372036854775808 entries", entry_count=2**63),
    "-1 entries": _draft("18446744073709551615 entries", entry_count=2**64 - 1),
    "5,000 entries": _draft("5000 entries", entry_count=5000),
    "one entry more than there is": _draft("name of tensor 0: [0-9]+ bytes", entry_count=18),
    "one entry less than there is": _draft("tensor", entry_count=16),
    # G3: cut off
    "cut off in the version": _cut("version.*cut off", lambda header, whole: 6),
    "cut off in the counts": _cut("numbers of tensors", lambda header, whole: 15),
    "cut off in a key": _cut("key of entry 0", lambda header, whole: 40),
    "cut off in a value": _cut("general.architecture.*cut off", lambda header, whole: 58),
    "cut off in the tokens": _cut("tokenizer.ggml.tokens", lambda header, whole: header.index(b"<0x10>")),
    "cut off in the list of tensors": _cut("'blk.0.ffn_down.weight'", lambda header, whole: len(header) - 30),
    "cut off before the padding": _cut("cut off", lambda header, whole: len(header)),
    "cut off before the data": _cut("cut off", lambda header, whole: len(header) + ALIGNMENT),
    "cut off in the middle of the data": _cut("cut off", lambda header, whole: len(whole) // 2),
    "cut off before its last byte": _cut("ffn_down.*ends at byte.*cut off", lambda header, whole: len(whole) - 1),
    # G4: lengths and kinds
    "a key of 2^62 bytes": _again(struct.pack("<Q", 2**62), "key of entry 17"),
    "a key of 1 GiB": _again(struct.pack("<Q", 2**30), "key of entry 17"),
    "a key of 70,000 bytes": _again(text("k" * 70_000) + one(U8, 1), "key of entry 17.*1024"),
    "a text of 2^62 bytes": _set("k", struct.pack("<IQ", STRING, 2**62), "'k'.*4611686018427387904 bytes"),
    "a text of 2^64-1 bytes": _set("k", struct.pack("<IQ", STRING, 2**64 - 1), "'k'.*18446744073709551615 bytes"),
    "a text of 1 GiB": _set("k", struct.pack("<IQ", STRING, 2**30), "'k'.*1073741824 bytes"),
    "a list of 2^61 numbers": _set("k", many(U64, [], 2**61), "'k'.*18446744073709551616 bytes"),
    "a list whose size wraps": _set("k", many(U64, [1], 2**61 + 1), "'k'.*18446744073709551624 bytes"),
    "a list of 2^60 texts": _set("k", many(STRING, ["a"], 2**60), "'k'.*1152921504606846976 texts"),
    "a list that ends too early": _set("k", many(U32, [1, 2], 2**30), "'k'.*4294967296 bytes"),
    "a list of lists": _set("k", struct.pack("<IIQ", ARRAY, ARRAY, 1), "'k'.*list of kind 9"),
    "a list of an unknown kind": _set("k", struct.pack("<IIQ", ARRAY, 13, 1), "'k'.*list of kind 13"),
    "an unknown kind": _set("k", struct.pack("<I", 13), "'k'.*of kind 13"),
    "kind 2^32-1": _set("k", struct.pack("<I", 2**32 - 1), "'k'.*of kind 4294967295"),
    # G5: names
    "a key twice": _again(text("llama.block_count") + one(U32, 1), "'llama.block_count' is there twice"),
    "an empty key": _again(text("") + one(U8, 1), "entry 17.*empty"),
    "a NUL in a key": _again(text("a\0b") + one(U8, 1), r"entry 17.*NUL"),
    "a key that is no text": _again(text(b"\xff\xfe") + one(U8, 1), "entry 17.*UTF-8"),
    "a tensor twice": _tensor("tensor 9: 'blk.0.ffn_gate.weight' is there twice", name="blk.0.ffn_gate.weight"),
    "a tensor without a name": _tensor("tensor 9.*empty", name=""),
    "a NUL in a tensor's name": _tensor("tensor 9.*NUL", name="blk.0\0"),
    "a tensor's name that is no text": _tensor("tensor 9.*UTF-8", name=b"\xff"),
    "a tensor's name of 64 bytes": _tensor("tensor 9.*63 bytes", name="n" * 64),
    # G6: alignment
    "alignment 0": _number("general.alignment", 0, "general.alignment is 0"),
    "alignment 3": _number("general.alignment", 3, "general.alignment is 3"),
    "alignment 2^31": _number("general.alignment", 2**31, "multiple of 2147483648"),
    "alignment of another kind": _set("general.alignment", one(U64, 32), "general.alignment is of kind u64"),
    "alignment as a text": _set("general.alignment", one(STRING, "32"), "general.alignment is of kind str"),
    "alignment that cannot be mapped": Case(_tight, "multiples of 32"),
    # G7: shapes
    "5 dimensions": _tensor("'blk.0.ffn_up.weight' has 5 dimensions", dimensions=5),
    "1,000 dimensions": _tensor("has 1000 dimensions", dimensions=1000),
    "2^32-1 dimensions": _tensor("has 4294967295 dimensions", dimensions=2**32 - 1),
    "a dimension of 0": _tensor("shape 64 × 0", shape=(WIDTH, 0)),
    "a dimension of -1": _tensor("18446744073709551615", shape=(WIDTH, 2**64 - 1)),
    "a dimension of 2^63": _tensor("9223372036854775808", shape=(2**63, 1)),
    "dimensions whose product wraps": _tensor("4294967296 × 4294967296", shape=(2**32, 2**32)),
    "dimensions whose product wraps to little": _tensor("2\\^63", shape=(2**33, 2**31 + 1)),
    "a last tensor as large as can be": _tensor("cut off", "blk.0.ffn_down.weight", shape=(2**62, 1)),
    "a size that wraps when it is padded": _tensor("cut off", "blk.0.ffn_down.weight", shape=(2**63 - 8,), kind=24),
    "a tensor that takes its neighbour's data": _tensor(
        "ffn_up.*where another one lies", "blk.0.ffn_gate.weight", shape=(WIDTH, 4 * FEED_FORWARD)
    ),
    # G8: types and places
    "type 999": _tensor("of type 999, which does not exist", kind=999),
    "type 2^32-1": _tensor("of type 4294967295, which does not exist", kind=2**32 - 1),
    "type Q4_2, removed": _tensor("of type 4, which was removed", kind=4),
    "type Q4_0_4_4, removed": _tensor("of type 31, which was removed", kind=31),
    "type IQ4_NL_4_4, removed": _tensor("of type 36, which was removed", kind=36),
    "rows that are no blocks": _tensor("rows of 64 numbers, and q4_K has blocks of 256", kind=12),
    "an offset of 2^64-32": _tensor("18446744073709551584", offset=2**64 - 32),
    "an offset beyond the end": _tensor("begins at byte 1048576", offset=2**20),
    "an offset between two multiples": _tensor("begins at byte 1 of.*multiple of 32", offset=1),
    "an offset where another one is": _tensor("begins at byte 0.*another one lies", offset=0),
    "a norm in Q4_0": _tensor("norms and biases", "blk.0.ffn_norm.weight", kind=2),
    "a norm in F16": _tensor("f16, and norms and biases", "output_norm.weight", kind=1),
    "a norm of whole numbers": _tensor("norms and biases", "output_norm.weight", kind=26),
    "a matrix in Q8_1": _tensor("q8_1.*multiplies with nothing", kind=9),
    "a matrix in F64": _tensor("f64.*multiplies with nothing", kind=28),
    "a matrix in I32": _tensor("i32.*multiplies with nothing", kind=26),
    "a matrix in I8": _tensor("i8.*multiplies with nothing", kind=24),
    # G9: its build
    "no architecture": _without("general.architecture", "general.architecture is missing"),
    "an empty architecture": _set("general.architecture", one(STRING, ""), "general.architecture is missing, empty"),
    "an architecture that is a number": _set("general.architecture", one(U32, 5), "architecture is of kind u32"),
    "an architecture without end": _set("general.architecture", one(STRING, "x" * 10_000), "longer than any"),
    "an architecture of more than a name": _set("general.architecture", one(STRING, "llama\nllama"), "no name of one"),
    "another architecture's numbers": _set("general.architecture", one(STRING, "qwen2"), "qwen2.block_count is miss"),
    "no layers": _number("llama.block_count", 0),
    "513 layers": _number("llama.block_count", 513),
    "2^32-1 layers": _number("llama.block_count", 2**32 - 1),
    "layers unsaid": _without("llama.block_count", "llama.block_count is missing"),
    "layers as a text": _set("llama.block_count", one(STRING, "1"), "llama.block_count is of kind str"),
    "layers as a signed number": _set("llama.block_count", one(I32, 1), "llama.block_count is of kind i32"),
    "more layers ahead than layers": _number("llama.nextn_predict_layers", 2, "nextn_predict_layers is 2, of 1"),
    "no heads": _number("llama.attention.head_count", 0, "head_count is 0 or missing"),
    "heads unsaid": _without("llama.attention.head_count", "head_count is 0 or missing"),
    "7 heads": _number("llama.attention.head_count", 7, "7 heads share the keys of 2"),
    "3 heads of a width of 64": Case(_three_heads, "64, which 3 heads cannot share"),
    "2^32-1 heads": _number("llama.attention.head_count", 2**32 - 1, "head_count is 4294967295 in layer 0"),
    "heads for two layers": _set(
        "llama.attention.head_count", many(U32, [2, 2]), "has 2 numbers, and llama.cpp takes 1"
    ),
    "heads as fractions": _set("llama.attention.head_count", many(F32, [2.0]), "list of f32"),
    "keys for 3 of 2 heads": _number("llama.attention.head_count_kv", 3, "2 heads share the keys of 3"),
    "no width": _number("llama.embedding_length", 0),
    "a width of 2^31": _number("llama.embedding_length", 2**31),
    "a width that is not the embedding's": _number("llama.embedding_length", 128, "token_embd.weight has 64"),
    "width unsaid": _without("llama.embedding_length", "llama.embedding_length is missing"),
    "feed-forward 2^32-1": _number("llama.feed_forward_length", 2**32 - 1, "feed_forward_length is 4294967295"),
    "feed-forward for two layers": _set(
        "llama.feed_forward_length", many(U32, [96, 96]), "2 numbers, and llama.cpp takes 1"
    ),
    "rope 999": _number("llama.rope.dimension_count", 999, "rope.dimension_count is 999, of heads that are 32 wide"),
    "rope of half a head": _number("llama.rope.dimension_count", 16, "rope.dimension_count is 16"),
    "rope 999 in a window": _number("llama.rope.dimension_count_swa", 999, "rope.dimension_count_swa is 999"),
    "an odd rope": Case(_odd_rope, "rope.dimension_count is 31, which is odd"),
    "positions of several numbers that turn nothing": Case(_turning_nothing, "paddleocr has positions"),
    "an unknown rope": _set("llama.rope.scaling.type", one(STRING, "bent"), "rope.scaling.type is 'bent'"),
    "a rope of NaN": _set("llama.rope.freq_base", one(F32, math.nan), "rope.freq_base is nan"),
    "a rope stretched by infinity": _set("llama.rope.scaling.factor", one(F32, math.inf), "scaling.factor is inf"),
    "a context of 0": _number("llama.context_length", 0),
    "a context of 2^32-1": _number("llama.context_length", 2**32 - 1),
    "context unsaid": _without("llama.context_length", "llama.context_length is missing"),
    "an unknown pooling": _number("llama.pooling_type", 5, "pooling_type is 5"),
    "causal as a number": _set("llama.attention.causal", one(U32, 1), "attention.causal is of kind u32"),
    "full attention in every 0th layer": _of("qwen35", "full_attention_interval", "full_attention_interval is 0"),
    "0 groups of a state": _of("mamba2", "ssm.group_count", "mamba2.ssm.group_count is 0"),
    "experts in every 0th layer": _of("ernie4_5-moe", "interleave_moe_layer_step", "interleave_moe_layer_step is 0"),
    # G12: epsilons and experts
    "epsilon NaN": _set(_EPSILON, one(F32, math.nan), f"{_EPSILON} is nan"),
    "epsilon infinity": _set(_EPSILON, one(F32, math.inf), f"{_EPSILON} is inf"),
    "epsilon negative": _set(_EPSILON, one(F32, -1e-5), f"{_EPSILON} is -1e-05"),
    "epsilon as a double": _set(_EPSILON, one(F64, 1e-5), f"{_EPSILON} is of kind f64"),
    "1,025 experts": _experts("expert_count is 1025", 1025, 2),
    "3 of 2 experts": _experts("expert_used_count is 3, of 2", 2, 3),
    "none of 2 experts": _experts("expert_used_count is 0, of 2", 2, 0),
    "2 of no experts": _experts("expert_used_count is 2, of 0", 0, 2),
    "2 experts in 2 groups": _experts("expert_group_count is 2, for 2", 2, 1, expert_group_count=2),
    "8 experts in 3 groups": _experts("3 for 8 experts", 8, 1, expert_group_count=3, expert_group_used_count=1),
    "8 experts in 4 groups, of which 4": _experts(
        "with 4 of them in use", 8, 1, expert_group_count=4, expert_group_used_count=4
    ),
    "no experts where they are expected": _of("smallthinker", "expert_count", "smallthinker.expert_count is 0"),
    "a router without experts": _tensor("expert_count is 0", name="blk.0.ffn_gate_inp.weight"),
    # G10 and G11: its vocabulary
    "no vocabulary": _without("tokenizer.ggml.model", "tokenizer.ggml.model is missing"),
    "a vocabulary without tokens": _without(_TOKENS, "tokens is missing"),
    "no tokens": _set(_TOKENS, many(STRING, []), "tokens is empty"),
    "tokens that are numbers": _set(_TOKENS, many(U32, [1, 2]), "list of u32"),
    "tokens that are one text": _set(_TOKENS, one(STRING, "abc"), "tokens is of kind str, and llama.cpp takes arr"),
    "all tokens equal": _set(_TOKENS, many(STRING, ["a"] * len(TOKENS)), "tokens 0 and 1 are the same"),
    "two tokens equal": _set(_TOKENS, many(STRING, [*TOKENS[:-1], "e"]), "tokens 260 and 266 are the same"),
    "two tokens equal up to a NUL": _set(_TOKENS, many(STRING, [*TOKENS[:-1], "e\0x"]), "tokens 260 and 266"),
    "a token called as an empty one": _set(_TOKENS, many(STRING, ["", "[EMPTY_0]", *TOKENS[2:]]), "tokens 0 and 1"),
    "a byte without a token": _set(
        _TOKENS, many(STRING, [*TOKENS[:8], "five", *TOKENS[9:]]), "none for the byte <0x05>"
    ),
    "a token of 8 MB": _set(_TOKENS, many(STRING, [*TOKENS[:-1], "x" * 2**23]), "text 266 in it has 8388608 bytes"),
    "600,000 tokens": _set(_TOKENS, many(STRING, [], 600_000) + bytes(8 * 600_000), "has 600000 tokens"),
    "scores for half the tokens": _set(_SCORES, many(F32, [0.0] * 100), "scores has 100 numbers for 267"),
    "scores as doubles": _set(_SCORES, many(F64, [0.0] * len(TOKENS)), "scores is a list of f64"),
    "scores as one number": _set(_SCORES, one(F32, 0.0), "scores is of kind f32, and llama.cpp takes arr"),
    "types for half the tokens": _set(_TYPES, many(I32, TYPES[:100]), "token_type has 100 numbers for 267"),
    "types as unsigned numbers": _set(_TYPES, many(U32, TYPES), "token_type is a list of u32"),
    "a beginning beyond the tokens": _number("tokenizer.ggml.bos_token_id", 267, "bos_token_id is 267"),
    "an end beyond the tokens": _number("tokenizer.ggml.eos_token_id", 2**31, "eos_token_id is 2147483648"),
    "an unknown token beyond the tokens": _number("tokenizer.ggml.unknown_token_id", 999, "unknown_token_id is 999"),
    "an end as a signed number": _set("tokenizer.ggml.eos_token_id", one(I32, -1), "eos_token_id is of kind i32"),
    "a vocabulary of BERT's kind without its ends": Case(_short_bert, "bos_token_id is missing.*none is the usual one"),
    "bytes in a vocabulary of BERT's kind": Case(_bert_with_bytes, "token_type tells of bytes"),
    "merges that are not there": _vocabulary("gpt2", "merges is missing"),
    "merges that are numbers": _vocabulary("gpt2", "merges is a list of u32", merges=many(U32, [1])),
    "a beginning to add that is none": _vocabulary("gemma4", "bos_token_id is missing", merges=many(STRING, ["e t"])),
    "a vocabulary of nothing": _set("tokenizer.ggml.model", one(STRING, "no_vocab"), "no_vocab: it has no vocabulary"),
    "no vocabulary by its other name": _set("tokenizer.ggml.model", one(STRING, "none"), "none: it has no vocabulary"),
    # G16: parts
    "a piece beyond the last": Case(_fifth_of_three, "split.no is 4, of 3"),
    "pieces of another kind": _set("split.count", one(U64, 3), "split.count is of kind u64"),
}

# What real files have, or what llama.cpp passes over: nothing to refuse.
HARMLESS: Mapping[str, Case] = {
    "straight": Case(lambda draft: None),
    "version 2": _draft("", version=2),
    "bytes behind the end": _draft("", behind=b"x" * 100),
    "an entry that nobody knows": _set("bent.by", one(STRING, "hand"), ""),
    "a name that is no UTF-8": _set("general.name", one(STRING, b"\xff"), ""),
    "no separator and no padding, as -1": Case(_without_separator, ""),
    "padding with the first id behind the end": _number("tokenizer.ggml.padding_token_id", len(TOKENS), ""),
    "more scores than tokens": _set(_SCORES, many(F32, [0.0] * 300), ""),
    "a token type that nobody knows": _set(_TYPES, many(I32, [*TYPES[:-1], 77]), ""),
    "an empty token": _set(_TOKENS, many(STRING, [*TOKENS[:-1], ""]), ""),
    "a token that is no UTF-8": _set(_TOKENS, many(STRING, [*TOKENS[:-1], b"\xff"]), ""),
    "heads for each layer": _set("llama.attention.head_count", many(U32, [HEADS]), ""),
    "keys for fewer heads": Case(_shared_keys, ""),
    "epsilon 0": _set(_EPSILON, one(F32, 0.0), ""),
    "a long template": _set("tokenizer.chat_template", one(STRING, "x" * 500_000), ""),
}
