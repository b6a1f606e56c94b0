"""Device tokens: what somebody who is signed in, or a program with a key, lends to a program for a while.

A token may chat and nothing else, for whoever lent it: it counts against the same quota, shares the same place in the
queue and opens the same conversations. It ends with its hour, with the session or key that it came from, and with the
daemon: it is kept in memory alone, as its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edged.access.credential import Credential, Issued, issue, same
from edged.access.people import Key, Scope, Session, User, Visitor, of_key, of_session
from edged.errors import Forbidden

LIFE_S = 3600.0
LONGEST_LIFE_S = 86_400.0
# Of one session or key; a program that takes one for each request keeps its newest.
MOST_EACH = 16
_SCOPES: frozenset[Scope] = frozenset({"chat"})


@dataclass(frozen=True, slots=True)
class Token:
    """What is lent: by the session or key `origin`, until `until_s`."""

    digest: bytes
    origin: str
    until_s: float


class Tokens:
    """Those that are out. The mappings are of who may lend, as they are at any moment."""

    def __init__(
        self,
        users: Mapping[str, User],
        sessions: Mapping[str, Session],
        keys: Mapping[str, Key],
        clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._keys = keys
        self._now_s = clock
        self._tokens: dict[str, Token] = {}

    def lend(self, visitor: Visitor, life_s: float) -> tuple[Issued, float]:
        """A token of `visitor`'s and until when it counts: never longer than what it comes from.

        Raises `Forbidden` for who has no session or key to lend, which tokens have not either.
        """
        lender = visitor.session or visitor.key
        if lender is None or visitor.is_lent or not visitor.scopes >= _SCOPES:
            raise Forbidden("A device token comes from a browser that is signed in, or from a key with the scope chat.")
        now_s = self._now_s()
        self._tokens = {id: token for id, token in self._tokens.items() if self._lender(token, now_s) is not None}
        mine = [id for id, token in self._tokens.items() if token.origin == lender.id]
        for id in mine[: max(0, len(mine) - MOST_EACH + 1)]:
            del self._tokens[id]
        issued = issue("edt")
        until_s = now_s + life_s
        if lender.expires_s is not None:
            until_s = min(until_s, lender.expires_s)
        self._tokens[issued.credential.id] = Token(issued.credential.digest, lender.id, until_s)
        return issued, until_s

    def visitor(self, credential: Credential) -> Visitor | None:
        """Who asks with this; None where it opens nothing (any more)."""
        token = self._tokens.get(credential.id)
        # Compared also where nothing was found, so that the answer takes as long.
        if not same(token.digest if token else bytes(32), credential.digest) or token is None:
            return None
        return self._lender(token, self._now_s())

    def _lender(self, token: Token, now_s: float) -> Visitor | None:
        if token.until_s <= now_s:
            return None
        if key := self._keys.get(token.origin):
            return replace(of_key(key), scopes=_SCOPES & key.scopes, is_lent=True)
        if session := self._sessions.get(token.origin):
            # Without the session: a program has no cookie that could be renewed.
            whose = of_session(session, self._users[session.user_id])
            return replace(whose, scopes=_SCOPES & whose.scopes, session=None, is_lent=True)
        return None
