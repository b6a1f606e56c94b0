"""Whether the llama.cpp that is installed here can know what to do with a sound file, by the names that it uses.

What came later than this edged is refused before any process is started, with a way out. Names that are known are no
promise: llama.cpp may still refuse a file, with its own sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from edged.gguf.known import ARCHITECTURES, CUTS, TOKENIZERS, VERSION
from edged.gguf.reading import shown

_TOKENIZER, _CUT = "tokenizer.ggml.model", "tokenizer.ggml.pre"
# The one kind of vocabulary for which llama.cpp asks how a text is cut, and has no answer of its own.
_IS_CUT = ("gpt2", "hybriddna", "whitespace")
_MOST_NEAR = 3


def unsupported(architecture: str, entries: Mapping[str, object]) -> str:
    """Why this llama.cpp cannot load a model with these entries, as a clause; empty where nothing speaks against it."""
    tokenizer, cut = entries.get(_TOKENIZER), entries.get(_CUT)
    if architecture and architecture not in ARCHITECTURES:
        return unknown(f"it is of the architecture {shown(architecture)}", architecture, ARCHITECTURES)
    if isinstance(tokenizer, str) and tokenizer not in TOKENIZERS:
        return unknown(f"its tokenizer is of the kind {shown(tokenizer)}", tokenizer, TOKENIZERS)
    if isinstance(cut, str) and cut and tokenizer in _IS_CUT and cut not in CUTS:
        return unknown(f"its tokenizer cuts texts as {shown(cut)} does", cut, CUTS)
    return ""


def unknown(what: str, name: str = "", known: Iterable[str] = ()) -> str:
    """The clause about something that this llama.cpp does not know, with the nearest that it does."""
    near = get_close_matches(name, sorted(known), _MOST_NEAR)
    nearest = f"; the nearest that it knows: {', '.join(near)}" if near else ""
    return (
        f"{what}, which the llama.cpp of this edged (llama-cpp-python {VERSION}) does not know{nearest}. Update edged, "
        "or use a model that it knows."
    )
