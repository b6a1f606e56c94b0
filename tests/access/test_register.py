"""What is put into the register comes out of it as it was."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.access.people import CONSOLE, SCOPES, Key, Quota, Session, User
from edged.access.quota import Used
from edged.access.register import STEPS, Register
from edged.database import Step, opened
from tests.access.home import Home

USER = User("u", "Ada", "owner", 1.0)
SESSION = Session("s", "u", b"1" * 32, "a laptop", 1.0, 2.0, 2.0, 3.0)
KEY = Key("k", "script", b"2" * 32, frozenset({"chat"}), 1.0)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
limit = st.none() | st.integers(0, 2**62)
seconds = st.floats(0, 1e12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.builds(
        Key,
        id=text,
        name=text,
        digest=st.binary(max_size=32),
        scopes=st.frozensets(st.sampled_from(SCOPES)),
        created_s=seconds,
        expires_s=st.none() | seconds,
        quota=st.builds(Quota, limit, limit, limit),
        ceiling=st.sampled_from(["device", "lan", "cloud"]),
    ),
    user=st.builds(User, text, text, st.sampled_from(["owner", "member", "guest"]), seconds),
    used=st.builds(Used, *(st.integers(0, 2**62) for _ in range(3))),
)
def test_what_is_put_is_read(box: Home, key: Key, user: User, used: Used) -> None:
    session = replace(SESSION, user_id=user.id, label=user.name)
    box.register.put_user(user, session)
    box.register.put_key(key)
    box.register.put_used({key.id: used, "nobody's": used})
    found = box.register.read()

    assert (found.users, found.sessions) == ({user.id: user}, {session.id: session})
    assert (found.keys, found.used) == ({key.id: key}, {key.id: used})
    box.register.remove_user(user.id)
    box.register.remove_key(key.id)
    found = box.register.read()
    assert (found.users, found.sessions, found.keys, found.used) == ({}, {}, {}, {})


def test_a_user_who_is_put_again_keeps_the_sessions(box: Home) -> None:
    box.register.put_user(USER, SESSION)
    box.register.put_user(replace(USER, name="Adele"))
    assert (box.register.read().users["u"].name, len(box.register.read().sessions)) == ("Adele", 1)


def test_a_session_of_nobody_is_refused_with_all_that_came_with_it(box: Home) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        box.register.put_user(USER, replace(SESSION, user_id="nobody"))
    assert box.register.read().users == {}


def test_several_sessions_are_forgotten_together(box: Home) -> None:
    box.register.put_user(USER, SESSION)
    box.register.put_session(replace(SESSION, id="t"))
    box.register.put_session(replace(SESSION, id="v"))
    box.register.remove_sessions("s", "t", "unknown")
    assert list(box.register.read().sessions) == ["v"]


def test_a_scope_of_a_later_release_opens_nothing(box: Home) -> None:
    box.register.put_key(KEY)
    with box.disk.change() as connection:
        connection.execute("UPDATE keys SET scopes = 'chat everything chat,admin'")
    assert box.register.read().keys["k"].scopes == {"chat"}


def test_the_steps_lead_up_and_back_to_nothing(tmp_path: Path) -> None:
    file = tmp_path / "edged.db"
    for count in range(len(STEPS), 0, -1):
        with opened(file, STEPS[:count]):
            pass
    with opened(file, ()) as database:
        assert [row["name"] for row in database.rows("SELECT name FROM sqlite_schema")] == ["steps"]
    with opened(file, STEPS) as database:
        Register(database).put_user(USER, SESSION)


def test_people_outlive_an_update_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "edged.db"
    with opened(file, STEPS) as database:
        Register(database).put_user(USER, SESSION)
    with opened(file, (*STEPS, Step("ALTER TABLE users ADD COLUMN face BLOB", "ALTER TABLE users DROP COLUMN face"))):
        pass
    with opened(file, STEPS) as database:
        assert Register(database).read().users == {"u": USER}


def test_the_console_may_everything_and_is_no_user() -> None:
    assert (CONSOLE.scopes, CONSOLE.user, CONSOLE.is_known) == (frozenset(SCOPES), None, True)
