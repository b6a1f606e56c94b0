"""What may be taken over, and whose tokens go first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.worker.prefixes import Cells, Prefix, common, first_to_go, is_covered, longest

tokens = st.lists(st.integers(0, 2), max_size=12)


def prefix(
    held: list[int], partition: str | None = "ann", *, used: int = 0, is_running: bool = True, is_pinned: bool = False
) -> Prefix:
    return Prefix(held, partition, len(held), used=used, is_running=is_running, is_pinned=is_pinned)


holders = st.lists(
    st.builds(prefix, tokens, st.sampled_from(["ann", "ben", None]), used=st.integers(0, 9), is_running=st.booleans())
)


@given(tokens, tokens)
def test_the_common_beginning_is_what_a_naive_search_finds(one: list[int], other: list[int]) -> None:
    most = min(len(one), len(other))

    assert common(one, other, most) == next((n for n in range(most) if one[n] != other[n]), most)


@given(tokens.filter(bool), holders)
def test_a_newcomer_gets_the_longest_beginning_that_it_may_see_and_never_all_of_its_prompt(
    asked: list[int], held: list[Prefix]
) -> None:
    match = longest(asked, "ann", held)
    open_to_ann = [other for other in held if other.partition in ("ann", None)]

    assert match.count == max((common(o.tokens, asked, min(o.length, len(asked) - 1)) for o in open_to_ann), default=0)
    assert (match.source is None) == (match.count == 0)
    if match.source:
        assert match.source in open_to_ann
        assert match.source.tokens[: match.count] == asked[: match.count]


@given(tokens.filter(bool), tokens.filter(bool), holders)
def test_what_is_dropped_as_covered_would_not_have_served_anybody_better(
    one: list[int], other: list[int], askers: list[Prefix]
) -> None:
    small, large = prefix(one), prefix(other)
    if is_covered(small, large):
        for asker in askers:
            if asker.tokens:
                assert longest(asker.tokens, "ann", [large]).count == longest(asker.tokens, "ann", [small, large]).count


def test_an_owners_prefix_is_covered_by_nobody_and_nobodys_by_another_partition() -> None:
    assert not is_covered(prefix([1], None, is_pinned=True), prefix([1, 2]))
    assert not is_covered(prefix([1], "ben"), prefix([1, 2]))
    assert is_covered(prefix([1], "ben"), prefix([1, 2], None))


def test_the_least_recently_used_goes_first_unless_it_runs_or_frees_nothing_and_the_owners_go_last() -> None:
    running = prefix([1], used=0, is_running=True)
    pinned = prefix([2], None, used=1, is_running=False, is_pinned=True)
    shared = prefix([3], used=2, is_running=False)
    old = prefix([4], used=3, is_running=False)
    new = prefix([5], used=4, is_running=False)
    everybody = [new, old, shared, pinned, running]

    def freed_by(held: Prefix) -> int:
        return 0 if held is shared else 1

    assert first_to_go(everybody, freed_by, pinned=True) is old
    assert first_to_go([new, pinned], freed_by, pinned=True) is new
    assert first_to_go([pinned, running], freed_by, pinned=True) is pinned
    assert first_to_go([pinned, running, shared], freed_by, pinned=False) is None


@given(st.lists(st.tuples(st.sampled_from(["new", "share", "drop"]), st.integers(0, 99), st.integers(0, 5))))
def test_cells_are_counted_as_a_list_of_owners_would(steps: list[tuple[str, int, int]]) -> None:
    cells, held = Cells(), list[list[int]]()
    for verb, which, count in steps:
        if verb == "new":
            held.append(list(cells.new(count)))
        elif held and verb == "share":
            held.append(held[which % len(held)][:count])
            cells.share(held[-1])
        elif held:
            mine = held.pop(which % len(held))
            others = {cell for other in held for cell in other}
            assert cells.freed_by(mine) == len(set(mine) - others)
            cells.drop(mine)
        assert len(cells) == len({cell for mine in held for cell in mine})
