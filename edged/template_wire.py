"""What the daemon and a template process say to each other: a chat template is a stranger's program.

    daemon ◀─ Started ───────────── template      it is up: what comes now is a stranger's program and has a deadline
           ── Template ──────────▶               the model's chat template; rendering happens where nothing decodes
           ◀─ Compiled | Refused
           ── Render ────────────▶
           ◀─ Rendered | Refused                one of them per Render

Standard library only, as `wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edged.chat import Role, TextPart


@dataclass(frozen=True, slots=True)
class Span:
    """A run of prompt text. Literal text came from a person and is never read as control tokens."""

    text: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a template sees it: a list of parts, though only text has a place in a template today."""

    role: Role
    parts: tuple[TextPart, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """The model's chat template and what it may refer to."""

    source: str
    bos: str
    eos: str
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The template process is up and reads what it is sent."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The template is ready to render."""


@dataclass(frozen=True, slots=True)
class Render:
    """Lay out this conversation and open the assistant's turn."""

    id: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt, with everything that could pass for a control token marked literal where a person typed it."""

    id: int
    prompt: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The template itself objected, or does not compile (then `id` is 0); `message` is its own word."""

    id: int
    message: str


TemplateOrder: TypeAlias = Template | Render
TemplateNews: TypeAlias = Started | Compiled | Rendered | Refused
