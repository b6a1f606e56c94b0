"""What may fit has the model's own ids; what cannot fit is known to be too long before it has cost much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.model import Model
from edged.worker.piecewise import PIECE_CHARACTERS, Piecewise
from edged.worker.prompt import Control


@dataclass
class Pairs:
    """Two equal characters in a row are one token; it remembers how long the texts were that it was given."""

    bos: int | None = None
    controls: Mapping[str, Control] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        self.asked.append(len(text))
        ids, at = [], 0
        while at < len(text):
            length = 2 if text[at : at + 1] == text[at + 1 : at + 2] else 1
            ids.append(ord(text[at]) * length)
            at += length
        return ids


@given(st.integers(0, 60_000), st.integers(1, 30_000), st.sampled_from(["a", "ab", "aab"]))
def test_exact_where_it_fits_and_too_long_where_not(characters: int, most_tokens: int, piece: str) -> None:
    text = (piece * characters)[:characters]
    exact = Pairs().tokenize(text, parse_special=False)

    found = Piecewise(Pairs(), most_tokens).tokenize(text, parse_special=False)

    assert found == exact or (len(found) > most_tokens and len(exact) > most_tokens)


def test_what_cannot_fit_is_never_read_whole() -> None:
    vocabulary = Pairs()

    found = Piecewise(vocabulary, 4096).tokenize("ab" * 100_000, parse_special=False)

    assert len(found) == 200_000
    assert max(vocabulary.asked) == PIECE_CHARACTERS


@pytest.mark.parametrize("name", ["phi-3", "qwen2", "bert-bge"])
@pytest.mark.parametrize("piece", ["word ", "x", " ", "\n", "😀"], ids=ascii)
def test_real_vocabularies_agree(name: str, piece: str, vocabulary_of: Callable[[str], Model]) -> None:
    model, text = vocabulary_of(name), piece * (40_000 // len(piece))
    exact = model.tokenize(text, parse_special=False)

    assert Piecewise(model, len(exact)).tokenize(text, parse_special=False) == exact
    longer = Piecewise(model, len(exact) // 2).tokenize(text, parse_special=False)
    assert len(longer) > len(exact) // 2 or not exact
    assert abs(len(longer) - len(exact)) <= 32
