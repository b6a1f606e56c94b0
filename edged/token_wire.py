"""What the daemon asks a worker about texts and tokens: questions that take no place on it.

    daemon ── Count | Tokenize | Detokenize ──▶ worker
           ◀─ Counted | Tokenized | Detokenized        one of them per question

Standard library only, as `wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edged.template_wire import Span


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens are these prompts? Each is counted for itself, as if it were the whole."""

    id: int
    prompts: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """The lengths that `Count` asked for, in its order."""

    id: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Cut `text` into tokens."""

    id: int
    text: str
    parses_special: bool
    adds_special: bool
    with_pieces: bool


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The tokens, and the bytes of each where they were asked for."""

    id: int
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Detokenize:
    """Say what these tokens are; every one of them is in the vocabulary."""

    id: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Detokenized:
    """Their bytes, one after the other."""

    id: int
    text: bytes


TokenOrder: TypeAlias = Count | Tokenize | Detokenize
TokenNews: TypeAlias = Counted | Tokenized | Detokenized
