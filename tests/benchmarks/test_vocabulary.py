"""What the vocabularies of the engine's source package say is read as it was meant."""

from __future__ import annotations

import pytest

from benchmarks import vocabulary


@pytest.mark.parametrize(
    ("token", "expected"),
    [("Ġthe", True), ("▁the", True), ("the", False), ("Ġ", False), ("Ġä½", False), ("Ġ12", False), ("<|end|>", False)],
)
def test_a_word_is_told_from_parts_numbers_and_controls(token: str, expected: bool) -> None:
    assert vocabulary.is_word(token) is expected
