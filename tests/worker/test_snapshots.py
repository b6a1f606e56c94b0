"""What is kept outside of the cells stays within its budget, and the right ones stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.worker.prefixes import Prefix, Snapshot
from edged.worker.snapshots import MOST_CUTS, Snapshots, thinned


def snapshot(name: int, size: int, *, used: int = 0, is_pinned: bool = False) -> Snapshot:
    return Snapshot([name], "ann", 1, is_pinned=is_pinned, used=used, state=bytes(size))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=20), st.integers(0, 100))
def test_the_budget_is_kept_and_the_latest_fit_first(added: list[tuple[int, int]], budget: int) -> None:
    snapshots = Snapshots(budget)

    for name, (size, used) in enumerate(added):
        fits = snapshots.make_room(size, [])
        assert fits == (size <= budget)
        if fits:
            before = {kept.used for kept in snapshots}
            snapshots.add(snapshot(name, size, used=used))
            assert before <= {kept.used for kept in snapshots} | {used}
        assert sum(len(kept.state) for kept in snapshots) <= budget


def test_the_least_recently_used_goes_first_and_the_owners_last() -> None:
    snapshots = Snapshots(30)
    for name, used, is_pinned in ((1, 0, True), (2, 2, False), (3, 1, False)):
        snapshots.add(snapshot(name, 10, used=used, is_pinned=is_pinned))

    left = []
    for wanted in (10, 20, 30):
        snapshots.make_room(wanted, [])
        left.append([kept.tokens[0] for kept in snapshots])

    assert left == [[1, 2], [1], []]


def test_checkpoints_go_after_all_states_and_count_once_where_they_are_shared() -> None:
    part = bytes(10)
    old, new = (Prefix([1, 2], "ann", 2, {1: part}, used=used) for used in (1, 2))
    snapshots = Snapshots(30)
    snapshots.add(snapshot(1, 10))

    assert snapshots.make_room(10, [old, new])
    assert [len(list(snapshots)), old.cuts, new.cuts] == [1, {1: part}, {1: part}]
    assert snapshots.make_room(20, [old, new])
    assert [len(list(snapshots)), old.cuts, new.cuts] == [0, {1: part}, {1: part}]
    assert snapshots.make_room(25, [old, new])
    assert [old.cuts, new.cuts] == [{}, {}]


def test_a_longer_state_of_the_same_conversation_replaces_the_shorter_and_needs_room_only_once() -> None:
    snapshots = Snapshots(10)
    snapshots.add(Snapshot([1], "ann", 1, state=b"short", used=1))
    other = Snapshot([1], "ben", 1, state=b"other", used=1)
    snapshots.add(other)
    going = Prefix([1, 2], "ann", 2)

    assert not snapshots.has_room(5, instead=[])
    assert snapshots.has_room(5, instead=[going])
    assert snapshots.make_room(5, [], instead=[going])
    assert list(snapshots) == [other]
    assert not snapshots.has(Prefix([1], "ann", 1))
    assert snapshots.has(Prefix([1], "ben", 1))


@given(st.sets(st.integers(1, 99)))
def test_thinning_keeps_the_first_and_the_last(cuts: set[int]) -> None:
    kept = thinned(cuts)

    assert kept == sorted(kept)
    assert len(kept) == min(len(cuts), MOST_CUTS)
    assert set(kept) <= cuts
    if cuts:
        assert {min(cuts), max(cuts)} <= set(kept)
