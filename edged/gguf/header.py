"""What a model's file says of itself, what it was made for, and whether llama.cpp may see it: one pass over its header.

    magic, version, counts ─▶ entries ─▶ what it was made for ─▶ tensors ─▶ its build, its vocabulary

llama.cpp ends its process for some files that it can read (a layer too many, two equal tokens), and others are half of
what they were before a copy broke off. All of them are refused here with a sentence, before any process is started.
What passes may still be refused by llama.cpp, with its own sentence. A second's work at most, 32 MB, and not a byte of
the tensors' data.

Layout: ggml/include/gguf.h of llama.cpp. Numbers are little-endian, as llama.cpp takes them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edged.chat import MadeFor
from edged.gguf import build, entries, infill, ranges, tensors, vocabulary
from edged.gguf.build import Build
from edged.gguf.entries import TEMPLATE, TOKENS, U32, U64, Entries
from edged.gguf.reading import GgufInvalid, GgufUnsupported, Reader, shown
from edged.gguf.supported import unknown, unsupported
from edged.gguf.tensors import Tensors

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # GGUF_VERSION in ggml/include/gguf.h; 1 had other numbers and is gone
_MOST_VERSIONS = 64  # a larger one was never meant; three took GGUF as many years
# As all of src/llama-arch.cpp are; it stands in the keys of other entries, and so in sentences.
_ARCHITECTURE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_KEPT_KEY = 128  # characters; no more of a file stays in memory than the entries that anybody may ask for
_RANK = 4  # LLAMA_POOLING_TYPE_RANK in llama.h; 0 is no pooling
_ALONE = (0, 1)  # a model in so many files is in one


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a file says of itself: every entry that is a number or a short text, by its key, and its chat template.

    `template` is empty where there is none, or one that is longer than any, of which `has_template` knows;
    `architecture` in the pieces of a model behind its first. `vocabulary_tokens` is 0 where there is no vocabulary, and
    with `fills_gaps` it has the tokens around a gap. `unsupported` is why this llama.cpp cannot load it, as a clause.
    `build` is empty in parts, and where it is not known.
    """

    made_for: MadeFor
    architecture: str
    entries: Mapping[str, int | float | str]
    template: str = ""
    version: int = 3
    vocabulary_tokens: int = 0
    tensors: Tensors = field(default_factory=Tensors)
    build: Build = field(default_factory=Build)
    has_template: bool = False
    fills_gaps: bool = False
    languages: tuple[str, ...] = ()
    unsupported: str = ""

    @property
    def context_tokens(self) -> int | None:
        """How long the contexts were that it was trained with, where it says so."""
        found = self.entries.get(f"{self.architecture}.context_length")
        return found if isinstance(found, int) else None

    @property
    def problem(self) -> str:
        """Why a sound file cannot be loaded as a model: what it is instead. Empty where it can."""
        if not self.tensors.count:
            return "it has no tensors: it is a vocabulary and not a model."
        if self.made_for == "part":
            return f"{self._part} and not a whole model."
        return self.unsupported

    @property
    def _part(self) -> str:
        kind = self.entries.get("general.type")
        if kind == "mmproj" or self.architecture == "clip":
            return "it is a projector, with which another model sees or hears,"
        if kind == "adapter":
            return "it is an adapter (LoRA), which changes another model,"
        if isinstance(kind, str) and kind != "model":
            return f"it is a file of the type {shown(kind)}"
        return "it is one of several pieces of a model"


def inspect(file: Path | int, whole_bytes: int | None = None) -> Gguf:
    """What the file at a path, or behind a descriptor, says of itself. A large vocabulary takes up to a second.

    `whole_bytes` is how long a file will be that is still on its way. Raises `GgufInvalid` with what is wrong with it,
    or `Unfinished`. Links are not followed, a FIFO is not waited for, and the place in the file where a descriptor
    stands stays the same.
    """
    try:
        if isinstance(file, int):
            return _inspect(Reader(file, whole_bytes))
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _inspect(Reader(descriptor, whole_bytes))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise GgufInvalid(f"it cannot be read: {error.strerror}.") from error


def _inspect(reader: Reader) -> Gguf:
    version, tensor_count, entry_count = beginning(reader)
    said = entries.read(reader, entry_count)
    is_whole = _pieces(said) in _ALONE
    for_engine = is_whole and _purpose(said, _architecture(said)) != "part"
    return judged(said, tensors.read(reader, tensor_count, said, for_engine=for_engine), version, is_whole=is_whole)


def judged(said: Entries, found: Tensors, version: int, *, is_whole: bool) -> Gguf:
    """What entries and tensors amount to; `is_whole` tells that they are all of a model. Raises `GgufInvalid`."""
    architecture = _architecture(said)
    # A piece of a model in several files does not answer alone.
    purpose = _purpose(said, architecture) if is_whole else "part"
    plain = dict(said.plain())
    template = str(plain.pop(TEMPLATE, ""))
    reason = "" if purpose == "part" else unsupported(architecture, plain)
    tokens, fills_gaps = 0, False
    if purpose != "part" and not architecture:
        raise GgufInvalid("general.architecture is missing, empty or longer than any.")
    if purpose != "part" and not reason:  # what another architecture's numbers mean nobody here knows
        ranges.check(said, architecture, found)
        tokens = vocabulary.check(said, is_model=found.count > 0)
        fills_gaps = tokens > 0 and _fills_gaps(said, tokens)
    if not found.count:
        purpose = "part"
    return Gguf(
        purpose,
        architecture,
        {sys.intern(key): value for key, value in plain.items() if len(key) <= _LONGEST_KEPT_KEY},
        template,
        version,
        tokens,
        found,
        build.read(said, architecture) if purpose != "part" and not reason else Build(),
        has_template=TEMPLATE in said,
        fills_gaps=fills_gaps,
        languages=said.languages(),
        unsupported=reason,
    )


def beginning(reader: Reader) -> tuple[int, int, int]:
    """The version, and how many tensors and entries follow."""
    if reader.size_bytes == 0:
        raise GgufInvalid("it is empty.")
    magic = reader.take(min(len(_MAGIC), reader.left_bytes))
    if magic != _MAGIC:
        raise GgufInvalid(f"it is no GGUF: it begins with {shown(magic)} instead of 'GGUF'.")
    reader.place = "the version"
    version = int(reader.number(U32))
    if version not in _VERSIONS:
        if version & 0xFFFF == 0 and version:
            raise GgufInvalid(f"its version is {version}: it was written for processors with the other order of bytes.")
        if _VERSIONS[-1] < version < _MOST_VERSIONS:
            raise GgufUnsupported(unknown(f"it is GGUF of version {version}"))
        raise GgufInvalid(f"it is GGUF of version {version}, and llama.cpp reads {_VERSIONS[0]} and {_VERSIONS[-1]}.")
    reader.place = "the numbers of tensors and entries"
    return version, int(reader.number(U64)), int(reader.number(U64))


def _architecture(said: Entries) -> str:
    architecture = said.text("general.architecture") or ""
    if architecture and not _ARCHITECTURE.fullmatch(architecture):
        raise GgufInvalid(f"general.architecture is {shown(architecture)}, which is no name of one.")
    return architecture


def _purpose(said: Entries, architecture: str) -> MadeFor:
    # A projector for images, or an adapter: neither answers alone.
    if said.text("general.type") not in (None, "model") or architecture == "clip":
        return "part"
    pooling = said.whole(f"{architecture}.pooling_type") or 0
    if pooling == _RANK:
        return "scores"
    return "vectors" if pooling or said.truth(f"{architecture}.attention.causal") is False else "words"


def _pieces(said: Entries) -> int:
    """In how many files the model is; 0 where nothing is said (`gguf-split` in llama.cpp's tools)."""
    count = said.whole("split.count", "u16") or 0
    number = said.whole("split.no", "u16") or 0
    if number >= max(count, 1):
        raise GgufInvalid(f"split.no is {number}, of {count} files.")
    return count


def _fills_gaps(said: Entries, tokens: int) -> bool:
    listed = said.list(TOKENS, "str")
    ids = {place: [said.whole(key) for key in keys] for place, keys in enumerate(infill.KEYS)}
    named = {place for place, found in ids.items() if any(id is not None and id < tokens for id in found)}
    return listed is not None and infill.is_whole(named, infill.places(listed.hashes))
