"""A name is one step of a path whatever stands in it, and nothing but names are names."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import InvalidRequest
from edged.store import names

STEPS = st.builds("{}{}".format, st.sampled_from("aZ09"), st.text("bY18._-", max_size=12))
NAMES = st.builds(
    lambda steps, tag: "/".join(steps) + "".join(f":{tag}" for tag in tag),
    st.lists(STEPS, min_size=1, max_size=4),
    st.lists(STEPS, max_size=1),
).filter(lambda name: ".." not in name)


@settings(deadline=None)
@given(NAMES)
def test_every_name_has_a_file_of_its_own_in_the_folder(name: str) -> None:
    names.check(name, "model")
    file = names.record_file(name)

    assert names.name_of(file) == name
    assert PurePosixPath(file).parts == (file,)
    assert len(file.encode()) <= 255
    assert not file.startswith(".")


@settings(deadline=None)
@given(st.text())
def test_whatever_is_a_name_is_safe_and_whatever_is_none_is_refused(text: str) -> None:
    if names.is_name(text):
        assert text.isascii()
        assert text.isprintable()
        assert ".." not in text
        assert text[0].isalnum()
        assert len(text) <= 128
    else:
        with pytest.raises(InvalidRequest):
            names.check(text, "model")


@settings(deadline=None)
@given(st.text())
def test_a_file_is_a_record_only_if_it_is_called_as_its_name_is_written(text: str) -> None:
    name = names.name_of(text)
    assert name is None or names.record_file(name) == text


@pytest.mark.parametrize(
    "file", ["a", "a.jsonx", ".json", "%61.json", "a%2fb.json", "..json", "a.json.json.tmp", "%2E%2E.json"]
)
def test_other_files_are_no_records(file: str) -> None:
    assert names.name_of(file) is None
