"""Whether a model was trained to fill a gap in a text: its vocabulary has a token for each place around one.

llama.cpp looks for the ids that a file names, and else for texts that are known for it (`llama_vocab::impl::load` in
src/llama-vocab.cpp). All three are needed: before what is in front of the gap, behind it, and where the answer begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from edged.gguf.entries import is_among

PLACES = 3
# Of each place, the texts of its token.
_TEXTS = (
    ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>"),
    ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>"),
    ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>"),
)
# The same for all places but for a word.
_FORMS = ("<{}>", "▁<{}>"), ("<|code_{}|>", "<|{}|>")
_WORDS = ("PRE", "prefix"), ("SUF", "suffix"), ("MID", "middle")
_PREFIX = "tokenizer.ggml."
# Of each place, the entries that name its token; the later ones are older.
KEYS = tuple(
    (f"{_PREFIX}fim_{short}_token_id", f"{_PREFIX}{long}_token_id")
    for short, long in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle"))
)


def places(hashes: Sequence[int]) -> frozenset[int]:
    """The places of which a token is among those with these `hashes`, in their order."""
    return frozenset(place for place in range(PLACES) if any(is_among(text.encode(), hashes) for text in _texts(place)))


def is_whole(named: Collection[int], found: Collection[int]) -> bool:
    """Whether every place has a token, one that is `named` or one that was `found`."""
    return len({*named, *found}) == PLACES


def _texts(place: int) -> Iterator[str]:
    yield from _TEXTS[place]
    for word, forms in zip(_WORDS[place], _FORMS, strict=True):
        yield from (form.format(word) for form in forms)
