"""What a model can be asked for, as its file says: what it was made for, and what its chat template speaks of."""

from __future__ import annotations

import re

from edged.chat import Ability, MadeFor
from edged.speech.families import family_of

# What a template mentions that was written for a model with tools, as Ollama looks for it (server/images.go there).
_TOOLS = re.compile(r"\btools\b")


def abilities(made_for: MadeFor | None, template: str) -> tuple[Ability, ...]:
    """None of a file that is unreadable or only a part of a model."""
    if made_for == "vectors":
        return ("embeddings",)
    if made_for == "scores":
        return ("rerank",)
    if made_for != "words":
        return ()
    able: list[Ability] = ["completion"]
    if template:
        able.append("chat")
    if _TOOLS.search(template):
        able.append("tools")
    if family_of(template).first_thought:
        able.append("reasoning")
    return tuple(able)
