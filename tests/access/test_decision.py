"""The table of who may do what, written out."""

from __future__ import annotations

from typing import get_args

import pytest

from edged.access.decision import Need, Situation, Transport, anybody, decide
from edged.access.people import CONSOLE, ROLES, SCOPES, Key, Role, Scope, Session, User, Visitor, of_key, of_session
from edged.errors import ClaimRequired, Forbidden, Unauthorized

NEEDS: tuple[Need, ...] = get_args(Need)
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
ALONE = Situation(is_claimed=False, reaches_beyond=False)
ALONE_CLAIMED = Situation(is_claimed=True, reaches_beyond=False)
UNCLAIMED = Situation(is_claimed=False, reaches_beyond=True)
UNCLAIMED_CHAT = Situation(is_claimed=False, reaches_beyond=True, lan_may_chat=True)
CLAIMED = Situation(is_claimed=True, reaches_beyond=True)
CLAIMED_CHAT = Situation(is_claimed=True, reaches_beyond=True, lan_may_chat=True)
SITUATIONS = (ALONE, ALONE_CLAIMED, UNCLAIMED, UNCLAIMED_CHAT, CLAIMED, CLAIMED_CHAT)


def person(role: Role) -> Visitor:
    return of_session(Session("s", "u", b"", "", 0, 0, 0, 9), User("u", "Somebody", role, 0))


def program(*scopes: Scope) -> Visitor:
    return of_key(Key("k", "script", b"", frozenset(scopes), 0))


def outcome(need: Need, visitor: Visitor, transport: Transport, situation: Situation) -> str:
    try:
        decide(need, visitor, transport, situation)
    except (ClaimRequired, Unauthorized, Forbidden) as refusal:
        return {"claim_required": "claim", "unauthorized": "401", "forbidden": "403"}[refusal.code]
    return "yes"


# Over plain HTTP; over TLS only the last column differs, and stands behind the bar.
#                shell  public chat   metrics owner secrets | secrets over TLS
TABLE = {
    "owner": "   yes    yes    yes    yes     yes   403     | yes",
    "member": "  yes    yes    yes    403     403   403     | 403",
    "guest": "   yes    yes    yes    403     403   403     | 403",
    "chat": "    yes    yes    yes    403     403   403     | 403",
    "metrics": " yes    yes    403    yes     403   403     | 403",
    "cloud": "   yes    yes    403    403     403   403     | 403",
    "admin": "   yes    yes    403    403     yes   403     | yes",
    "none": "    yes    yes    403    403     403   403     | 403",
}
WHO: dict[str, Visitor] = {
    **{str(role): person(role) for role in ROLES},
    **{str(scope): program(scope) for scope in SCOPES},
    "none": program(),
}
ANYBODY = {
    ALONE: "         yes    yes    yes    yes     401   401     | 401",
    ALONE_CLAIMED: " yes    yes    yes    yes     401   401     | 401",
    UNCLAIMED: "     yes    claim  claim  claim   claim claim   | claim",
    UNCLAIMED_CHAT: "yes    claim  claim  claim   claim claim   | claim",
    CLAIMED: "       yes    yes    401    401     401   401     | 401",
    CLAIMED_CHAT: "  yes    yes    yes    401     401   401     | 401",
}


def row(text: str) -> list[str]:
    return text.replace("|", " ").split()


def decided(visitor: Visitor, situation: Situation) -> list[str]:
    plain = [outcome(need, visitor, "plain", situation) for need in NEEDS]
    tls = [outcome(need, visitor, "tls", situation) for need in NEEDS]
    assert plain[:-1] == tls[:-1]
    return [*plain, tls[-1]]


def test_the_table_has_every_role_and_scope() -> None:
    assert set(TABLE) == {*ROLES, *SCOPES, "none"} == set(WHO)
    assert NEEDS == ("shell", "public", "chat", "metrics", "owner", "secrets")


@pytest.mark.parametrize("who", TABLE)
@pytest.mark.parametrize("situation", [ALONE, ALONE_CLAIMED, CLAIMED, CLAIMED_CHAT])
def test_who_is_known_may_what_the_table_says_wherever_they_are(who: str, situation: Situation) -> None:
    assert decided(WHO[who], situation) == row(TABLE[who])


@pytest.mark.parametrize("situation", ANYBODY)
def test_who_says_nothing_may_what_the_situation_allows(situation: Situation) -> None:
    assert decided(anybody(situation), situation) == row(ANYBODY[situation])


@pytest.mark.parametrize("who", TABLE)
@pytest.mark.parametrize("situation", [UNCLAIMED, UNCLAIMED_CHAT])
def test_without_an_owner_a_device_that_others_reach_serves_only_its_shell(who: str, situation: Situation) -> None:
    assert decided(WHO[who], situation) == ["yes", *["claim"] * 6]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_over_the_control_socket_everything_is_allowed(situation: Situation) -> None:
    assert {outcome(need, CONSOLE, "socket", situation) for need in NEEDS} == {"yes"}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_who_says_nothing_is_nobodys_account_but_open(situation: Situation) -> None:
    assert (anybody(situation).account, anybody(situation).is_known) == ("open", False)


def test_a_refusal_names_the_key_and_the_way_out() -> None:
    with pytest.raises(Forbidden, match=r"'script' may not .*'admin'"):
        decide("owner", program("chat"), "tls", CLAIMED)
    with pytest.raises(Unauthorized, match="edged key create"):
        decide("chat", anybody(CLAIMED), "plain", CLAIMED)
    with pytest.raises(Forbidden, match="https://"):
        decide("secrets", person("owner"), "plain", CLAIMED)
    with pytest.raises(ClaimRequired, match="edged claim"):
        decide("public", anybody(UNCLAIMED), "plain", UNCLAIMED)
