"""Who may come in counts once it is on the disk, who may not counts at once, and both hold after a restart."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from edged.access import door
from edged.access.credential import issue
from edged.access.people import NONE, Quota, Role, Scope, Session, User
from edged.config import Access as Chosen
from edged.errors import Conflict, DiskFull, NotFound, RateLimited, Unauthorized
from tests.access.home import ADDRESS, DAY_S, Home, home

CHAT: frozenset[Scope] = frozenset({"chat"})


async def claimed(box: Home) -> tuple[User, str]:
    user, issued = await box.access.add_user("Ada", "owner", "a laptop")
    return user, issued.text


async def key(box: Home, life_s: float | None = None) -> tuple[str, str]:
    made, issued = await box.access.add_key("script", CHAT, life_s, Quota(), "device")
    return made.id, issued.text


def refused(box: Home, *presented: str) -> type[Exception]:
    with pytest.raises((Unauthorized, RateLimited)) as refusal:
        box.access.identify(presented, None, ADDRESS)
    return refusal.type


# Who asks


async def test_an_owner_is_known_by_the_cookie_and_a_program_by_its_key(box: Home) -> None:
    user, cookie = await claimed(box)
    id, text = await key(box)

    assert (box.who(cookie).user, box.who(cookie).account) == (user, user.id)
    visitor = box.access.identify(
        (text, text), cookie, ADDRESS
    )  # twice the same, in two headers; it goes before cookies
    assert visitor.key is not None
    assert (visitor.account, visitor.scopes, visitor.key.ceiling) == (id, CHAT, "device")


async def test_both_are_known_after_a_restart(box: Home) -> None:
    user, cookie = await claimed(box)
    id, text = await key(box)
    again = await box.started_again()

    assert again.is_claimed
    assert again.identify((), cookie, ADDRESS).account == user.id
    assert again.identify((text,), None, ADDRESS).account == id


async def test_no_secret_is_in_the_files(box: Home, tmp_path: Path) -> None:
    _user, cookie = await claimed(box)
    _id, text = await key(box)
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"a laptop" in held
    for credential in (cookie, text):
        secret = credential.rpartition("_")[2]
        assert secret.encode() not in held
        assert bytes.fromhex(secret) not in held


async def test_what_proves_nothing_is_nobody_or_refused(box: Home) -> None:
    user, cookie = await claimed(box)
    id, text = await key(box)
    assert box.access.identify((), None, ADDRESS).account == "open"
    for wrong in (issue("eds", box.access.keys[id].id).text, issue("eds").text, text, cookie[:-1], cookie + "0", ""):
        assert box.who(wrong).account == "open", wrong
    for wrong in (issue("edk", id).text, issue("edk").text, cookie, text[:-1], "edk_", "sk-proj-1"):
        assert refused(box, wrong) is Unauthorized, wrong
    assert refused(box, text, "sk-proj-1") is Unauthorized
    assert box.who(cookie).account == user.id


async def test_where_the_network_may_chat_another_servers_key_is_no_key(box: Home) -> None:
    await claimed(box)
    await box.access.choose("lan_chat", True)

    assert box.access.identify(("sk-proj-1",), None, ADDRESS).scopes == {"chat"}
    assert refused(box, issue("edk").text) is Unauthorized


async def test_who_tries_many_keys_is_slowed_down_and_who_has_a_right_one_never_notices(box: Home) -> None:
    await claimed(box)
    _id, text = await key(box)
    found = [refused(box, issue("edk").text) for _ in range(25)]

    assert found == [Unauthorized] * 20 + [RateLimited] * 5
    assert box.access.identify((text,), None, ADDRESS).key is not None


async def test_a_key_ends_when_it_was_said_to(box: Home) -> None:
    await claimed(box)
    _id, text = await key(box, life_s=60)
    box.clock.now_s += 59
    assert box.access.identify((text,), None, ADDRESS).key is not None
    box.clock.now_s += 1
    assert refused(box, text) is Unauthorized


# Sessions


@pytest.mark.parametrize(("role", "days"), [("owner", 30), ("member", 30), ("guest", 1)])
async def test_a_browser_is_forgotten_in_time(box: Home, role: Role, days: int) -> None:
    _user, issued = await box.access.add_user("Somebody", role, "")
    box.clock.now_s += days * DAY_S - 1
    assert box.who(issued.text).is_known
    box.clock.now_s += 1
    assert not box.who(issued.text).is_known
    assert not (await box.started_again()).identify((), issued.text, ADDRESS).is_known


async def renewed(box: Home, cookie: str) -> str:
    session = box.who(cookie).session
    assert session is not None
    assert box.access.renewed(session)
    issued = await box.access.renew(session)
    assert issued is not None
    return issued.text


async def test_the_secret_in_a_cookie_is_exchanged_once_a_day_and_the_browser_stays(box: Home) -> None:
    user, cookie = await claimed(box)
    for _day in range(90):
        session = box.who(cookie).session
        assert session is not None
        assert not box.access.renewed(session)
        box.clock.now_s += DAY_S
        cookie = await renewed(box, cookie)
        assert box.who(cookie).account == user.id
    assert await box.agrees()


async def test_the_secret_before_counts_for_a_minute_after_the_new_one_was_used(box: Home) -> None:
    _user, old = await claimed(box)
    box.clock.now_s += DAY_S
    new = await renewed(box, old)

    box.clock.now_s += 3600  # the answer was slow, or never came
    assert box.who(old).is_known
    assert box.who(new).is_known
    box.clock.now_s += 59
    assert box.who(old).is_known
    assert box.who(new).is_known
    box.clock.now_s += 1
    assert not box.who(old).is_known
    assert box.who(new).is_known


async def test_a_browser_whose_new_secret_was_lost_gets_another(box: Home) -> None:
    _user, old = await claimed(box)
    box.clock.now_s += DAY_S
    lost = await renewed(box, old)
    session = box.who(old).session
    assert session is not None
    assert not box.access.renewed(session)  # those that came at the same time bring none

    box.clock.now_s += 60
    new = await renewed(box, old)
    assert not box.who(lost).is_known
    assert box.who(new).is_known
    box.clock.now_s += 60
    assert not box.who(old).is_known
    assert await box.agrees()


async def test_of_several_requests_at_a_time_one_renews(box: Home) -> None:
    _user, cookie = await claimed(box)
    box.clock.now_s += DAY_S
    sessions = [box.who(cookie).session for _ in range(5)]

    async def ask(session: Session | None) -> str | None:
        assert session is not None
        issued = await box.access.renew(session) if box.access.renewed(session) else None
        return issued.text if issued else None

    new = [text for text in await asyncio.gather(*map(ask, sessions)) if text]
    assert len(new) == 1
    assert box.who(new[0]).is_known


@pytest.mark.parametrize("end_first", [True, False])
async def test_a_browser_that_is_ended_while_it_is_renewed_stays_ended(box: Home, end_first: bool) -> None:
    _user, cookie = await claimed(box)
    box.clock.now_s += DAY_S
    session = box.who(cookie).session
    assert session is not None
    works: list[Awaitable[object]] = [box.access.end_session(session.id), box.access.renew(session)]
    found = await asyncio.gather(*(works if end_first else works[::-1]))

    assert found[1 if end_first else 0] is None
    assert not box.who(cookie).is_known
    assert (box.access.sessions, await box.agrees()) == ({}, True)


async def test_a_browser_that_the_owner_ends_is_out_at_once_and_after_a_restart(box: Home) -> None:
    user, cookie = await claimed(box)
    second = await box.access.add_session(user, "a phone")
    session = box.who(cookie).session
    assert session is not None
    ending = asyncio.create_task(box.access.end_session(session.id))
    await asyncio.sleep(0)
    assert not box.who(cookie).is_known  # whatever the disk does
    await ending

    assert not (await box.started_again()).identify((), cookie, ADDRESS).is_known
    assert box.who(second.text).is_known
    with pytest.raises(NotFound):
        await box.access.end_session(session.id)


async def test_sessions_that_are_over_or_too_many_leave_memory_and_disk(
    box: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MOST_SESSIONS", 3)
    user, first = await claimed(box)
    await box.access.add_user("Guest", "guest", "")
    box.clock.now_s += 2 * DAY_S
    phones = [(await box.access.add_session(user, "phone")).text for _ in range(2)]
    assert [box.who(text).is_known for text in (first, *phones)] == [True] * 3
    box.clock.now_s += 1
    newest = (await box.access.add_session(user, "phone")).text

    assert [box.who(text).is_known for text in (first, *phones, newest)] == [False, True, True, True]
    assert (len(box.access.sessions), await box.agrees()) == (3, True)


# People


async def test_a_user_who_is_removed_is_out_with_every_browser(box: Home) -> None:
    await claimed(box)
    user, issued = await box.access.add_user("Eve", "member", "")
    second = await box.access.add_session(user, "")
    await box.access.remove_user(user.id)

    assert [box.who(text).is_known for text in (issued.text, second.text)] == [False, False]
    assert await box.agrees()
    with pytest.raises(NotFound):
        await box.access.add_session(user, "")
    with pytest.raises(NotFound):
        await box.access.change_user(user.id, "Eve", "owner")
    assert await box.agrees()


async def test_a_browser_that_pairs_while_its_user_is_removed_does_not_bring_the_user_back(box: Home) -> None:
    await claimed(box)
    user, _issued = await box.access.add_user("Eve", "member", "")
    pairing = asyncio.create_task(box.access.add_session(user, ""))
    await asyncio.sleep(0)
    await box.access.remove_user(user.id)
    with pytest.raises(NotFound):
        await pairing

    assert user.id not in box.access.users
    assert await box.agrees()


async def test_somebody_always_owns_a_device_that_was_claimed(box: Home) -> None:
    ada, _cookie = await claimed(box)
    for change in (box.access.remove_user(ada.id), box.access.change_user(ada.id, None, "guest")):
        with pytest.raises(Conflict, match="Ada is the only owner"):
            await change
    assert (box.access.is_claimed, await box.agrees()) == (True, True)


async def test_two_owners_who_demote_each_other_at_the_same_time_leave_one(box: Home) -> None:
    ada, _cookie = await claimed(box)
    bob, _cookie2 = await box.access.add_user("Bob", "owner", "")
    works = [box.access.change_user(user.id, None, "member") for user in (ada, bob)]
    found = await asyncio.gather(*works, return_exceptions=True)

    assert [isinstance(each, Conflict) for each in found] == [False, True]
    assert [user.role for user in box.access.users.values()] == ["member", "owner"]
    assert await box.agrees()


async def test_changes_of_one_user_at_the_same_time_are_all_made(box: Home) -> None:
    await claimed(box)
    user, _issued = await box.access.add_user("Eve", "guest", "")
    await asyncio.gather(box.access.change_user(user.id, "Eva", None), box.access.change_user(user.id, None, "member"))

    assert (box.access.users[user.id].name, box.access.users[user.id].role) == ("Eva", "member")
    assert await box.agrees()


async def test_a_role_counts_for_browsers_that_are_here_already(box: Home) -> None:
    await claimed(box)
    user, issued = await box.access.add_user("Bob", "owner", "")
    assert "admin" in box.who(issued.text).scopes
    await box.access.change_user(user.id, None, "member")
    assert box.who(issued.text).scopes == {"chat"}


async def test_there_are_only_so_many(box: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_USERS", 1)
    monkeypatch.setattr(door, "MOST_KEYS", 1)
    await claimed(box)
    await key(box)
    with pytest.raises(Conflict, match="1 people"):
        await box.access.add_user("Bob", "member", "")
    with pytest.raises(Conflict, match="1 keys"):
        await key(box)


# What the owner chooses


async def test_what_the_owner_chose_stays_and_what_the_file_says_goes_before(box: Home, tmp_path: Path) -> None:
    assert box.access.identify((), None, ADDRESS).scopes == NONE
    await claimed(box)
    await box.access.choose("lan_chat", True)
    assert box.access.identify((), None, ADDRESS).scopes == CHAT
    assert (await box.started_again()).situation.lan_may_chat
    await box.access.choose("lan_chat", False)
    assert box.access.identify((), None, ADDRESS).scopes == NONE
    assert await box.agrees()


async def test_what_the_file_says_cannot_be_chosen(locked: Home) -> None:
    assert (locked.access.is_locked("lan_chat"), locked.access.chosen("lan_chat")) == (True, False)
    with pytest.raises(Conflict, match="lan_chat is set in the configuration"):
        await locked.access.choose("lan_chat", True)
    assert not locked.access.chosen("lan_chat")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Home]:
    with home(tmp_path / "locked.db", Chosen(lan_chat=False)) as found:
        yield found


# Hanging up, and disks that are full


async def test_every_change_is_made_in_memory_and_on_disk_or_in_neither_wherever_it_is_cancelled(box: Home) -> None:
    user, cookie = await claimed(box)
    eve, _issued = await box.access.add_user("Eve", "member", "")
    id, _text = await key(box)
    box.clock.now_s += DAY_S
    session = box.who(cookie).session
    assert session is not None
    doings: list[Callable[[], Awaitable[object]]] = [
        lambda: box.access.add_user("Bob", "member", ""),
        lambda: box.access.add_session(user, "phone"),
        lambda: box.access.change_user(eve.id, "Eva", "owner"),
        lambda: box.access.change_user(eve.id, "Evi", "guest"),
        lambda: box.access.choose("lan_chat", True),
        lambda: box.access.choose("lan_chat", False),
        lambda: box.access.renew(session),
        lambda: key(box),
        lambda: box.access.revoke_key(id),
        lambda: box.access.remove_user(eve.id),
        lambda: box.access.end_session(session.id),
    ]
    async with box.access.keeping():
        for doing in doings:
            for turns in range(3):
                task = asyncio.ensure_future(doing())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                await asyncio.gather(*box.access._works, return_exceptions=True)
                assert task.cancelled() or isinstance(task.exception(), NotFound)
                assert await box.agrees()
    assert len(box.access.users) > 2  # those whose request was cancelled under way are here


async def test_what_is_under_way_at_the_end_is_on_the_disk(box: Home) -> None:
    async with box.access.keeping():
        task = asyncio.create_task(box.access.add_user("Ada", "owner", ""))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert (await box.started_again()).is_claimed


async def test_on_a_full_disk_nobody_is_let_in_and_nothing_is_granted(box: Home) -> None:
    user, cookie = await claimed(box)
    box.clock.now_s += DAY_S
    session = box.who(cookie).session
    assert session is not None
    box.disk.full(True)
    for granting in (
        box.access.add_user("Bob", "owner", ""),
        box.access.add_session(user, ""),
        box.access.change_user(user.id, "Adele", None),
        box.access.choose("lan_chat", True),
        box.access.renew(session),
        key(box),
    ):
        with pytest.raises(DiskFull, match="Make room"):
            await granting
    assert box.who(cookie).is_known
    assert await box.agrees()

    box.disk.full(False)
    await box.access.choose("lan_chat", True)
    assert box.access.chosen("lan_chat")


async def test_what_was_taken_away_on_a_full_disk_stays_away_and_can_be_asked_for_again(box: Home) -> None:
    user, cookie = await claimed(box)
    eve, eves = await box.access.add_user("Eve", "member", "")
    phone = await box.access.add_session(user, "phone")
    session = phone.credential.id
    id, text = await key(box)
    box.disk.full(True)
    removals: list[Callable[[], Awaitable[object]]] = [
        lambda: box.access.revoke_key(id),
        lambda: box.access.end_session(session),
        lambda: box.access.remove_user(eve.id),
    ]
    for removal in [*removals, *removals]:
        with pytest.raises(DiskFull, match="opens nothing any more, but would again after a restart"):
            await removal()
    assert refused(box, text) is Unauthorized
    assert [box.who(each).is_known for each in (cookie, phone.text, eves.text)] == [True, False, False]

    box.disk.full(False)
    await removals[0]()
    with pytest.raises(NotFound):
        await removals[0]()
    assert id not in (await box.started_again()).keys


async def test_what_could_not_be_removed_is_removed_at_the_end_where_there_is_room_again(box: Home) -> None:
    await claimed(box)
    id, _text = await key(box)
    async with box.access.keeping():
        box.disk.full(True)
        with pytest.raises(DiskFull):
            await box.access.revoke_key(id)
        box.disk.full(False)
    assert await box.agrees()


async def test_on_a_full_disk_a_role_is_taken_away_at_once(box: Home) -> None:
    await claimed(box)
    bob, issued = await box.access.add_user("Bob", "owner", "")
    box.disk.full(True)
    with pytest.raises(DiskFull):
        await box.access.change_user(bob.id, None, "member")
    assert box.who(issued.text).scopes == {"chat"}


async def test_nothing_is_left_running(box: Home) -> None:
    async with box.access.keeping():
        await claimed(box)
        box.disk.full(True)
        with pytest.raises(DiskFull):
            await key(box)
        box.disk.full(False)
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
