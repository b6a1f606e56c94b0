"""What a model can be asked for, by what its file says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edged.chat import MadeFor
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
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
    ],
)
def test_what_a_file_says(made_for: MadeFor, template: str, expected: tuple[str, ...]) -> None:
    header = Gguf(made_for, "llama", {}, template, tensors=Tensors(count=1), has_template=bool(template))

    assert abilities(header) == expected
    if made_for == "words":
        assert abilities(replace(header, fills_gaps=True)) == (*expected, "infill")


def test_a_template_that_is_too_long_to_be_kept_is_one() -> None:
    assert abilities(Gguf("words", "llama", {}, tensors=Tensors(count=1), has_template=True)) == ("completion", "chat")


def test_what_cannot_be_loaded_can_do_nothing() -> None:
    assert abilities(None) == ()
    assert abilities(Gguf("words", "llama", {}, tensors=Tensors(count=1), unsupported="it is new.")) == ()
