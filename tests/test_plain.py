"""Nothing that a stranger says moves a cursor or begins a line of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.plain import lines, plain


@given(st.text(), st.integers(1, 50))
def test_any_text_becomes_one_printable_line_that_is_no_longer_than_asked(text: str, most: int) -> None:
    shown = plain(text, most)

    assert shown.isprintable()
    assert len(shown) <= most
    assert not (text.isprintable() and len(text) <= most) or shown == text


def test_what_is_obeyed_by_terminals_is_a_space() -> None:
    assert plain("a\x1b[31mb\x9b2Jc\r\nd\u202ee\u2028f") == "a [31mb 2Jc  d e f"
    assert plain("abcdef", 5) == "abcd…"


def test_our_own_line_ends_stay() -> None:
    assert lines("one\ntwo\x1b") == "one\ntwo "
