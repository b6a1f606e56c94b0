"""A file from its beginning on, as far as any header goes: no length is believed that goes beyond what is left.

Here is no process that may die, so nothing is mapped (a file cut off meanwhile would end us), and nothing is allocated
by a length that the file says. The descriptor's own place is left alone, because the same descriptor goes to a worker.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from struct import Struct

# Gemma 4's 262,144 tokens and 514,906 merges take 15 MiB, the lists of the largest models' tensors less than one.
MOST_HEADER_BYTES = 64 * 2**20
# Strings in arrays are walked one by one, some five million a second on a desktop; Gemma 4 has 0.8 million.
_MOST_STRINGS = 2_000_000
_CHUNK_BYTES = 256 * 1024
_SHOWN_CHARACTERS = 80

_LENGTH = Struct("<Q")


class GgufInvalid(Exception):
    """What is wrong with a file, where, and with which value: a clause that goes on after "The file of model x: "."""


class GgufUnsupported(GgufInvalid):
    """Nothing need be wrong with the file: it is of a kind that the llama.cpp of this edged does not know."""


class Unfinished(GgufInvalid):
    """Of a file that is still on its way, more must come before anything can be said."""


def shown(text: str | bytes) -> str:
    """A stranger's text, fit for a sentence."""
    plain = text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
    return repr(plain) if len(plain) <= _SHOWN_CHARACTERS else f"{plain[:_SHOWN_CHARACTERS]!r}…"


class Reader:
    """What the next bytes are. Raises `GgufInvalid` where there are not so many, and `OSError`.

    `place` is what is being read, in words, for whoever hears that it is wrong. `whole_bytes` is how long the file will
    be that is still on its way: what is not there yet is `Unfinished`.
    """

    def __init__(self, descriptor: int, whole_bytes: int | None = None) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise GgufInvalid("it is no regular file.")
        self.size_bytes = status.st_size if whole_bytes is None else whole_bytes
        self._is_growing = whole_bytes is not None
        self.place = "the first bytes"
        self._descriptor = descriptor
        self._end = min(self.size_bytes, MOST_HEADER_BYTES)
        self._left_strings = _MOST_STRINGS
        self._chunk = b""
        self._chunk_begin = 0
        self._at = 0

    @property
    def position(self) -> int:
        """Where in the file the next byte is."""
        return self._chunk_begin + self._at

    @property
    def left_bytes(self) -> int:
        """How many bytes are left that may belong to the header."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._have(count)
        self._at += count
        return self._chunk[self._at - count : self._at]

    def skip(self, count: int) -> None:
        """Leave out so many bytes."""
        if count > self.left_bytes:
            raise self._too_far(count)
        self._at += count

    def number(self, form: Struct) -> int | float | bool:
        """The next number."""
        (value,) = form.unpack(self.take(form.size))
        number: int | float | bool = value
        return number

    def text(self, longest_bytes: int) -> bytes | None:
        """The next text; None, and it is left out, where it is longer."""
        length = int(self.number(_LENGTH))
        if length <= longest_bytes:
            return self.take(length)
        self.skip(length)
        return None

    def texts(self, count: int, longest_bytes: int) -> Iterator[bytes]:
        """So many texts, one after another. Raises `GgufInvalid` for one that is longer."""
        self._announce(count)
        unpack, left = _LENGTH.unpack_from, count
        while left:
            self._have(_LENGTH.size)
            chunk, at, last = self._chunk, self._at, len(self._chunk) - _LENGTH.size
            while left and at <= last:
                (length,) = unpack(chunk, at)
                if length > longest_bytes:
                    which = f"text {count - left} in it has {length} bytes"
                    raise GgufInvalid(f"{self.place}: {which}; {_most(longest_bytes)}")
                end = at + _LENGTH.size + length
                if end > len(chunk):
                    break
                yield chunk[at + _LENGTH.size : end]
                at, left = end, left - 1
            self._at = at
            if left and at <= last:
                self._have(_LENGTH.size + length)

    def skip_texts(self, count: int) -> None:
        """Leave out so many texts."""
        self._announce(count)
        unpack, left = _LENGTH.unpack_from, count
        while left:
            self._have(_LENGTH.size)
            chunk, at, last = self._chunk, self._at, len(self._chunk) - _LENGTH.size
            while left and at <= last:
                (length,) = unpack(chunk, at)
                at, left = at + _LENGTH.size + length, left - 1
            beyond = max(0, at - len(chunk))
            self._at = at - beyond
            self.skip(beyond)

    def _announce(self, strings: int) -> None:
        if strings * _LENGTH.size > self.left_bytes:
            raise GgufInvalid(
                f"{self.place}: it has {strings} texts, and the {self.left_bytes} bytes left are too few."
            )
        self._left_strings -= strings
        if self._left_strings < 0:
            raise GgufInvalid(f"{self.place}: it has {strings} texts; {_most(_MOST_STRINGS, 'texts in all lists')}")

    def _have(self, count: int) -> None:
        """Have the next `count` bytes in the chunk."""
        if self._at + count <= len(self._chunk):
            return
        if count > self.left_bytes:
            raise self._too_far(count)
        begin = self.position
        chunk = os.pread(self._descriptor, min(max(count, _CHUNK_BYTES), self._end - begin), begin)
        if len(chunk) < count:
            if self._is_growing:
                raise Unfinished(f"{self.place}: it has not come yet.")
            raise GgufInvalid(f"{self.place}: the file became shorter while it was read.")
        self._chunk, self._chunk_begin, self._at = chunk, begin, 0

    def _too_far(self, count: int) -> GgufInvalid:
        wanted = f"{self.place}: {count} bytes are to follow at byte {self.position}"
        if self._end < self.size_bytes:
            return GgufInvalid(f"{wanted}, beyond {MOST_HEADER_BYTES // 2**20} MiB, where no header reaches.")
        return GgufInvalid(f"{wanted}, and the file has {self.size_bytes}: it is cut off, or that number is wrong.")


def _most(most: int, unit: str = "bytes") -> str:
    return f"more than {most} {unit} are taken from no file."
