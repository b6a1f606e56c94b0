"""A model that is installed, as everybody else sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from edged.chat import MadeFor
from edged.errors import ModelInvalid, ModelUnsupported
from edged.gguf.header import Gguf
from edged.store.records import Record

# Of a file's content, for its key: so many pieces of a page each, and all of its beginning, where the header is.
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_HEADER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is installed. `modified_s` is Unix time; `further` are its files behind the first, in order.

    `made_for` and `header` are None where it is unreadable, and where a folder is so full that nobody has looked yet.
    `problem` is why it cannot be loaded, as a clause; empty where nothing speaks against it. One that `is_unsupported`
    is of a kind that this llama.cpp does not know. `record` is None for files that the owner put there.
    """

    name: str
    path: Path
    size_bytes: int
    modified_s: int
    made_for: MadeFor | None = "words"
    header: Gguf | None = field(default=None, compare=False, repr=False)
    problem: str = ""
    further: tuple[Path, ...] = ()
    record: Record | None = None
    is_unsupported: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files, in order."""
        return (self.path, *self.further)


def unusable(name: str, problem: str, *, is_unsupported: bool = False) -> ModelInvalid:
    """What to tell whoever wants the model called `name`; `problem` and `is_unsupported` are a `ModelFile`'s."""
    kind = ModelUnsupported if is_unsupported else ModelInvalid
    return kind(f"The file of model {name} cannot be loaded: {problem}", param="model")


def key_of(*descriptors: int) -> str:
    """Which weights these are, without reading them all: other content has another key, whatever the files are called.

    Size and time of change alone would do where nobody copies times along with files, as package managers and images
    do. The header alone is the same in every model that was trained further. So both, and samples from the whole file:
    training changes all of it.
    """
    digest = blake2b(digest_size=16)
    for descriptor in descriptors:
        status = os.fstat(descriptor)
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        digest.update(os.pread(descriptor, _HEADER_BYTES, 0))
        for sample in range(_SAMPLES):
            digest.update(os.pread(descriptor, _SAMPLE_BYTES, status.st_size * sample // _SAMPLES))
    return digest.hexdigest()
