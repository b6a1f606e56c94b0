"""What a file says of itself: its entries, each with a key, a kind and a value.

Which kinds there are: `enum gguf_type` in ggml/include/gguf.h; which keys are refused: `gguf_init_from_reader` in
ggml/src/gguf.cpp. llama.cpp reads an entry as one kind and refuses every other (`GKV::get_kv` in
src/llama-model-loader.cpp), and so do the typed lookups here.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct, iter_unpack
from typing import TypeAlias

from edged.gguf.reading import GgufInvalid, Reader, shown

STRING, ARRAY = 8, 9
_NAMES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64")
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_FORMS = {kind: Struct(form) for kind, form in _NUMBERS.items()}
U32, U64 = _FORMS[4], _FORMS[10]

TEMPLATE = "tokenizer.chat_template"
TOKENS, TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
# The one list of texts that is kept; ISO 639 has fewer than 200 codes of two letters.
LANGUAGES = "general.languages"
_MOST_LANGUAGES, _LONGEST_LANGUAGE_BYTES = 256, 32
_I32 = 5
_BYTE = 6  # LLAMA_TOKEN_TYPE_BYTE in include/llama.h
_MOST_ENTRIES = 1024  # real files have 20 to 60
_LONGEST_KEY_BYTES = 1024  # 2^16 - 1 are allowed (docs/gguf.md of ggml), and the longest of llama.cpp's own has 60
_LONGEST_TEXT_BYTES = 256
_LONGEST_TEMPLATE_BYTES = 64 * 1024  # the longest of llama.cpp's models/templates has 17 kB
# Of the lists only those are kept that may have one number for each layer: there are at most 512 (LLAMA_MAX_LAYERS).
_LONGEST_LIST_BYTES = 512 * 4
# Twice Gemma's. Each costs 40 bytes while they are compared.
_MOST_TOKENS = 2**19
# The longest of the vocabularies in llama.cpp's models/ has 1,024 bytes.
_LONGEST_TOKEN_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class List:
    """An array: what it consists of, how many, and the numbers themselves where they are few.

    `has_bytes` tells of the types of tokens whether some stand for bytes; `hashes` are the tokens' own, in order, and
    `texts` the languages.
    """

    kind: int
    count: int
    data: bytes = b""
    has_bytes: bool = False
    hashes: Sequence[int] = ()
    texts: tuple[str, ...] = ()


Value: TypeAlias = int | float | bool | str | List | None


class Entries:
    """The entries by key. Lookups raise `GgufInvalid` where an entry is of another kind than llama.cpp reads."""

    def __init__(self, found: Mapping[str, tuple[int, Value]]) -> None:
        self._found = found

    def plain(self) -> Iterator[tuple[str, int | float | str]]:
        """Every number and short text."""
        for key, (_, value) in self._found.items():
            if isinstance(value, int | float | str):
                yield key, value

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def whole(self, key: str, kind: str = "u32") -> int | None:
        """A whole number; None where there is no such entry."""
        value = self._of_kind(key, kind)
        return value if isinstance(value, int) else None

    def real(self, key: str) -> float | None:
        """A number with a fraction, finite."""
        value = self._of_kind(key, "f32")
        if not isinstance(value, float):
            return None
        if not math.isfinite(value):
            raise GgufInvalid(f"{key} is {value}, which is no number to calculate with.")
        return value

    def truth(self, key: str) -> bool | None:
        """Yes or no."""
        value = self._of_kind(key, "bool")
        return value if isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        """A short text; one that is longer or no UTF-8 is none either."""
        value = self._of_kind(key, "str")
        return value if isinstance(value, str) else None

    def wholes(self, key: str, count: int) -> tuple[int, ...] | None:
        """So many whole numbers, or one that stands for all of them (`get_key_or_arr` in llama-model-loader.cpp)."""
        if key not in self._found or self._name(key) != "arr":
            value = self.whole(key)
            return None if value is None else (value,) * count
        values = self.list(key, "u32", "i32")
        if values is None or values.count != count:
            raise GgufInvalid(f"{key} has {values.count if values else 0} numbers, and llama.cpp takes {count}.")
        return tuple(number for (number,) in iter_unpack("<I", values.data))

    def languages(self) -> tuple[str, ...]:
        """Which languages the model speaks, as its file says; none where that is said in another way."""
        value = self._found.get(LANGUAGES, (ARRAY, None))[1]
        return value.texts if isinstance(value, List) else ()

    def list(self, key: str, *kinds: str) -> List | None:
        """A list of one of these kinds; None where there is no such entry."""
        values = self._of_kind(key, "arr")
        if not isinstance(values, List):
            return None
        if (name := _NAMES[values.kind]) not in kinds:
            raise GgufInvalid(f"{key} is a list of {name}, and llama.cpp takes {' or '.join(kinds)}.")
        return values

    def _of_kind(self, key: str, kind: str) -> Value:
        if key not in self._found:
            return None
        if self._name(key) != kind:
            raise GgufInvalid(f"{key} is of kind {self._name(key)}, and llama.cpp takes {kind}.")
        return self._found[key][1]

    def _name(self, key: str) -> str:
        return _NAMES[self._found[key][0]]


def read(reader: Reader, count: int) -> Entries:
    """The next `count` entries."""
    if count > _MOST_ENTRIES:
        raise GgufInvalid(f"the header has {count} entries; more than {_MOST_ENTRIES} are taken from no file.")
    found: dict[str, tuple[int, Value]] = {}
    for index in range(count):
        reader.place = f"the key of entry {index}"
        key = name(reader, _LONGEST_KEY_BYTES)
        if key in found:
            raise GgufInvalid(f"{reader.place}: {shown(key)} is there twice.")
        reader.place = f"the entry {shown(key)}"
        kind = int(reader.number(U32))
        found[key] = (kind, _value(reader, key, kind))
    return Entries(found)


def name(reader: Reader, longest_bytes: int) -> str:
    """The next text as the name of something: there, short, UTF-8, and without a NUL, where C would see its end."""
    raw = reader.text(longest_bytes)
    if raw is None:
        raise GgufInvalid(f"{reader.place}: it has more than {longest_bytes} bytes.")
    if not raw or b"\0" in raw:
        raise GgufInvalid(f"{reader.place}: it is {shown(raw) if raw else 'empty'}; a name has characters and no NUL.")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise GgufInvalid(f"{reader.place}: {shown(raw)} is no UTF-8.") from None


def _value(reader: Reader, key: str, kind: int) -> Value:
    """The value of this kind that comes next; None for a text that is not kept."""
    if kind in _FORMS:
        return reader.number(_FORMS[kind])
    if kind == STRING:
        raw = reader.text(_LONGEST_TEMPLATE_BYTES if key == TEMPLATE else _LONGEST_TEXT_BYTES)
        try:
            return None if raw is None else raw.decode()
        except UnicodeDecodeError:
            return None
    if kind == ARRAY:
        return _list(reader, key, int(reader.number(U32)), int(reader.number(U64)))
    raise GgufInvalid(f"{reader.place} is of kind {kind}; kinds are 0 to {len(_NAMES) - 1}.")


def _list(reader: Reader, key: str, kind: int, count: int) -> List:
    if kind == STRING:
        if key == TOKENS:
            return List(kind, count, hashes=_compared(reader, count))
        if key == LANGUAGES and count <= _MOST_LANGUAGES:
            return List(kind, count, texts=_languages(reader, count))
        reader.skip_texts(count)
        return List(kind, count)
    if kind not in _FORMS:
        raise GgufInvalid(f"{reader.place} is a list of kind {kind}; lists are of numbers or texts.")
    if key == TOKEN_TYPES and kind == _I32 and count <= _MOST_TOKENS:
        return List(kind, count, has_bytes=_BYTE in memoryview(reader.take(4 * count)).cast("i"))
    size_bytes = count * _FORMS[kind].size
    if size_bytes <= _LONGEST_LIST_BYTES:
        return List(kind, count, reader.take(size_bytes))
    reader.skip(size_bytes)
    return List(kind, count)


def _languages(reader: Reader, count: int) -> tuple[str, ...]:
    """The next texts as names of languages; what is none is left out, since nothing depends on it."""
    found = (reader.text(_LONGEST_LANGUAGE_BYTES) for _ in range(count))
    names = (raw.decode(errors="replace") for raw in found if raw)
    return tuple(dict.fromkeys(name for name in names if name.isprintable()))


def is_among(text: bytes, hashes: Sequence[int]) -> bool:
    """Whether one of the tokens with these hashes is `text`."""
    value = hash(text)
    at = bisect_left(hashes, value)
    return at < len(hashes) and hashes[at] == value


def _compared(reader: Reader, count: int) -> Sequence[int]:
    """Pass over the tokens, all of which must differ: llama.cpp ends the process otherwise. Gives `List.hashes`.

    `id_to_token.size() == token_to_id.size()` is asserted in `llama_vocab::impl::load` (src/llama-vocab.cpp). There a
    token ends at its first NUL, and an empty one becomes `[EMPTY_n]`. Hashes are compared, because the tokens
    themselves would take too much memory: of 2^18, two have the same one of 64 bits in one file of 500 million.
    """
    if count > _MOST_TOKENS:
        raise GgufInvalid(f"{reader.place} has {count} tokens; more than {_MOST_TOKENS} are taken from no file.")
    hashes = array("q")
    for index, token in enumerate(reader.texts(count, _LONGEST_TOKEN_BYTES)):
        hashes.append(hash(token.partition(b"\0")[0] or b"[EMPTY_%d]" % index))
    ordered = sorted(hashes)
    for value, following in pairwise(ordered):
        if value == following:
            first = hashes.index(value)
            second = hashes.index(value, first + 1)
            raise GgufInvalid(f"{reader.place}: tokens {first} and {second} are the same text.")
    return array("q", ordered)
