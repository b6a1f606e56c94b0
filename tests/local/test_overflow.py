"""Which turns go when a conversation has outgrown the context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Message, Role, TextPart
from edged.local.overflow import KEPT_SHARE, is_too_long, to_drop, turns_of, with_marks

CONTEXT = 1000


def messages(roles: str) -> tuple[Message, ...]:
    names: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    return tuple(Message(names[role], (TextPart(str(index)),)) for index, role in enumerate(roles))


@pytest.mark.parametrize(
    ("roles", "turns"),
    [
        ("u", [(0,)]),
        ("suaua", [(1, 2), (3, 4)]),
        ("suasua", [(1, 2), (4, 5)]),
        ("auau", [(0, 1, 2), (3,)]),
        ("uua", [(0,), (1, 2)]),
        ("uas", [(0, 1)]),
        ("s", []),
    ],
)
def test_a_turn_is_a_users_message_with_the_answers_behind_it(roles: str, turns: list[tuple[int, ...]]) -> None:
    assert list(turns_of(messages(roles)).turns) == turns


def test_whole_turns_go_and_system_messages_stay_where_they_are() -> None:
    conversation = messages("suasuau")
    turns = turns_of(conversation)

    assert turns.without(conversation, 1) == tuple(conversation[index] for index in (0, 3, 4, 5, 6))
    assert (turns.messages_in(1), turns.messages_in(2), turns.most) == (2, 4, 2)


def test_nothing_goes_while_there_is_room() -> None:
    conversation = messages("s" + "ua" * 4 + "u")
    assert to_drop(turns_of(conversation), [80] * len(conversation), CONTEXT) == 0


def test_the_rest_is_at_most_sixty_percent() -> None:
    conversation = messages("s" + "ua" * 5 + "u")
    dropped = to_drop(turns_of(conversation), [80] * len(conversation), CONTEXT)

    assert dropped == 3
    assert 80 * (len(conversation) - 2 * dropped) <= KEPT_SHARE * CONTEXT


sizes = st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=60)


@given(sizes, st.integers(0, 300))
def test_the_last_turn_stays_and_what_remains_fits(pairs: list[tuple[int, int]], system: int) -> None:
    conversation = messages("s" + "ua" * (len(pairs) - 1) + "u")
    counted = [system, *[size for pair in pairs for size in pair]][: len(conversation)]
    turns = turns_of(conversation)

    dropped = to_drop(turns, counted, CONTEXT)

    kept = sum(counted) - sum(counted[index] for turn in turns.turns[:dropped] for index in turn)
    assert dropped <= turns.most
    assert not is_too_long(kept, CONTEXT)


@given(sizes.filter(lambda pairs: len(pairs) > 1))
def test_from_one_turn_to_the_next_the_same_turns_are_left_out_until_a_new_cut(pairs: list[tuple[int, int]]) -> None:
    """A cut leaves room: between two cuts at least the room that the cut made is used up."""
    cuts = []
    for many in range(1, len(pairs) + 1):
        conversation = messages("ua" * (many - 1) + "u")
        counted = [size for pair in pairs for size in pair][: len(conversation)]
        cuts.append(to_drop(turns_of(conversation), counted, CONTEXT))

    assert cuts == sorted(cuts)
    total = sum(size for pair in pairs for size in pair)
    # A cut frees at least 87.5 % - 60 % of the context, less the turn that the cut could not take in half.
    assert len(set(cuts)) - 1 <= total / (CONTEXT * (0.875 - KEPT_SHARE) - 150)


@pytest.mark.parametrize("many", [20, 21, 50, 400])
def test_what_the_template_adds_is_the_same_for_every_message_however_many_there_are(many: int) -> None:
    assert with_marks([10] * many, 10 * many + 4 * many + 5) == [15] * many
