"""`Access`: who there is and who asks. What the register on disk holds is here in memory as well.

A request is judged without a disk and without waiting. What is granted counts once it is on the disk; what is taken
away counts at once, and a disk that fails is told of. Changes go to the disk one after the other, in the order in which
they were made, so memory and disk agree whatever comes together and whoever hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edged.access.credential import Credential, Issued, is_ours, issue, read, same
from edged.access.decision import Situation, anybody
from edged.access.failures import Failures
from edged.access.meter import Meter
from edged.access.people import OF_ROLE, Ceiling, Key, Quota, Role, Scope, Session, User, Visitor, of_key, of_session
from edged.access.quota import DAY_S
from edged.access.register import Register
from edged.config import Access as Chosen
from edged.errors import Conflict, DiskFull, NotFound

T = TypeVar("T")

# A browser that is used once a month stays; what was forgotten in a drawer is forgotten here, too. A guest's is
# forgotten after a day.
_SESSION_S: dict[Role, float] = {"owner": 30 * DAY_S, "member": 30 * DAY_S, "guest": DAY_S}
# How often the secret in a cookie is exchanged. The answer that brings the new one may be lost, so the one before
# counts until the new one is used, and so long after that: a page asks several things at once.
_RENEW_S = DAY_S
_PREVIOUS_S = 60.0
MOST_USERS = 256
MOST_SESSIONS = 1024
MOST_KEYS = 256


class Access:
    """People, sessions and keys. `reaches_beyond` says whether other machines can reach this one's sockets."""

    def __init__(
        self,
        register: Register,
        chosen: Chosen,
        tell: Callable[..., None],
        *,
        reaches_beyond: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._register = register
        self._set = chosen
        self._tell = tell
        self._reaches_beyond = reaches_beyond
        self._now_s = clock
        found = register.read()
        self.users, self.sessions, self.keys = found.users, found.sessions, found.keys
        self._chosen = found.chosen
        self.meter = Meter(register, self.keys, found.used, clock)
        self._failures = Failures(clock)
        self._previous: dict[str, tuple[bytes, float]] = {}
        self._works: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()
        # What opens nothing any more, but would after a restart: its removal is not on the disk.
        self._unremoved: dict[str, Callable[[str], None]] = {}

    @contextlib.asynccontextmanager
    async def keeping(self) -> AsyncIterator[Access]:
        """While the block runs, what has to be written is; at its end all of it is."""
        async with self.meter.saving():
            try:
                yield self
            finally:
                await asyncio.gather(*self._works, return_exceptions=True)
                for id, remove in list(self._unremoved.items()):
                    with contextlib.suppress(DiskFull):  # it was told of when it was taken away
                        await self._removed(remove, id)

    # How things stand

    @property
    def situation(self) -> Situation:
        """Who may be served at all."""
        return Situation(self.is_claimed, self._reaches_beyond, self.chosen("lan_chat"))

    @property
    def is_claimed(self) -> bool:
        """Whether somebody owns this device."""
        return any(user.role == "owner" for user in self.users.values())

    def chosen(self, name: str) -> bool:
        """What the file says, else what the owner chose on the page, else no."""
        of_file: bool | None = getattr(self._set, name)
        return self._chosen.get(name, False) if of_file is None else of_file

    def is_locked(self, name: str) -> bool:
        """Whether the file says it, so that nobody can choose."""
        return getattr(self._set, name) is not None

    async def choose(self, name: str, value: bool) -> None:
        """What the owner wants. Raises `Conflict` where the file has the say."""
        if self.is_locked(name):
            raise Conflict(f"[access] {name} is set in the configuration; change it there.", param=name)
        if not value:
            self._chosen[name] = value
        await self._kept(self._register.choose, name, value, then=lambda: self._chosen.update({name: value}))
        self._tell("access_changed", **{name: value})

    # Who asks

    def identify(self, presented: Sequence[str], cookie: str | None, address: str) -> Visitor:
        """Who asks with these keys and this cookie. What proves nothing, and was not made here, is as good as nothing:
        programs send other servers' keys out of habit.

        Raises `Unauthorized` for a key of ours that opens nothing (any more), `RateLimited` where `address` failed
        often.
        """
        texts = set(presented)
        if len(texts) > 1:
            raise self._failures.refusal(address, "This request carries several different keys. Send one.")
        for text in texts:
            credential = read(text)
            if credential is not None and (key := self._key(credential)):
                return of_key(key)
            if is_ours(text) or not anybody(self.situation).scopes:
                raise self._failures.refusal(
                    address, "This key is not valid here: it is wrong, has expired or was revoked."
                )
        if cookie is not None and not texts and (session := self._session(read(cookie))):
            return of_session(session, self.users[session.user_id])
        return anybody(self.situation)

    def renewed(self, session: Session) -> bool:
        """Whether the secret of this session is to be exchanged, as far as it has not ended meanwhile."""
        if (now := self.sessions.get(session.id)) is None:
            return False
        return self._now_s() - now.renewed_s >= (_PREVIOUS_S if self._is_unseen(now.id) else _RENEW_S)

    async def renew(self, session: Session) -> Issued | None:
        """A new secret for a session, which lives on from now; the one before counts for a minute after its first use.

        None where the session has ended meanwhile.
        """
        if (known := self.sessions.get(session.id)) is None:
            return None
        now_s = self._now_s()
        issued = issue("eds", session.id)
        life_s = _SESSION_S[self.users[session.user_id].role]
        newer = replace(known, digest=issued.credential.digest, renewed_s=now_s, expires_s=now_s + life_s)
        # At once: of several requests at a time one renews. A disk that fails is asked again in a day.
        self.sessions[session.id] = replace(known, renewed_s=now_s)

        def exchange() -> None:
            if session.id in self.sessions:
                if not self._is_unseen(session.id):
                    self._previous[session.id] = known.digest, math.inf
                self.sessions[session.id] = newer

        await self._kept(self._register.put_session, newer, then=exchange)
        return issued if session.id in self.sessions else None

    # People and their browsers

    async def add_user(self, name: str, role: Role, label: str) -> tuple[User, Issued]:
        """Somebody new, with the browser that they came with."""
        if len(self.users) >= MOST_USERS:
            raise Conflict(f"There are {MOST_USERS} people already. Remove one first.")
        await self._make_room()
        user = User(secrets.token_hex(8), name, role, self._now_s())
        issued, session = self._new_session(user, label)
        await self._kept(self._register.put_user, user, session, then=lambda: self._enter(user, session))
        self._tell("paired", user=user.id, role=role)
        return user, issued

    async def add_session(self, user: User, label: str) -> Issued:
        """One more browser of somebody's. Raises `NotFound` where the user has been removed meanwhile."""
        await self._make_room()
        issued, session = self._new_session(self._user(user.id), label)
        await self._kept(self._register.put_session, session, then=lambda: self._enter(self._user(user.id), session))
        self._tell("paired", user=user.id, role=user.role)
        return issued

    async def change_user(self, id: str, name: str | None, role: Role | None) -> User:
        """Another name or role. Raises `Conflict` where nobody would own the device any more."""

        async def change() -> User:
            user = self._user(id)
            changed = replace(user, name=name or user.name, role=role or user.role)
            if changed.role != "owner":
                self._keep_an_owner(user)
            if not OF_ROLE[changed.role] >= OF_ROLE[user.role]:
                self.users[id] = replace(user, role=changed.role)
            await self._write(self._register.put_user, changed)
            if id in self.users:
                self.users[id] = changed
            return changed

        changed = await self._in_turn(change)
        self._tell("user_changed", user=id, role=changed.role)
        return changed

    async def remove_user(self, id: str) -> None:
        """Somebody leaves, with all their browsers. Raises `Conflict` for the last owner."""
        if id not in self._unremoved:
            self._keep_an_owner(self._user(id))
        self.users.pop(id, None)
        for session in [session for session in self.sessions.values() if session.user_id == id]:
            self._forget(session.id)
        await self._removed(self._register.remove_user, id)
        self._tell("user_removed", user=id)

    async def end_session(self, id: str) -> None:
        """A browser is forgotten. Raises `NotFound`."""
        if id not in self.sessions and id not in self._unremoved:
            raise NotFound(f"There is no session {id!r}.")
        self._forget(id)
        await self._removed(self._register.remove_sessions, id)
        self._tell("session_ended", session=id)

    # Keys

    async def add_key(
        self,
        name: str,
        scopes: frozenset[Scope],
        life_s: float | None,
        quota: Quota,
        ceiling: Ceiling,
    ) -> tuple[Key, Issued]:
        """A key for a program."""
        if len(self.keys) >= MOST_KEYS:
            raise Conflict(f"There are {MOST_KEYS} keys already. Revoke one first.")
        now_s, issued = self._now_s(), issue("edk")
        expires_s = None if life_s is None else now_s + life_s
        key = Key(issued.credential.id, name, issued.credential.digest, scopes, now_s, expires_s, quota, ceiling)
        await self._kept(self._register.put_key, key, then=lambda: self.keys.update({key.id: key}))
        self._tell("key_created", key=key.id, scopes=" ".join(sorted(scopes)))
        return key, issued

    async def revoke_key(self, id: str) -> None:
        """A key opens nothing any more. Raises `NotFound`."""
        if self.keys.pop(id, None) is None and id not in self._unremoved:
            raise NotFound(f"There is no key {id!r}.")
        self.meter.forget(id)
        await self._removed(self._register.remove_key, id)
        self._tell("key_revoked", key=id)

    # Inside

    def _key(self, credential: Credential) -> Key | None:
        key = self.keys.get(credential.id) if credential.kind == "edk" else None
        # Compared also where nothing was found, so that the answer takes as long.
        is_right = same(key.digest if key else bytes(32), credential.digest)
        is_alive = key is not None and (key.expires_s is None or key.expires_s > self._now_s())
        return key if is_right and is_alive else None

    def _session(self, credential: Credential | None) -> Session | None:
        session = self.sessions.get(credential.id) if credential and credential.kind == "eds" else None
        if session is None or credential is None:
            return None
        now_s = self._now_s()
        previous, until_s = self._previous.get(session.id, (b"", 0.0))
        is_newest = same(session.digest, credential.digest)
        is_right = is_newest or (until_s > now_s and same(previous, credential.digest))
        if is_newest and self._is_unseen(session.id):
            self._previous[session.id] = previous, now_s + _PREVIOUS_S
        if not is_right or session.expires_s <= now_s:
            return None
        used = replace(session, used_s=now_s)
        self.sessions[session.id] = used
        return used

    def _is_unseen(self, session_id: str) -> bool:
        """Whether the newest secret was never used: its answer may have been lost."""
        return session_id in self._previous and math.isinf(self._previous[session_id][1])

    async def _make_room(self) -> None:
        """Forget the sessions that are over and, where there are as many as there may be, the next to be."""
        now_s = self._now_s()
        by_end = sorted(self.sessions.values(), key=lambda session: session.expires_s)
        too_many = len(by_end) - MOST_SESSIONS + 1
        gone = [session.id for place, session in enumerate(by_end) if place < too_many or session.expires_s <= now_s]
        for id in gone:
            self._forget(id)
        if gone:
            await self._kept(self._register.remove_sessions, *gone, then=lambda: None)

    def _forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self._previous.pop(session_id, None)

    def _new_session(self, user: User, label: str) -> tuple[Issued, Session]:
        now_s, issued = self._now_s(), issue("eds")
        id, digest = issued.credential.id, issued.credential.digest
        expires_s = now_s + _SESSION_S[user.role]
        return issued, Session(id, user.id, digest, label, now_s, now_s, now_s, expires_s)

    def _enter(self, user: User, session: Session) -> None:
        self.users[user.id] = user
        self.sessions[session.id] = session

    def _user(self, id: str) -> User:
        if user := self.users.get(id):
            return user
        raise NotFound(f"There is no user {id!r}.")

    def _keep_an_owner(self, user: User) -> None:
        if user.role == "owner" and sum(other.role == "owner" for other in self.users.values()) == 1:
            raise Conflict(f"{user.name} is the only owner of this device. Make somebody else an owner first.")

    async def _removed(self, remove: Callable[[str], None], id: str) -> None:
        """Have it gone from the disk as well. Raises `DiskFull`; then it can be asked for again."""
        self._unremoved[id] = remove
        try:
            await self._kept(remove, id, then=lambda: self._unremoved.pop(id, None))
        except DiskFull as error:
            raise DiskFull(f"It opens nothing any more, but would again after a restart. {error}") from error

    async def _kept(self, write: Callable[..., None], *values: object, then: Callable[[], object]) -> None:
        """Write, then do `then`. Raises `DiskFull`, and what `then` raises."""

        async def change() -> None:
            await self._write(write, *values)
            then()

        await self._in_turn(change)

    async def _write(self, write: Callable[..., None], *values: object) -> None:
        try:
            await asyncio.to_thread(write, *values)
        except sqlite3.Error as error:
            raise DiskFull(f"This is not on the disk: {error}. Make room, and try again.") from error

    async def _in_turn(self, change: Callable[[], Awaitable[T]]) -> T:
        """Do it when those before are done, and to its end, even where whoever asked has gone meanwhile."""

        async def work() -> T:
            async with self._turn:
                return await change()

        task = asyncio.create_task(work())
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return await asyncio.shield(task)
