"""A GGUF file written by hand, piece by piece, so that any piece of it can be wrong.

Straight, it is a model of the architecture llama that llama.cpp loads: one layer, 267 tokens, all its weights 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
ALIGNMENT = 32
WIDTH, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 96, 128

Value: TypeAlias = int | float | str | bytes


def text(value: str | bytes) -> bytes:
    """A string as GGUF writes it."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def one(kind: int, value: Value) -> bytes:
    """An entry's kind and value."""
    body = text(value) if isinstance(value, str | bytes) else struct.pack(f"<{_FORMS[kind]}", value)
    return struct.pack("<I", kind) + body


def many(kind: int, values: Sequence[Value], count: int | None = None) -> bytes:
    """An entry's kind and list; `count` is what it says that there are."""
    said = struct.pack("<IIQ", ARRAY, kind, len(values) if count is None else count)
    if kind == STRING:
        return said + b"".join(text(value) for value in values if isinstance(value, str | bytes))
    return said + struct.pack(f"<{len(values)}{_FORMS[kind]}", *values)


@dataclass
class Tensor:
    """One line of the list of tensors, and as many bytes of data; without `offset` it lies behind the one before."""

    name: str | bytes
    shape: tuple[int, ...]
    kind: int = 0  # F32
    offset: int | None = None
    size_bytes: int = field(init=False)
    dimensions: int | None = None

    def __post_init__(self) -> None:
        self.size_bytes = 4
        for size in self.shape:
            self.size_bytes *= size


TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"etaoinsr"[:7]]
TYPES = [2, 3, 3, *[6] * 256, *[1] * 8]


def _entries() -> dict[str | bytes, bytes]:
    return {
        "general.architecture": one(STRING, "llama"),
        "general.name": one(STRING, "bent"),
        "llama.block_count": one(U32, 1),
        "llama.context_length": one(U32, CONTEXT),
        "llama.embedding_length": one(U32, WIDTH),
        "llama.feed_forward_length": one(U32, FEED_FORWARD),
        "llama.attention.head_count": one(U32, HEADS),
        "llama.attention.head_count_kv": one(U32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": one(F32, 1e-5),
        "llama.rope.dimension_count": one(U32, WIDTH // HEADS),
        "tokenizer.ggml.model": one(STRING, "llama"),
        "tokenizer.ggml.tokens": many(STRING, TOKENS),
        "tokenizer.ggml.scores": many(F32, [0.0] * len(TOKENS)),
        "tokenizer.ggml.token_type": many(I32, TYPES),
        "tokenizer.ggml.bos_token_id": one(U32, 1),
        "tokenizer.ggml.eos_token_id": one(U32, 2),
        "tokenizer.ggml.unknown_token_id": one(U32, 0),
    }


def _tensors() -> list[Tensor]:
    square, up, down = (WIDTH, WIDTH), (WIDTH, FEED_FORWARD), (FEED_FORWARD, WIDTH)
    return [
        Tensor("token_embd.weight", (WIDTH, len(TOKENS))),
        Tensor("output_norm.weight", (WIDTH,)),
        Tensor("blk.0.attn_norm.weight", (WIDTH,)),
        *(Tensor(f"blk.0.attn_{name}.weight", square) for name in ("q", "k", "v", "output")),
        Tensor("blk.0.ffn_norm.weight", (WIDTH,)),
        Tensor("blk.0.ffn_gate.weight", up),
        Tensor("blk.0.ffn_up.weight", up),
        Tensor("blk.0.ffn_down.weight", down),
    ]


@dataclass
class Draft:
    """A file before it is written; `again` is written behind the entries and counted with them."""

    magic: bytes = b"GGUF"
    version: int = 3
    entries: dict[str | bytes, bytes] = field(default_factory=_entries)
    again: list[bytes] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=_tensors)
    entry_count: int | None = None
    tensor_count: int | None = None
    alignment: int = ALIGNMENT
    behind: bytes = b""

    def header(self) -> bytes:
        """Everything before the tensors' data, without padding."""
        entries = [*(text(key) + value for key, value in self.entries.items()), *self.again]
        entry_count = len(entries) if self.entry_count is None else self.entry_count
        tensor_count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        counts = struct.pack("<IQQ", self.version, tensor_count, entry_count)
        return self.magic + counts + b"".join(entries) + b"".join(self._lines())

    def written(self) -> bytes:
        """The whole file; data only for what has a size that fits into memory."""
        data_bytes = sum(self._padded(tensor.size_bytes) for tensor in self.tensors if tensor.size_bytes < 2**20)
        header = self.header()
        if not self.tensors:
            return header + self.behind
        return header.ljust(self._padded(len(header)), b"\0") + bytes(data_bytes) + self.behind

    def tensor(self, name: str) -> Tensor:
        """One of the tensors, to bend it."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def _lines(self) -> Iterator[bytes]:
        offset = 0
        for tensor in self.tensors:
            dimensions = len(tensor.shape) if tensor.dimensions is None else tensor.dimensions
            begin = offset if tensor.offset is None else tensor.offset
            yield text(tensor.name) + struct.pack("<I", dimensions)
            yield struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.kind, begin % 2**64)
            offset += self._padded(tensor.size_bytes)

    def _padded(self, size: int) -> int:
        return -(-size // self.alignment) * self.alignment


def straight() -> bytes:
    """The file as it should be."""
    return Draft().written()


def named(name: str) -> bytes:
    """The same model, but for what it is called in its file."""
    draft = Draft()
    draft.entries["general.name"] = one(STRING, name)
    return draft.written()


def pieces(count: int = 2) -> list[Draft]:
    """The same model in so many files, as `gguf-split` writes them: only the first has the entries of the model."""
    whole, found = Draft(), list[Draft]()
    share = -(-len(whole.tensors) // count)
    for number in range(count):
        draft = Draft(tensors=whole.tensors[number * share : (number + 1) * share])
        draft.entries = {**whole.entries} if number == 0 else {}
        draft.entries |= {"split.no": one(U16, number), "split.count": one(U16, count)}
        draft.entries["split.tensors.count"] = one(I32, len(whole.tensors))
        found.append(draft)
    return found
