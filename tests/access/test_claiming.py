"""One gets in by a code, whoever types at the same time; a browser that knocks gets what an owner says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.access import pairing
from edged.access.claiming import Claiming
from edged.errors import DiskFull, Forbidden, InvalidRequest, NotFound, RateLimited
from tests.access.home import Home, home

PRINTED = "7K2M-QX9D"
WRONG = "0000-0000"


def claiming(box: Home, *, preset: bool = False, issue_file: Path | None = None) -> Claiming:
    return Claiming(box.access, pairing.preset_hash(PRINTED) if preset else None, issue_file, box.clock)


async def entered(codes: Claiming, typed: Sequence[str]) -> list[object]:
    """What each gets who types at the same time: a user, or how it was refused."""
    found = await asyncio.gather(*(codes.enter(text, "", "") for text in typed), return_exceptions=True)
    return [type(each) if isinstance(each, BaseException) else each[0] for each in found]


async def test_the_code_on_the_console_makes_an_owner_and_is_gone(
    box: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issue_file = tmp_path / "edged.issue"
    codes = claiming(box, issue_file=issue_file)
    await codes.show()
    code = issue_file.read_text().split()[-1]
    assert code in caplog.text

    user, issued = await codes.enter(code, "Ada", "a laptop")
    assert (user.name, user.role, box.who(issued.text).user) == ("Ada", "owner", user)
    assert issue_file.read_text() == ""
    assert await entered(codes, [code]) == [Forbidden]
    await codes.show()
    assert issue_file.read_text() == ""


async def test_a_console_that_cannot_be_written_does_not_hinder_a_claim(
    box: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    codes = claiming(box, issue_file=tmp_path / "file" / "issue")
    await codes.show()
    assert "the console shows no code" in caplog.text
    await codes.enter(caplog.text.split("the code ")[1][:9], "Ada", "")
    assert box.access.is_claimed


async def test_a_page_that_is_opened_often_shows_one_code(box: Home, caplog: pytest.LogCaptureFixture) -> None:
    codes = claiming(box)
    for _ in range(5):
        await codes.show()
    assert caplog.text.count("enter the code") == 1
    box.clock.now_s += 601
    await codes.show()
    assert caplog.text.count("enter the code") == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=st.lists(st.sampled_from(["right", "other", "wrong"]), min_size=2, max_size=12))
def test_of_all_who_type_a_code_at_the_same_time_exactly_one_gets_in(tmp_path: Path, typed: list[str]) -> None:
    with home(tmp_path / f"{len(list(tmp_path.iterdir()))}.db") as box:
        codes = claiming(box)
        text = {"right": codes.new_code("owner"), "other": codes.new_code("guest"), "wrong": WRONG}
        found = asyncio.run(entered(codes, [text[each] for each in typed]))

    first_pause = next((at for at in range(len(typed)) if typed[: at + 1].count("wrong") >= 5), math.inf)
    for name in ("right", "other"):
        winners = [at for at, each in enumerate(typed) if each == name and not isinstance(found[at], type)]
        assert len(winners) <= 1
        if name in typed and typed.index(name) < min(first_pause, 4):
            assert winners == [typed.index(name)]
    assert all(each in (Forbidden, RateLimited) for each in found if isinstance(each, type))


async def test_a_hundred_who_guess_at_the_same_time_have_five_tries_and_as_many_slow_hashes(
    box: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, hashes = claiming(box, preset=True), list[str]()
    hashed = pairing.preset_digest

    def counted(typed: str, salt: bytes) -> bytes:
        hashes.append(typed)
        return hashed(typed, salt)

    monkeypatch.setattr(pairing, "preset_digest", counted)
    found = await entered(codes, [WRONG] * 100)
    assert (found, len(hashes)) == ([Forbidden] * 5 + [RateLimited] * 95, 5)


async def test_of_many_who_type_the_printed_code_one_owns_the_device(box: Home) -> None:
    found = await entered(claiming(box, preset=True), [PRINTED] * 4)
    assert (len(box.access.users), found.count(Forbidden)) == (1, 3)


async def test_a_printed_code_never_expires_and_only_pauses(box: Home) -> None:
    codes = claiming(box, preset=True)
    box.clock.now_s += 1e8
    for _ in range(3):
        await entered(codes, [WRONG] * 5)
        assert await entered(codes, [PRINTED]) == [RateLimited]
        box.clock.now_s += 3600
    await codes.enter(PRINTED.lower(), "Ada", "")
    assert box.access.is_claimed


async def test_a_printed_code_ends_when_the_device_was_claimed_by_another(box: Home) -> None:
    codes = claiming(box, preset=True)
    await codes.enter(codes.new_code("owner"), "Ada", "")
    assert await entered(codes, [PRINTED]) == [Forbidden]
    assert await entered(claiming(box, preset=True), [PRINTED]) == [Forbidden]


async def test_of_a_shown_and_the_printed_code_at_the_same_time_one_claims(box: Home) -> None:
    codes = claiming(box, preset=True)
    found = await entered(codes, [codes.new_code("owner"), PRINTED])
    assert (len(box.access.users), found[1]) == (1, Forbidden)


async def test_what_is_no_code_uses_up_no_try(box: Home) -> None:
    codes = claiming(box)
    code = codes.new_code("owner")
    assert set(await entered(codes, ["", "7K2M", "x" * 1000, "UUUU-UUUU"] * 3)) == {InvalidRequest}
    await codes.enter(code, "Ada", "")


async def test_on_a_full_disk_the_code_is_out_again(box: Home) -> None:
    for codes, code in ((claiming(box, preset=True), PRINTED), ((shown := claiming(box)), shown.new_code("owner"))):
        box.disk.full(True)
        assert await entered(codes, [code]) == [DiskFull]
        box.disk.full(False)
        user, _issued = await codes.enter(code, "Ada", "")
        assert user.id in box.access.users


async def test_an_invitation_says_who_comes(box: Home) -> None:
    codes = claiming(box)
    await codes.enter(codes.new_code("owner"), "", "")
    user, _issued = await codes.enter(codes.new_code("guest", "Bob"), "", "")
    assert [(each.name, each.role) for each in box.access.users.values()] == [("owner", "owner"), ("Bob", "guest")]
    renamed, _issued = await codes.enter(codes.new_code("guest", "Bob"), "Robert", "")
    assert (user.name, renamed.name) == ("Bob", "Robert")


# Knocking


async def test_a_browser_that_knocks_gets_in_once_when_an_owner_says_so(box: Home) -> None:
    codes = claiming(box)
    knock = codes.knock("a phone", "192.0.2.1")
    assert await codes.look(knock.id) is None
    codes.answer(knock.number, "member", "Eve")
    found = await asyncio.gather(*(codes.look(knock.id) for _ in range(3)), return_exceptions=True)

    assert [isinstance(each, NotFound) for each in found] == [False, True, True]
    assert [(user.name, user.role) for user in box.access.users.values()] == [("Eve", "member")]
    assert codes.waiting() == []


async def test_a_no_and_ten_minutes_without_an_answer_are_over(box: Home) -> None:
    codes = claiming(box)
    first, second = (codes.knock("", address) for address in ("192.0.2.1", "192.0.2.2"))
    codes.answer(first.number, None, "")
    box.clock.now_s += 601
    with pytest.raises(NotFound, match="Nobody with the number"):
        codes.answer(second.number, "owner", "")
    for knock in (first, second):
        with pytest.raises(NotFound, match="is over"):
            await codes.look(knock.id)
    assert box.access.users == {}


async def test_one_browser_of_an_address_knocks_at_a_time_and_eight_in_all(box: Home) -> None:
    codes = claiming(box)
    codes.knock("", "2001:db8::1")
    with pytest.raises(RateLimited) as refused:
        codes.knock("", "2001:db8::2")
    assert refused.value.retry_after_s == 600
    for number in range(7):
        codes.knock("", f"192.0.2.{number}")
    with pytest.raises(RateLimited):
        codes.knock("", "192.0.2.99")
    assert len({knock.number for knock in codes.waiting()}) == 8
    box.clock.now_s += 600
    codes.knock("", "2001:db8::2")


async def test_the_number_that_owners_see_opens_nothing(box: Home) -> None:
    codes = claiming(box)
    knock = codes.knock("", "192.0.2.1")
    codes.answer(knock.number, "owner", "")
    with pytest.raises(NotFound):
        await codes.look(knock.number)
