"""A device token lets a program chat for whoever lent it, and ends with its time and with what it came from."""

from __future__ import annotations

import pytest

from edged.access.credential import issue
from edged.access.people import CONSOLE, OPEN, Quota, Visitor
from edged.access.tokens import MOST_EACH
from edged.errors import Forbidden, RateLimited, Unauthorized
from tests.access.home import Home


async def owners(box: Home, role: str = "owner") -> tuple[Visitor, str]:
    """Somebody who is signed in, and their cookie."""
    _, issued = await box.access.add_user("Ada", role, "phone")  # type: ignore[arg-type]
    return box.access.identify((), issued.text, ""), issued.text


def refused(box: Home, text: str) -> bool:
    try:
        box.access.identify((text,), None, "")
    except (Unauthorized, RateLimited):
        return True
    return False


async def test_it_may_chat_for_whoever_lent_it_and_do_nothing_else(box: Home) -> None:
    ada, _ = await owners(box)
    issued, _ = box.access.tokens.lend(ada, 60)

    found = box.access.identify((issued.text,), None, "")

    assert found.account == ada.account
    assert found.scopes == {"chat"}
    assert found.session is None, "a program has no cookie to be renewed"


async def test_it_ends_with_its_time(box: Home) -> None:
    ada, _ = await owners(box)
    issued, until_s = box.access.tokens.lend(ada, 60)

    box.clock.now_s = until_s - 0.1
    assert not refused(box, issued.text)
    box.clock.now_s = until_s
    assert refused(box, issued.text)


@pytest.mark.parametrize("end", ["signed out", "removed"])
async def test_it_ends_with_the_session_it_came_from(box: Home, end: str) -> None:
    await owners(box)
    bob, _ = await owners(box, "member")
    issued, _ = box.access.tokens.lend(bob, 60)
    assert bob.session
    assert bob.user

    await (box.access.end_session(bob.session.id) if end == "signed out" else box.access.remove_user(bob.user.id))

    assert refused(box, issued.text)


async def test_it_ends_with_the_key_it_came_from_and_counts_as_the_key(box: Home) -> None:
    await owners(box)
    key, proof = await box.access.add_key("radio", frozenset({"chat", "admin"}), 30, Quota(), "lan")
    issued, until_s = box.access.tokens.lend(box.access.identify((proof.text,), None, ""), 3600)

    found = box.access.identify((issued.text,), None, "")
    assert found.key == key
    assert found.scopes == {"chat"}
    assert until_s == key.expires_s, "never longer than the key"
    await box.access.revoke_key(key.id)
    assert refused(box, issued.text)


async def test_what_was_lent_is_lent_no_further(box: Home) -> None:
    ada, _ = await owners(box)
    _, proof = await box.access.add_key("radio", frozenset({"chat"}), None, Quota(), "lan")
    for lender in (ada, box.access.identify((proof.text,), None, "")):
        issued, _ = box.access.tokens.lend(lender, 60)
        with pytest.raises(Forbidden):
            box.access.tokens.lend(box.access.identify((issued.text,), None, ""), 60)


async def test_who_has_nothing_to_lend_is_told_so(box: Home) -> None:
    await owners(box)
    _, proof = await box.access.add_key("prometheus", frozenset({"metrics"}), None, Quota(), "lan")
    for nobody in (CONSOLE, Visitor(OPEN, frozenset({"chat"})), box.access.identify((proof.text,), None, "")):
        with pytest.raises(Forbidden, match="signed in"):
            box.access.tokens.lend(nobody, 60)


async def test_who_takes_one_for_each_request_keeps_the_newest(box: Home) -> None:
    ada, _ = await owners(box)
    bob, _ = await owners(box, "member")
    bobs, _ = box.access.tokens.lend(bob, 60)

    lent = [box.access.tokens.lend(ada, 60)[0].text for _ in range(MOST_EACH + 3)]

    assert [refused(box, text) for text in lent] == [True] * 3 + [False] * MOST_EACH
    assert not refused(box, bobs.text), "others keep theirs"


async def test_a_guess_opens_nothing(box: Home) -> None:
    ada, _ = await owners(box)
    issued, _ = box.access.tokens.lend(ada, 60)

    assert refused(box, issue("edt", issued.credential.id).text)
    assert refused(box, issue("edt").text)
