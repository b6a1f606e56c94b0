"""What may be forgotten is no error when it is: it is told, and everybody goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edged import remembered
from edged.checked import reader


@dataclass(frozen=True)
class Fact:
    """Something that was found out."""

    count: int


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "facts.json"
    remembered.write(file, Fact(5), "nobody knows")

    assert remembered.read(file, reader(Fact), None) == Fact(5)


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '{"count": "5"}', "[" * 100_000, '{"count": 5, "more": 1}'])
def test_what_is_damaged_is_nothing_and_told(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "facts.json"
    file.write_text(text)

    assert remembered.read(file, reader(Fact), None) is None
    assert f"{file} is not used and will be written anew" in caplog.text


def test_what_was_never_found_out_is_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert remembered.read(tmp_path / "facts.json", reader(Fact), None) is None
    assert not caplog.text


def test_what_the_disk_does_not_take_is_told_with_what_comes_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("in the way")
    remembered.write(tmp_path / "cache" / "facts.json", Fact(5), "it is counted again")

    assert "cannot be written, so it is counted again" in caplog.text
