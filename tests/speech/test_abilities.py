"""What a model can be asked for, by what its file says."""

from __future__ import annotations

import pytest

from edged.chat import MadeFor
from edged.speech.abilities import abilities


@pytest.mark.parametrize(
    ("made_for", "template", "expected"),
    [
        ("words", "", ("completion",)),
        ("words", "{{ messages }}", ("completion", "chat")),
        ("words", "{{ messages }}{{ tools }}", ("completion", "chat", "tools")),
        ("words", "{{ messages }}{{ mytools }}</think>", ("completion", "chat", "reasoning")),
        ("vectors", "{{ tools }}", ("embeddings",)),
        ("scores", "", ("rerank",)),
        ("part", "{{ messages }}", ()),
        (None, "", ()),
    ],
)
def test_what_a_file_says(made_for: MadeFor | None, template: str, expected: tuple[str, ...]) -> None:
    assert abilities(made_for, template) == expected
