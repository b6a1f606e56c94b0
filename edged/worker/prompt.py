"""A rendered prompt becomes token ids, and nobody's words become control tokens.

Without literal spans the whole text goes through llama.cpp's tokenizer in one call: the ids are the model's own.
With them we split at the control tokens ourselves, outside the literal spans only, and hand llama.cpp the text between
with special parsing off. That is the partition which llama.cpp makes internally (`tokenizer_st_partition` in
src/llama-vocab.cpp), so text around an attempted injection merges as it would anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from edged.template_wire import Span

# The longest opening of an answer that is looked through for its control token.
_OPENER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Control:
    """A control token, and whether it swallows the white space beside it (LSTRIP, RSTRIP in llama.h)."""

    id: int
    strips_left: bool = False
    strips_right: bool = False


class Tokenizer(Protocol):
    """What is needed of an engine's vocabulary."""

    @property
    def bos(self) -> int | None:
        """The token that every prompt of this model begins with, or None."""
        ...

    @property
    def controls(self) -> Mapping[str, Control]:
        """Control tokens by their text."""
        ...

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Ids of `text`, without a begin token of its own accord."""
        ...


def tokens_of(prompt: Iterable[Span], tokenizer: Tokenizer) -> list[int]:
    """The ids of `prompt`, with the model's begin token in front exactly once."""
    spans = tuple(prompt)
    if any(span.literal for span in spans):
        pieces = split_at_controls(spans, tokenizer.controls)
        ids = [id for piece in pieces for id in _ids(piece, tokenizer)]
    else:
        ids = tokenizer.tokenize("".join(span.text for span in spans), parse_special=True)
    if tokenizer.bos is not None and ids[:1] != [tokenizer.bos]:
        ids.insert(0, tokenizer.bos)
    return ids


def marks_of(tokens: Sequence[int], controls: Collection[int]) -> tuple[int, ...]:
    """Where in a prompt the next turn is likely to part from it: the control token that opens the answer.

    Behind it templates put what history does not repeat, such as the beginning of a thought. Without one near the end,
    before the last token: that may merge with what follows.
    """
    last = len(tokens) - 1
    opener = next((at for at in range(last, max(0, last - _OPENER_TOKENS), -1) if tokens[at] in controls), last)
    return (opener,) if opener > 0 else ()


def split_at_controls(spans: tuple[Span, ...], controls: Mapping[str, Control]) -> list[str | Control]:
    """Plain text and control tokens in order; no control token begins, ends or lies inside a literal span."""
    text = "".join(span.text for span in spans)
    pieces: list[str | Control] = []
    done = 0
    for start, found in _controls_in(text, _literal_mask(spans), controls):
        control = controls[found]
        before = text[done:start]
        pieces += [before.rstrip() if control.strips_left else before, control]
        done = start + len(found)
        if control.strips_right:
            done = len(text) - len(text[done:].lstrip())
    pieces.append(text[done:])
    return [piece for piece in pieces if piece != ""]


def _controls_in(text: str, is_literal: bytearray, controls: Mapping[str, Control]) -> Iterator[tuple[int, str]]:
    """Positions and texts of control tokens in template text, leftmost first and longest first."""
    expression = _expression(frozenset(controls))
    lengths = sorted({len(control) for control in controls}, reverse=True)
    at = 0
    while found := expression.search(text, at):
        at, longest = found.start(), len(found[0])
        free = next(length for length in range(longest, -1, -1) if is_literal.find(1, at, at + length) < 0)
        candidates = (text[at : at + length] for length in lengths if length <= free)
        control = next((candidate for candidate in candidates if candidate in controls), "")
        if control:
            yield at, control
        at += len(control) or 1


@lru_cache(maxsize=1)
def _expression(controls: frozenset[str]) -> re.Pattern[str]:
    """Finds control tokens, the longest at each place. A mebibyte of beginnings of them takes it milliseconds."""
    return re.compile(_tree(sorted(controls)) or r"(?!)")


def _tree(texts: Iterable[str]) -> str:
    """An expression for these texts that looks at each character once; where two match, the longer one is taken."""
    branches: dict[str, list[str]] = {}
    is_end = False
    for text in texts:
        is_end |= not text
        if text:
            branches.setdefault(text[0], []).append(text[1:])
    if not branches:
        return ""
    return f"(?:{'|'.join(re.escape(first) + _tree(rest) for first, rest in branches.items())}){'?' * is_end}"


def _literal_mask(spans: tuple[Span, ...]) -> bytearray:
    mask = bytearray(sum(len(span.text) for span in spans))
    for span, end in zip(spans, accumulate(len(span.text) for span in spans), strict=True):
        if span.literal:
            mask[end - len(span.text) : end] = b"\1" * len(span.text)
    return mask


def _ids(piece: str | Control, tokenizer: Tokenizer) -> list[int]:
    return [piece.id] if isinstance(piece, Control) else tokenizer.tokenize(piece, parse_special=False)
