"""What may be said of an answer, and when: stop strings, split characters, ends."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.completion import TokenLogprob
from edged.worker.prefixes import Prefix
from edged.worker.sequence import Sequence, StopFilter

# A small alphabet makes stop strings overlap with themselves and with each other.
texts = st.text("ab你", max_size=30)
stop_strings = st.lists(st.text("ab你", min_size=1, max_size=5), max_size=4).map(tuple)


def shown(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The naive answer: everything before the stop string that is complete first, the longer of two that end alike."""
    for end in range(len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return text[: min(begins)], True
    return text, False


def chunks(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(texts, stop_strings, st.lists(st.integers(0, 100), max_size=30))
@example("abb", ("abb", "b"), [2])
def test_any_chunking_shows_what_stands_before_the_first_stop_string(
    text: str, stops: tuple[str, ...], cuts: list[int]
) -> None:
    filter = StopFilter(stops)
    said, met = "", False

    for chunk in chunks(text, cuts):
        released, met = filter.push(chunk)
        said += released
        if met:
            break

    assert not any(stop in said for stop in stops), "a stop string was shown"
    assert (said + ("" if met else filter.flush()), met) == shown(text, stops)


def test_it_does_not_matter_which_token_brings_the_stop_string() -> None:
    stops = ("abc", "b")

    assert [StopFilter(stops).push("abc"), StopFilter(stops).push("ab")] == [("a", True), ("a", True)]


def test_character_by_character_equals_the_whole() -> None:
    filter = StopFilter(("END",))

    released = [filter.push(character) for character in "an EN and END"]

    assert "".join(text for text, _ in released) == "an EN and "
    assert [met for _, met in released].index(True) == len(released) - 1


def test_only_what_might_become_a_stop_string_is_held_back() -> None:
    filter = StopFilter(("<end>", "\n\n"))

    assert filter.push("hello <e") == ("hello ", False)
    assert filter.push("lse>\n") == ("<else>", False)
    assert filter.push("x") == ("\nx", False)
    assert filter.flush() == ""


def test_after_a_flush_nothing_is_held() -> None:
    filter = StopFilter(("abc",))
    filter.push("ab")

    assert filter.flush() == "ab"
    assert filter.flush() == ""
    assert filter.push("c") == ("c", False)


def sequence(*, stop: tuple[str, ...] = (), max_tokens: int = 1000) -> Sequence:
    return Sequence(1, [7, 8, 9], 3, max_tokens, StopFilter(stop))


def answer(sequence: Sequence, pieces: list[bytes]) -> str:
    said = ""
    for piece in pieces:
        sequence.accept(1, piece, is_end=False)
        said += sequence.take_said()[0]
        if sequence.finish:
            break
    return said


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.lists(st.integers(0, 100), max_size=20))
def test_a_character_split_at_any_byte_arrives_whole(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    held = sequence()

    said = answer(held, pieces)
    held.accept(0, b"", is_end=True)

    assert said + held.take_said()[0] == text
    assert held.finish == "stop"


@given(st.lists(st.binary(max_size=3), max_size=10))
def test_bytes_that_are_no_text_become_replacement_characters_and_never_fail(pieces: list[bytes]) -> None:
    held = sequence()
    said = answer(held, pieces)
    held.accept(0, b"", is_end=True)

    assert said + held.take_said()[0] == b"".join(pieces).decode(errors="replace")


def test_half_a_character_is_never_shown() -> None:
    held = sequence()

    assert answer(held, ["好".encode()[:2]]) == ""
    assert answer(held, ["好".encode()[2:]]) == "好"


def test_the_last_allowed_token_ends_it_and_releases_what_was_held_back() -> None:
    held = sequence(stop=("STOP",), max_tokens=2)

    assert answer(held, [b"well ", b"ST"]) == "well ST"
    assert held.finish == "length"
    assert held.generated == 2


def test_a_half_character_at_a_length_end_is_replaced_not_lost() -> None:
    held = sequence(max_tokens=1)

    assert answer(held, ["好".encode()[:2]]) == "�"
    assert held.finish == "length"


def test_the_end_token_releases_what_was_held_back() -> None:
    held = sequence(stop=("STOP",))
    answer(held, [b"ST"])

    held.accept(0, b"ignored", is_end=True)

    assert held.take_said() == ("ST", 1)
    assert held.finish == "stop"


def test_a_stop_string_met_with_the_last_allowed_token_is_a_stop() -> None:
    held = sequence(stop=("STOP",), max_tokens=2)

    assert answer(held, [b"a ST", b"OP b"]) == "a "
    assert held.finish == "stop"


def test_a_stop_string_that_only_completes_in_the_split_character_is_met() -> None:
    held = sequence(stop=("你好",))

    assert answer(held, ["a你".encode(), "好".encode()[:1], "好".encode()[1:]]) == "a"
    assert held.finish == "stop"


def test_text_is_taken_once_with_the_tokens_it_took() -> None:
    held = sequence()
    for piece in (b"a", b"b"):
        held.accept(1, piece, is_end=False)

    assert held.take_said() == ("ab", 2)
    assert held.take_said() == ("", 0)


def test_pending_counts_what_memory_does_not_hold() -> None:
    held = sequence()
    assert [held.pending, held.is_decoding, held.generated] == [3, False, 0]

    held.place = Prefix(held.tokens, "", length=3)
    held.accept(1, b"a", is_end=False)
    assert [held.pending, held.is_decoding, held.generated] == [1, True, 1]

    held.place = None
    assert [held.pending, held.is_decoding] == [4, False]


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_nothing_ends_before_its_time(finish: str) -> None:
    held = sequence(max_tokens=1 if finish == "length" else 2)
    assert held.finish is None

    held.accept(1, b"a", is_end=finish == "stop")

    assert held.finish == finish


@given(texts, stop_strings, st.lists(st.integers(0, 100), max_size=30))
@example("你a", ("a",), [1, 2])
def test_scores_make_the_text_however_characters_and_stop_strings_are_cut(
    text: str, stops: tuple[str, ...], cuts: list[int]
) -> None:
    data = text.encode()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    sequence = Sequence(1, [1], 1, len(pieces), StopFilter(stops))
    said = ""
    scores: list[TokenLogprob] = []

    for piece in pieces:
        sequence.accept(2, piece, is_end=False, score=TokenLogprob(piece, -1.0))
        said += sequence.take_said()[0]
        scores += sequence.take_scores()
        told = b"".join(score.piece for score in scores)
        assert told.startswith(said.encode()) or sequence.finish
        if sequence.finish:
            break

    assert b"".join(score.piece for score in scores).startswith(said.encode())
    if sequence.finish == "length":
        assert [score.piece for score in scores] == pieces
    else:
        last = len(scores[-1].piece) if scores else 0
        told_bytes = sum([len(score.piece) for score in scores])
        assert told_bytes - last <= len(said.encode())


def test_an_end_token_is_not_scored() -> None:
    sequence = Sequence(1, [1], 1, 9, StopFilter(()))

    sequence.accept(2, b"a", is_end=False, score=TokenLogprob(b"a", -1.0))
    sequence.accept(3, b"", is_end=True, score=TokenLogprob(b"", -2.0))

    assert sequence.take_scores() == (TokenLogprob(b"a", -1.0),)


def test_a_control_token_is_text_only_where_it_is_a_marker() -> None:
    score = TokenLogprob(b"", -1.0)
    sequence = Sequence(1, [7], 1, 10, StopFilter(()), shown={5: b"[TOOL_CALLS]"})

    for token, piece in ((4, b""), (5, b""), (6, b"f")):
        sequence.accept(token, piece, is_end=False, score=score)

    assert sequence.take_said() == ("[TOOL_CALLS]f", 3)
    assert [score.piece for score in sequence.take_scores()] == [b"", b"[TOOL_CALLS]", b"f"]


def test_a_marker_that_ends_the_turn_still_ends_it() -> None:
    sequence = Sequence(1, [7], 1, 10, StopFilter(()), shown={5: b"<|call|>"})

    sequence.accept(5, b"", is_end=True)

    assert (sequence.finish, sequence.take_said()) == ("stop", ("", 1))


def test_how_far_a_prompt_is_read_is_told_where_it_was_asked_for_and_never_twice() -> None:
    for tells in (True, False):
        reading = Sequence(1, [1, 2, 3, 4], 4, 9, StopFilter(()))
        reading.tells_progress = tells
        told = []
        for length in (2, 2, 4):
            reading.place = Prefix([1, 2, 3, 4], "", length)
            if reading.has_news:
                told.append(reading.take_news().read_tokens)
        assert told == ([2, 4] if tells else [])
