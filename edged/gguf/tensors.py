"""The list of a file's tensors: what they are called, their shapes and types, and whether their data is all there.

The rules are those of `gguf_init_from_reader` in ggml/src/gguf.cpp, which takes tensors in the order of their data
only, without gaps and without overlaps; the types are those of `enum ggml_type` in ggml/include/ggml.h.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edged.gguf.entries import U32, U64, Entries, name
from edged.gguf.reading import GgufInvalid, GgufUnsupported, Reader, shown
from edged.gguf.supported import unknown

# name, values in a block, bytes of a block: `type_traits` in ggml/src/ggml.c; the blocks are in ggml/src/ggml-common.h.
_TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    9: ("q8_1", 32, 36),
    10: ("q2_K", 256, 84),
    11: ("q3_K", 256, 110),
    12: ("q4_K", 256, 144),
    13: ("q5_K", 256, 176),
    14: ("q6_K", 256, 210),
    15: ("q8_K", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    24: ("i8", 1, 1),
    25: ("i16", 1, 2),
    26: ("i32", 1, 4),
    27: ("i64", 1, 8),
    28: ("f64", 1, 8),
    29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
    42: ("q2_0", 64, 18),
}
# Their `blck_size` is 0 in `type_traits`: a file with them was made for a version of 2023 or 2024.
_REMOVED = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
# ggml numbers its types one after another; a number far beyond them is none of any version's.
_MOST_TYPES = 2 * len(_TYPES)
# What is added or multiplied with f32, number by number: `binary_op` in ggml/src/ggml-cpu/binary-ops.cpp ends the
# process for all else, so converters write nothing else (`prepare_tensors` in conversion/base.py).
_NUMBER_BY_NUMBER = ("_norm.weight", ".bias")
# What no matrix may be: no `vec_dot` in `type_traits_cpu` (ggml/src/ggml-cpu/ggml-cpu.c), and it is called unseen.
_NEVER_MULTIPLIED = frozenset({"q8_1", "q8_K", "i8", "i16", "i32", "i64", "f64"})
# A layer's tensors are "blk.<layer>.<what>", those behind the last one "output" and "output_norm" (LLM_TENSOR_NAMES in
# src/llama-arch.cpp).
_IN_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,9})\.")
_BEHIND_LAYERS = "output"
_TABLE = "_tid2eid.weight"  # which experts a token goes to (src/models/deepseek4.cpp): looked up, not multiplied

_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT in ggml/include/gguf.h
# TENSOR_ALIGNMENT in ggml/src/ggml-impl.h: `ggml_backend_cpu_buffer_from_ptr` ends the process for a mapping without.
_MAPPED_ALIGNMENT = 32
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS in ggml/include/ggml.h
_LONGEST_NAME_BYTES = 63  # GGML_MAX_NAME in ggml/include/ggml.h, without the NUL at the end
_MOST_ELEMENTS = 2**63 - 1  # gguf.cpp counts them in an int64_t
_SHORTEST_BYTES = 8 + 1 + 4 + 4 + 8  # a name of one character, no dimension
# 512 layers (LLAMA_MAX_LAYERS) of 64 tensors; the largest of llama.cpp's architectures have some 30 for each layer.
_MOST_TENSORS = 512 * 64


@dataclass(frozen=True, slots=True)
class Tensors:
    """All of a file's tensors. `types` tells how many there are of each; `embedding` is the shape of `token_embd`;
    its type and size stand beside it, because without an output matrix of its own it is also that.

    `has_attention` and `has_router` tell whether there are matrices for queries, and some that choose among experts.
    `layer_bytes` are those of each layer by its number, `output_bytes` those of what follows the last one.
    """

    count: int = 0
    elements: int = 0
    data_offset: int = 0
    size_bytes: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    embedding: tuple[int, ...] | None = None
    has_attention: bool = False
    has_router: bool = False
    embedding_type: str = ""
    embedding_bytes: int = 0
    has_output: bool = False
    layer_bytes: Mapping[int, int] = field(default_factory=dict)
    output_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    elements: int
    type: str
    size_bytes: int
    offset: int


def _alignment(said: Entries) -> int:
    """The number whose multiples tensors begin at."""
    alignment = said.whole(_ALIGNMENT)
    if alignment is None:
        return _DEFAULT_ALIGNMENT
    if alignment == 0 or alignment & (alignment - 1):
        raise GgufInvalid(f"{_ALIGNMENT} is {alignment}, which is no power of two.")
    return alignment


def read(reader: Reader, count: int, said: Entries, *, for_engine: bool, names: set[str] | None = None) -> Tensors:
    """The next `count` tensors, with which the header ends. Their data is not read.

    `for_engine` is for whole models, and asks whether llama.cpp can map them and calculate with them, too. `names` are
    those of tensors in other pieces of the same model; the ones found here are added.
    """
    alignment = _alignment(said)
    if count > min(_MOST_TENSORS, reader.left_bytes // _SHORTEST_BYTES):
        left = f"{reader.left_bytes} bytes are left for them, and more than {_MOST_TENSORS} are taken from no file"
        raise GgufInvalid(f"the header has {count} tensors; {left}.")
    if not count:
        return Tensors()
    names = set() if names is None else names
    types, elements, offset, last = Counter[str](), 0, 0, None
    embedding, has_attention, has_router, has_output = None, False, False, False
    layer_bytes, output_bytes = Counter[int](), 0
    for index in range(count):
        tensor = _tensor(reader, index)
        if for_engine:
            _check_use(tensor, alignment)
        if tensor.name in names:
            raise GgufInvalid(f"tensor {index}: {shown(tensor.name)} is there twice.")
        if tensor.offset != offset:
            raise GgufInvalid(_misplaced(tensor, offset, alignment))
        names.add(tensor.name)
        types[tensor.type] += 1
        elements += tensor.elements
        offset, last = offset + _padded(tensor.size_bytes, alignment), tensor
        embedding = tensor if tensor.name == "token_embd.weight" else embedding
        has_output = has_output or tensor.name == "output.weight"
        has_attention = has_attention or tensor.name.endswith(".attn_q.weight")
        has_router = has_router or tensor.name.endswith(".ffn_gate_inp.weight")
        if layer := _IN_LAYER.match(tensor.name):
            layer_bytes[int(layer[1])] += tensor.size_bytes
        elif tensor.name.startswith(_BEHIND_LAYERS):
            output_bytes += tensor.size_bytes
    assert last is not None
    data_offset = _padded(reader.position, alignment)
    end = data_offset + last.offset + last.size_bytes
    if end > reader.size_bytes:
        place = f"the data of its last tensor, {shown(last.name)}, ends at byte {end}"
        raise GgufInvalid(f"{place}, and the file has {reader.size_bytes}: it is cut off; copy it again.")
    return Tensors(
        count,
        elements,
        data_offset,
        end - data_offset,
        dict(types),
        embedding.shape if embedding else None,
        has_attention,
        has_router,
        embedding.type if embedding else "",
        embedding.size_bytes if embedding else 0,
        has_output,
        dict(layer_bytes),
        output_bytes,
    )


def together(found: Sequence[Tensors]) -> Tensors:
    """Those of a model's pieces as one; where the data begins is asked of the first."""
    types, layer_bytes = Counter[str](), Counter[int]()
    for tensors in found:
        types.update(tensors.types)
        layer_bytes.update(tensors.layer_bytes)
    return Tensors(
        count=sum(tensors.count for tensors in found),
        elements=sum(tensors.elements for tensors in found),
        data_offset=found[0].data_offset,
        size_bytes=sum(tensors.size_bytes for tensors in found),
        types=dict(types),
        embedding=next((tensors.embedding for tensors in found if tensors.embedding), None),
        has_attention=any(tensors.has_attention for tensors in found),
        has_router=any(tensors.has_router for tensors in found),
        embedding_type=next((tensors.embedding_type for tensors in found if tensors.embedding), ""),
        embedding_bytes=next((tensors.embedding_bytes for tensors in found if tensors.embedding), 0),
        has_output=any(tensors.has_output for tensors in found),
        layer_bytes=dict(layer_bytes),
        output_bytes=sum(tensors.output_bytes for tensors in found),
    )


def _tensor(reader: Reader, index: int) -> _Tensor:
    reader.place = f"the name of tensor {index}"
    called = name(reader, _LONGEST_NAME_BYTES)
    reader.place = f"the tensor {shown(called)}"
    dimensions = int(reader.number(U32))
    if dimensions > _MOST_DIMENSIONS:
        raise GgufInvalid(f"{reader.place} has {dimensions} dimensions; there are at most {_MOST_DIMENSIONS}.")
    # None at all is a single number, which converters write for scalars.
    shape = tuple(int(reader.number(U64)) for _ in range(dimensions))
    elements = 1
    for size in shape:
        elements *= size
        if not 0 < elements <= _MOST_ELEMENTS:
            raise GgufInvalid(
                f"{reader.place} has the shape {_times(shape)}, which is 0 or more than 2^63 - 1 numbers."
            )
    kind = int(reader.number(U32))
    if max(_TYPES) < kind < _MOST_TYPES:
        raise GgufUnsupported(unknown(f"{reader.place} is of type {kind}"))
    if kind not in _TYPES:
        gone = "was removed from ggml; convert the model anew" if kind in _REMOVED else "does not exist"
        raise GgufInvalid(f"{reader.place} is of type {kind}, which {gone}.")
    type_name, block, block_bytes = _TYPES[kind]
    row = shape[0] if shape else 1
    if row % block:
        raise GgufInvalid(f"{reader.place} has rows of {row} numbers, and {type_name} has blocks of {block}.")
    return _Tensor(called, shape, elements, type_name, elements // block * block_bytes, int(reader.number(U64)))


def _check_use(tensor: _Tensor, alignment: int) -> None:
    """Whether llama.cpp can use it where it is, as what it is, without ending the process."""
    if alignment % _MAPPED_ALIGNMENT:
        say = f"{_ALIGNMENT} is {alignment}, and llama.cpp maps tensors at multiples of {_MAPPED_ALIGNMENT}"
    elif tensor.name.endswith(_NUMBER_BY_NUMBER) and tensor.type != "f32":
        say = f"the tensor {shown(tensor.name)} is of type {tensor.type}, and norms and biases are f32"
    elif _is_matrix(tensor) and tensor.type in _NEVER_MULTIPLIED:
        say = f"the tensor {shown(tensor.name)} is of type {tensor.type}, which llama.cpp multiplies with nothing"
    else:
        return
    raise GgufInvalid(f"{say}.")


def _is_matrix(tensor: _Tensor) -> bool:
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight") and not tensor.name.endswith(_TABLE)


def _misplaced(tensor: _Tensor, expected: int, alignment: int) -> str:
    if tensor.offset % alignment:
        why = f"which is no multiple of {alignment}"
    elif tensor.offset < expected:
        why = f"where another one lies up to byte {expected}"
    else:
        why = f"and the one before it ends at byte {expected}"
    return f"the tensor {shown(tensor.name)} begins at byte {tensor.offset} of the data, {why}."


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
