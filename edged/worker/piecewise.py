"""A text that cannot fit is counted in pieces: some tokenizers need the square of a text's length.

Phi-3's vocabulary took 0.05 s for 32 KiB of line breaks, 1.9 s for 128 KiB and 103 s for a mebibyte (llama-cpp-python
0.3.36, x86-64, loaded machine). Cut into pieces the same mebibyte is known to be a million tokens in two seconds, and
nobody needs its exact ids: it will be refused. What may fit is read whole, so that its ids are the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edged.worker.prompt import Control

PIECE_CHARACTERS = 8192
# Up to here the worst vocabulary takes a twentieth of a second; ordinary prompts need not be read twice.
WHOLE_CHARACTERS = 32 * 1024
# What a cut may add: at most the pieces of one long token on both sides of it, 128 blanks in Qwen's vocabulary.
_CUT_TOKENS = 16


class Vocabulary(Protocol):
    """What `Model` offers to those who turn text into tokens."""

    @property
    def bos(self) -> int | None: ...

    @property
    def controls(self) -> Mapping[str, Control]: ...

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]: ...


class Piecewise:
    """A `Tokenizer` for texts of which at most `most_tokens` can be used.

    The ids of a longer text may differ from the model's own around the cuts; there are more than `most_tokens` of them.
    """

    def __init__(self, vocabulary: Vocabulary, most_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._most_tokens = most_tokens

    @property
    def bos(self) -> int | None:
        """The token that every prompt of this model begins with, or None."""
        return self._vocabulary.bos

    @property
    def controls(self) -> Mapping[str, Control]:
        """Control tokens by their text."""
        return self._vocabulary.controls

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        """Ids of `text`, exact where they may fit."""
        if len(text) > WHOLE_CHARACTERS:
            ids = self._in_pieces(text, parse_special=parse_special)
            cuts = -(-len(text) // PIECE_CHARACTERS) - 1
            if len(ids) - cuts * _CUT_TOKENS > self._most_tokens:
                return ids
        return self._vocabulary.tokenize(text, parse_special=parse_special, add_special=add_special)

    def _in_pieces(self, text: str, *, parse_special: bool) -> list[int]:
        pieces = (text[at : at + PIECE_CHARACTERS] for at in range(0, len(text), PIECE_CHARACTERS))
        return [id for piece in pieces for id in self._vocabulary.tokenize(piece, parse_special=parse_special)]
