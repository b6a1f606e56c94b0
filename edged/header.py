"""What a model's file says of itself and what it was made for, read from its first bytes by the daemon itself.

A file is a stranger's, and here is no process that may die: nothing is mapped (a file cut off meanwhile would end us),
no length is believed before it was compared with what is left, and no more is read than any real header needs. Whatever
is odd makes the file unreadable, which is not an error: llama.cpp will say what is wrong when somebody asks for it.

Layout: ggml/include/gguf.h of llama.cpp. Numbers are little-endian, as llama.cpp takes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from edged.chat import MadeFor

# Gemma's 262,144 tokens and their merges take 16 MiB; the tensors' list comes behind and is not read.
_MOST_BYTES = 64 * 2**20
# Strings in arrays are walked one by one, about a million a second; Gemma has 0.8 million.
_MOST_STRINGS = 2_000_000
_MOST_ENTRIES = 4096  # real files have 20 to 60
_LONGEST_KEY_BYTES = 65_535  # more than 2^16 - 1 is not allowed (docs/gguf.md of ggml)
_LONGEST_TEXT_BYTES = 256
_TEMPLATE = "tokenizer.chat_template"
_LONGEST_TEMPLATE_BYTES = 64 * 1024  # the longest of llama.cpp's models/templates has 17 kB
_LONGEST_KEPT_KEY = 128  # characters; no more of a file stays in memory than the entries that anybody may ask for
_BUFFER_BYTES = 256 * 1024

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_FORMATS = {kind: Struct(form) for kind, form in _NUMBERS.items()}
_U32, _U64 = _FORMATS[4], _FORMATS[10]

_RANK = 4  # LLAMA_POOLING_TYPE_RANK in llama.h; 0 is no pooling


class _Unreadable(Exception):
    """It is no header, or an odd one."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: every entry that is a number or a short text, by its key, and its chat template.

    `template` is empty where there is none, or one that is longer than any.
    """

    made_for: MadeFor
    architecture: str
    entries: Mapping[str, int | float | str]
    template: str = ""


def made_for(path: Path) -> MadeFor | None:
    """What the file at `path` was made for; None where it cannot be read."""
    header = read(path)
    return header.made_for if header else None


def read(path: Path) -> Header | None:
    """The header of the file at `path`; None where it cannot be read. A large vocabulary takes up to a second."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        with os.fdopen(descriptor, "rb", buffering=_BUFFER_BYTES) as file:
            return _header(_entries(_Reader(file)))
    except (OSError, _Unreadable):
        return None


def _header(said: dict[str, int | float | str]) -> Header:
    architecture = said.get("general.architecture")
    if not isinstance(architecture, str):
        raise _Unreadable
    template = said.pop(_TEMPLATE, "")
    kept = {key: value for key, value in said.items() if len(key) <= _LONGEST_KEPT_KEY}
    return Header(_purpose(said, architecture), architecture, kept, template if isinstance(template, str) else "")


def _purpose(said: dict[str, int | float | str], architecture: str) -> MadeFor:
    # A projector for images, an adapter, or a piece of a model in several files: none of them answers alone.
    if (
        said.get("general.type", "model") != "model"
        or architecture == "clip"
        or said.get("split.count", 0) not in (0, 1)
    ):
        return "part"
    pooling = said.get(f"{architecture}.pooling_type", 0)
    if pooling == _RANK:
        return "scores"
    return "vectors" if pooling or not said.get(f"{architecture}.attention.causal", True) else "words"


def _entries(reader: _Reader) -> dict[str, int | float | str]:
    """Every entry of the header that is a number or a short text, by its key; the chat template among them."""
    if reader.take(4) != _MAGIC or reader.number(_U32) not in _VERSIONS:
        raise _Unreadable
    reader.number(_U64)  # tensors
    count = reader.number(_U64)
    if count > _MOST_ENTRIES:
        raise _Unreadable
    found: dict[str, int | float | str] = {}
    for _ in range(int(count)):
        key = reader.text(_LONGEST_KEY_BYTES)
        longest_bytes = _LONGEST_TEMPLATE_BYTES if key == _TEMPLATE else _LONGEST_TEXT_BYTES
        value = _value(reader, int(reader.number(_U32)), longest_bytes)
        if key is None or key in found:
            raise _Unreadable
        if value is not None:
            found[key] = value
    return found


def _value(reader: _Reader, kind: int, longest_bytes: int) -> int | float | str | None:
    """The value of this kind that comes next; None for an array or a long text, which are passed over."""
    if kind in _FORMATS:
        return reader.number(_FORMATS[kind])
    if kind == _STRING:
        return reader.text(longest_bytes)
    if kind == _ARRAY:
        _pass_over(reader, int(reader.number(_U32)), int(reader.number(_U64)))
        return None
    raise _Unreadable


def _pass_over(reader: _Reader, kind: int, count: int) -> None:
    if kind in _FORMATS:
        reader.skip(_FORMATS[kind].size * count)
    elif kind == _STRING:
        reader.skip_strings(count)
    else:
        raise _Unreadable  # an array of arrays is in no model's file


class _Reader:
    """A file from its beginning on, as far as is allowed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left_bytes = min(os.fstat(file.fileno()).st_size, _MOST_BYTES)
        self._left_strings = _MOST_STRINGS

    def take(self, count: int) -> bytes:
        """The next bytes. Raises `_Unreadable` where there are not so many."""
        self._spend(count)
        data = self._file.read(count)
        if len(data) != count:
            raise _Unreadable
        return data

    def skip(self, count: int) -> None:
        """Leave out so many bytes."""
        self._spend(count)
        self._file.seek(count, os.SEEK_CUR)

    def number(self, form: Struct) -> int | float:
        """The next number."""
        (value,) = form.unpack(self.take(form.size))
        number: int | float = value
        return number

    def text(self, longest_bytes: int) -> str | None:
        """The next text; None, and it is left out, where it is longer or no UTF-8."""
        length = int(self.number(_U64))
        if length > longest_bytes:
            self.skip(length)
            return None
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            return None

    def skip_strings(self, count: int) -> None:
        """Leave out so many texts."""
        self._left_strings -= count
        if self._left_strings < 0:
            raise _Unreadable
        for _ in range(count):
            self.skip(int(self.number(_U64)))

    def _spend(self, count: int) -> None:
        self._left_bytes -= count
        if self._left_bytes < 0:
            raise _Unreadable
