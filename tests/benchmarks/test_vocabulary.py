"""What the vocabularies of the engine's source package say is read as it was meant."""

from __future__ import annotations

import pytest

from benchmarks import vocabulary


@pytest.mark.parametrize(
    ("token", "expected"),
    [("Ġthe", True), ("é", False), ("Ã©", True), ("ä½łå¥½", True), ("ä½", False), ("▁the", True), ("Ċ", True)],
)
def test_a_part_of_a_character_is_told_from_whole_ones(token: str, expected: bool) -> None:
    assert vocabulary.is_whole(token) is expected
