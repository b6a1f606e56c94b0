"""What a model can be asked for, as its file says: what it was made for, what its chat template speaks of, and which
tokens it has.

Seeing is nobody's ability yet: a model sees with a projector, which is a file of its own and is not loaded here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edged.chat import Ability
from edged.gguf.header import Gguf
from edged.speech.families import family_of

# What a template mentions that was written for a model with tools, as Ollama looks for it (server/images.go there).
_TOOLS = re.compile(r"\btools\b")


def abilities(header: Gguf | None) -> tuple[Ability, ...]:
    """None of a file that is unreadable, only a part of a model, or not supported."""
    if header is None or header.problem:
        return ()
    if header.made_for == "vectors":
        return ("embeddings",)
    if header.made_for == "scores":
        return ("rerank",)
    able: list[Ability] = ["completion"]
    if header.has_template:
        able.append("chat")
    able += _of_template(header.template)
    if header.fills_gaps:
        able.append("infill")
    return tuple(able)


@lru_cache(maxsize=64)  # asked for every request, of the few templates that are installed
def _of_template(template: str) -> tuple[Ability, ...]:
    tools: tuple[Ability, ...] = ("tools",) if _TOOLS.search(template) else ()
    return (*tools, "reasoning") if family_of(template).first_thought else tools
