"""What is proposed is what followed the longest, latest place that agrees, found without reading the text again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.worker.lookup import LONGEST_MATCH_TOKENS, SHORTEST_MATCH_TOKENS, Lookup

# Few different tokens, so that they repeat.
texts = st.lists(st.integers(0, 3), max_size=60)


def agreement(text: list[int], place: int) -> int:
    """How many tokens before `place` are those at the end."""
    count = 0
    while count < place and count < LONGEST_MATCH_TOKENS and text[place - 1 - count] == text[len(text) - 1 - count]:
        count += 1
    return count


@given(texts, st.integers(1, 8))
def test_a_proposal_goes_on_where_the_text_agrees_furthest_back(text: list[int], most: int) -> None:
    proposed, matched = Lookup(text).propose(most)

    places = {place: agreement(text, place) for place in range(1, len(text))}
    found = {place: count for place, count in places.items() if count >= SHORTEST_MATCH_TOKENS}
    assert bool(proposed) == bool(found)
    if found:
        latest = sorted(found, reverse=True)[:16]  # as many places as are compared
        best = max(latest, key=lambda place: found[place])
        assert matched == found[best]
        going_on = text[:]
        for index in range(most):
            going_on.append(going_on[best + index])
        assert proposed == going_on[len(text) :]


@given(texts, texts, st.integers(1, 8))
def test_growing_changes_nothing(begun: list[int], more: list[int], most: int) -> None:
    text = list(begun)
    growing = Lookup(text)
    for token in more:
        growing.propose(most)
        text.append(token)

    assert growing.propose(most) == Lookup(text).propose(most)


def test_what_the_caller_expects_is_looked_up_as_well_and_never_across_its_end() -> None:
    assert Lookup([9, 1, 2, 3], [1, 2, 3, 4, 5]).propose(8) == ([4, 5], 3)
    assert Lookup([3, 4, 1, 2, 3], [1, 2]).propose(8) == ([], 0)


def test_what_repeats_itself_is_proposed_to_go_on_so() -> None:
    assert Lookup([7, 1, 2, 1, 2, 1, 2]).propose(5) == ([1, 2, 1, 2, 1], 4)


def test_a_text_too_short_proposes_nothing() -> None:
    assert [Lookup([1] * count).propose(4) for count in range(4)] == [([], 0)] * 4
