"""What is written, when, and how often: flash is not worn for what nobody will miss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.worker.prefixes import Known, Prefix
from edged.worker.stored import WORTH_STORING_TOKENS, Stored
from edged.worker.worth import QUIET_S, RESTED_S, Wish, next_wish, wait_s

LONG = [1 + n % 8 for n in range(1000)]


def known(length: int = 300, **facts: object) -> Prefix:
    """A conversation that nobody runs on."""
    return Prefix(LONG[:length], "ann", length, is_running=False, **facts)  # type: ignore[arg-type]


def stored(length: int, partition: str | None = "ann", **facts: object) -> Stored:
    return Stored(LONG[:length], partition, length, **facts)  # type: ignore[arg-type]


def written(
    one: Known, on_disk: list[Stored] | None = None, *, quiet_s: float = 0.0, is_leaving: bool = False
) -> int | None:
    """How much of a lone prefix is to be written."""
    wish = next_wish([one], on_disk or [], quiet_s=quiet_s, is_leaving=is_leaving)
    return wish.length if wish else None


def test_the_owners_are_written_as_soon_as_it_is_quiet() -> None:
    assert written(known(is_pinned=True), quiet_s=QUIET_S / 2) is None
    assert written(known(is_pinned=True), quiet_s=QUIET_S) == 300


def test_of_what_two_have_begun_with_so_much_is_written_as_they_share() -> None:
    assert written(known(shared=200), quiet_s=QUIET_S) == 200
    assert written(known(shared=WORTH_STORING_TOKENS - 1), quiet_s=QUIET_S) is None


def test_a_conversation_is_written_after_a_rest_and_only_if_it_was_gone_on_with() -> None:
    assert written(known(resumed=1), quiet_s=RESTED_S - 1) is None
    assert written(known(resumed=1), quiet_s=RESTED_S) == 300
    assert written(known(), quiet_s=3600.0) is None


def test_before_the_end_everything_is_worth_it_that_takes_long_to_read() -> None:
    assert written(known(), is_leaving=True) == 300
    assert written(known(WORTH_STORING_TOKENS - 1), is_leaving=True) is None


def test_what_is_on_disk_is_not_written_again() -> None:
    for facts in ({"is_pinned": True}, {"resumed": 1}, {"shared": 300}):
        on_disk = [stored(300, is_pinned="is_pinned" in facts)]
        assert written(known(**facts), on_disk, quiet_s=3600.0) is None
        assert written(known(**facts), on_disk, is_leaving=True) is None


def test_another_accounts_file_is_none_for_this_one_and_a_private_one_none_for_everybody() -> None:
    assert written(known(), [stored(300, "ben")], is_leaving=True) == 300
    assert written(known(), [stored(300, None, is_pinned=True)], is_leaving=True) is None
    assert written(known(is_pinned=True), [stored(300)], is_leaving=True) == 300


def test_a_conversation_that_grew_is_written_anew_only_when_it_grew_by_half_or_before_the_end() -> None:
    assert written(known(440, resumed=3), [stored(300)], quiet_s=RESTED_S) is None
    assert written(known(450, resumed=3), [stored(300)], quiet_s=RESTED_S) == 450
    assert written(known(300 + WORTH_STORING_TOKENS), [stored(300)], is_leaving=True) == 300 + WORTH_STORING_TOKENS


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_all_files_of_a_conversation_are_at_most_three_times_its_length(turns: list[int]) -> None:
    tokens, on_disk, written_tokens = 0, list[Stored](), 0
    for turn in turns:
        tokens += turn
        talk = Prefix([1] * tokens, "ann", tokens, resumed=1, is_running=False)
        if wish := next_wish([talk], on_disk, quiet_s=RESTED_S):
            written_tokens += wish.length
            on_disk = [Stored([1] * wish.length, "ann", wish.length)]

    assert written_tokens <= 3 * tokens


def test_the_owners_come_first_then_the_last_used_and_nobody_who_runs_or_was_refused() -> None:
    old, new, owners = known(used=1), known(used=2), known(used=0, is_pinned=True)
    running = Prefix(LONG, "ann", 300, used=9, is_running=True)
    everybody = [old, running, owners, new]

    refused: list[Known] = []
    for expected in (owners, new, old):
        wish = next_wish(everybody, [], quiet_s=0.0, is_leaving=True, refused=refused)
        assert wish == Wish(expected, 300)
        refused.append(expected)
    assert next_wish(everybody, [], quiet_s=0.0, is_leaving=True, refused=refused) is None


def test_it_says_when_it_may_think_otherwise() -> None:
    assert wait_s(0.0) == QUIET_S
    assert wait_s(QUIET_S) == RESTED_S - QUIET_S
    assert wait_s(RESTED_S) is None
