"""A model in several files: each is checked as any other, and together they must be all of it, each tensor once.

Only the first has the entries of the model; the others say which piece they are (`split_strategy` in llama.cpp's
tools/gguf-split/gguf-split.cpp). What must agree is what `llama_model_loader` in src/llama-model-loader.cpp asks for,
and some that it takes unseen: a number of another kind ends the process there.
"""

from __future__ import annotations

from collections.abc import Sequence

from edged.gguf import entries, header, tensors
from edged.gguf.entries import Entries
from edged.gguf.header import Gguf
from edged.gguf.reading import GgufInvalid, Reader
from edged.gguf.tensors import Tensors

_COUNT, _NUMBER, _TENSORS = "split.count", "split.no", "split.tensors.count"


def inspect_pieces(descriptors: Sequence[int]) -> Gguf:
    """What the files behind `descriptors`, in this order, say of the model that they are.

    Raises `GgufInvalid` with what is wrong, and in which of them.
    """
    if len(descriptors) == 1:
        return header.inspect(descriptors[0])
    names, found, said = set[str](), list[Tensors](), list[Entries]()
    version = 0
    for index, descriptor in enumerate(descriptors):
        try:
            reader = Reader(descriptor)
            of_version, tensor_count, entry_count = header.beginning(reader)
            said.append(entries.read(reader, entry_count))
            _check_place(said[-1], index, len(descriptors))
            found.append(tensors.read(reader, tensor_count, said[-1], for_engine=True, names=names))
        except GgufInvalid as error:
            raise GgufInvalid(f"piece {index + 1} of {len(descriptors)}: {error}") from error
        except OSError as error:
            raise GgufInvalid(f"piece {index + 1} of {len(descriptors)} cannot be read: {error.strerror}.") from error
        version = version or of_version
    whole = tensors.together(found)
    expected = said[0].whole(_TENSORS, "i32")
    if expected != whole.count:
        raise GgufInvalid(f"{_TENSORS} is {expected}, and the pieces have {whole.count} tensors together.")
    return header.judged(said[0], whole, version, is_whole=True)


def _check_place(said: Entries, index: int, count: int) -> None:
    """Whether a piece says that it is this one, of so many. Others than the first need not say how many there are."""
    number, of = said.whole(_NUMBER, "u16"), said.whole(_COUNT, "u16")
    if number != index:
        told = "does not say which piece it is" if number is None else f"says that it is piece {number + 1}"
        raise GgufInvalid(f"it {told}.")
    if of != count and not (of is None and index):
        told = "does not say of how many" if of is None else f"says that there are {of}"
        raise GgufInvalid(f"it {told}.")
