"""Whether llama.cpp can make a tokenizer of what a file says, and begin and end texts with it.

What is needed and what stands where nothing is said: `llama_vocab::impl::load` in src/llama-vocab.cpp. Ids beyond the
vocabulary are ignored there, and real files have them (4,294,967,295, which is -1, and the first id behind the end for
padding). Here they are refused only for tokens by which a text begins or ends: with another in its place, answers would
not end. Which tokenizers there are is left to llama.cpp, which refuses the others with a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.gguf.entries import TOKEN_TYPES, TOKENS, Entries, List, is_among
from edged.gguf.reading import GgufInvalid

_PREFIX = "tokenizer.ggml."
_MODEL = f"{_PREFIX}model"
_NONE = ("no_vocab", "none")
_MERGED = ("gpt2", "gemma4", "hybriddna", "whitespace")
_UNMERGED = "kimi-k2"  # the one vocabulary of that kind that has no merges
# `token_to_byte` in src/llama-vocab.cpp ends the process there, while the model is loaded.
_WITHOUT_BYTES = "bert"
# There a text that no token begins with is taken byte by byte, and a byte without a token ends the process
# (`llama_vocab::byte_to_token`).
_BY_BYTES = "llama"
# 0xFFFFFFFF is how converters write that there is none.
_ABSENT = 2**32 - 1
_CHECKED_IDS = ("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id")


@dataclass(frozen=True, slots=True)
class _Defaults:
    """The tokens around every text where a file says nothing. Those that are added must be there."""

    bos: int | None = None
    eos: int | None = None
    sep: int | None = None
    adds_bos: bool = False
    adds_eos: bool = False
    always_adds: bool = False  # a tokenizer of BERT's kind asks nobody


# The others add nothing, whatever a file says.
_DEFAULTS = {
    "llama": _Defaults(bos=1, eos=2, adds_bos=True),
    "bert": _Defaults(bos=101, sep=102, adds_bos=True, always_adds=True),
    "gpt2": _Defaults(bos=11, eos=11),
    "hybriddna": _Defaults(bos=11, eos=11),
    "whitespace": _Defaults(bos=11, eos=11),
    "gemma4": _Defaults(adds_bos=True, always_adds=True),
    "t5": _Defaults(eos=1, adds_eos=True),
}


def check(said: Entries, *, is_model: bool) -> int:
    """How many tokens there are. Raises `GgufInvalid`; `is_model` says that there must be a vocabulary."""
    model = said.text(_MODEL)
    if model is None:
        if is_model:
            raise GgufInvalid(f"{_MODEL} is missing, and llama.cpp loads no model without a vocabulary.")
        return 0
    if model in _NONE:
        if is_model:  # `llama_vocab::impl::tokenize` in src/llama-vocab.cpp ends the process at the first text
            raise GgufInvalid(f"{_MODEL} is {model}: it has no vocabulary, and no text can be said to it.")
        return 0
    tokens = said.list(TOKENS, "str")
    if tokens is None or not tokens.count:
        raise GgufInvalid(f"{TOKENS} is {'empty' if tokens else 'missing'}: the vocabulary has no tokens.")
    _check_beside(said, f"{_PREFIX}scores", ("f32", "i32"), tokens.count)
    types = _check_beside(said, TOKEN_TYPES, ("i32",), tokens.count)
    if types is not None and types.has_bytes and model == _WITHOUT_BYTES:
        raise GgufInvalid(f"{TOKEN_TYPES} tells of bytes, and a vocabulary of the kind {model} has none.")
    merges = said.list(f"{_PREFIX}merges", "str")
    if merges is None and model in _MERGED and said.text(f"{_PREFIX}pre") != _UNMERGED:
        raise GgufInvalid(f"{_PREFIX}merges is missing, which a vocabulary of the kind {model} needs.")
    for key in _CHECKED_IDS:
        found = said.whole(f"{_PREFIX}{key}")
        if found is not None and found != _ABSENT and found >= tokens.count:
            raise GgufInvalid(f"{_PREFIX}{key} is {found}, and there are {tokens.count} tokens.")
    if model in _DEFAULTS:
        _check_ends(said, _DEFAULTS[model], tokens.count)
    if is_model and model == _BY_BYTES:
        _check_bytes(tokens)
    return tokens.count


def _check_bytes(tokens: List) -> None:
    for byte in range(256):
        name = b"<0x%02X>" % byte
        if not is_among(name, tokens.hashes) and not is_among(bytes([byte]), tokens.hashes):
            raise GgufInvalid(f"{TOKENS} has none for the byte {name.decode()}, which any text may have.")


def _check_beside(said: Entries, key: str, kinds: tuple[str, ...], tokens: int) -> List | None:
    """A list that has something to say of each token. llama.cpp takes longer ones, and reads no further."""
    values = said.list(key, *kinds)
    if values is not None and values.count < tokens:
        raise GgufInvalid(f"{key} has {values.count} numbers for {tokens} tokens.")
    return values


def _check_ends(said: Entries, defaults: _Defaults, tokens: int) -> None:
    """Whether what is put around every text is there: llama.cpp ends the process when it is to add what is not."""
    for name, default, adds in (("bos", defaults.bos, defaults.adds_bos), ("eos", defaults.eos, defaults.adds_eos)):
        told = said.truth(f"{_PREFIX}add_{name}_token")
        if adds if told is None or (defaults.always_adds and adds) else told:
            _check_there(said, f"{_PREFIX}{name}_token_id", default, tokens)
    if defaults.sep is not None:
        _check_there(said, f"{_PREFIX}seperator_token_id", defaults.sep, tokens)


def _check_there(said: Entries, key: str, default: int | None, tokens: int) -> None:
    told = said.whole(key)
    if (told is None or told >= tokens) and (default is None or default >= tokens):
        usual = "" if default is None else f", and of {tokens} tokens none is the usual one, {default}"
        number = "missing" if told is None else told
        raise GgufInvalid(f"{key} is {number}{usual}: the tokenizer is to add it to every text.")
