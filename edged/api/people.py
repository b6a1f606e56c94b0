"""The handlers of who there is: people, their browsers, keys, and what the owner lets them do."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from edged.access.decision import decide
from edged.access.people import OPEN, Ceiling, Key, Quota, Role, Scope, Session, Visitor
from edged.access.quota import DAY_S
from edged.api import body
from edged.api.body import Strict
from edged.api.claims import Name, user_body
from edged.api.exposed import Exposed, Route, Told
from edged.api.transport import transport_of
from edged.api.visitor import clear_cookie, visitor_of
from edged.errors import InvalidRequest, NotFound, Unauthorized

_CHOICES = ("lan_chat", "supervised", "url_keys")
_LONGEST_LIFE_DAYS = 3650
Count = Annotated[int, Field(ge=1, le=10**12)]


class UserBody(Strict):
    """What is to change of somebody."""

    name: Name | None = None
    role: Role | None = None


class QuotaBody(Strict):
    """What a key may use; what is not said is not limited."""

    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None
    requests_per_day: Count | None = None
    tokens_per_day: Count | None = None


class KeyBody(Strict):
    """A key for a program."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] = Field(default=["chat"])
    life_days: Annotated[float, Field(gt=0, le=_LONGEST_LIFE_DAYS)] | None = None
    quota: QuotaBody = QuotaBody()
    ceiling: Ceiling = "cloud"


class ChoicesBody(Strict):
    """What the owner lets everybody do."""

    lan_chat: bool | None = None
    supervised: bool | None = None
    url_keys: bool | None = None


class SettingsBody(Strict):
    """What is to be set."""

    access: ChoicesBody


class People:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._access = exposed.access

    def routes(self) -> list[Route]:
        """Where they are found."""
        user, session, key = (f"/edged/v1/{name}/{{id}}" for name in ("users", "sessions", "keys"))
        changed = Told({200: "User"}, UserBody, {"role": "guest"}, fails=(404, 409))
        created = Told({201: "NewKey"}, KeyBody, {"name": "Home Assistant"}, fails=(409,))
        chosen = Told({200: "Settings"}, SettingsBody, {"access": {"lan_chat": False}}, fails=(409,))
        return [
            Route("GET", "/edged/v1/users", "owner", self.users, Told({200: "Users"})),
            Route("PATCH", user, "owner", self.change_user, changed),
            Route("DELETE", user, "owner", self.remove_user, Told({204: ""}, fails=(404, 409))),
            Route("GET", "/edged/v1/sessions", "public", self.sessions, Told({200: "Sessions"})),
            Route("DELETE", session, "public", self.end_session, Told({204: ""}, fails=(404,))),
            Route("GET", "/edged/v1/keys", "owner", self.keys, Told({200: "Keys"})),
            Route("POST", "/edged/v1/keys", "owner", self.create_key, created),
            Route("DELETE", key, "owner", self.revoke_key, Told({204: ""}, fails=(404,))),
            Route("GET", "/edged/v1/settings", "owner", self.settings, Told({200: "Settings"})),
            Route("PATCH", "/edged/v1/settings", "owner", self.choose, chosen),
        ]

    async def users(self, _request: web.Request) -> web.StreamResponse:
        """Everybody who was let in."""
        browsers = [session.user_id for session in self._access.sessions.values()]
        users = [
            {**user_body(user), "created_s": user.created_s, "sessions": browsers.count(user.id)}
            for user in self._access.users.values()
        ]
        return web.json_response({"users": users})

    async def change_user(self, request: web.Request) -> web.StreamResponse:
        """Another name or role for somebody."""
        asked = await body.read(request, UserBody)
        changed = await self._access.change_user(request.match_info["id"], asked.name, asked.role)
        return web.json_response(user_body(changed))

    async def remove_user(self, request: web.Request) -> web.StreamResponse:
        """Somebody leaves, with all their browsers."""
        await self._access.remove_user(request.match_info["id"])
        return web.Response(status=204)

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """One's own browsers; for owners everybody's."""
        visitor = self._somebody(request)
        sessions = [
            self._session_body(session, visitor)
            for session in self._access.sessions.values()
            if self._may_see(visitor, session)
        ]
        return web.json_response({"sessions": sessions})

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        """A browser is signed out; `current` is the one that asks."""
        visitor, id = self._somebody(request), request.match_info["id"]
        if id == "current" and visitor.session:
            id = visitor.session.id
        session = self._access.sessions.get(id)
        if session is None or not self._may_see(visitor, session):
            raise NotFound("There is no such session.")
        await self._access.end_session(id)
        response = web.Response(status=204)
        if visitor.session and visitor.session.id == id:
            clear_cookie(request, response)
        return response

    async def keys(self, _request: web.Request) -> web.StreamResponse:
        """The keys that programs have."""
        return web.json_response({"keys": [self._key_body(key) for key in self._access.keys.values()]})

    async def create_key(self, request: web.Request) -> web.StreamResponse:
        """A key for a program. It is shown now and never again."""
        asked = await body.read(request, KeyBody)
        scopes = frozenset(asked.scopes)
        if scopes & {"admin", "cloud"}:
            decide("secrets", visitor_of(request), transport_of(request), self._access.situation)
        quota = Quota(**asked.quota.model_dump())
        if not quota.is_unlimited and "chat" not in scopes:
            raise InvalidRequest("A quota counts what is asked of models: it takes the scope chat.", param="quota")
        life_s = None if asked.life_days is None else asked.life_days * DAY_S
        key, issued = await self._access.add_key(asked.name, scopes, life_s, quota, asked.ceiling)
        return web.json_response({**self._key_body(key), "key": issued.text}, status=201)

    async def revoke_key(self, request: web.Request) -> web.StreamResponse:
        """A key opens nothing any more, at once."""
        await self._access.revoke_key(request.match_info["id"])
        return web.Response(status=204)

    async def settings(self, _request: web.Request) -> web.StreamResponse:
        """What the owner has chosen; what is locked stands in the configuration file."""
        return web.json_response(self._settings_body())

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Choose something else."""
        asked = await body.read(request, SettingsBody)
        for name, value in asked.access.model_dump(exclude_none=True).items():
            await self._access.choose(name, value)
        return web.json_response(self._settings_body())

    def _somebody(self, request: web.Request) -> Visitor:
        visitor = visitor_of(request)
        if visitor.account == OPEN:
            raise Unauthorized("This browser is not signed in.")
        return visitor

    def _may_see(self, visitor: Visitor, session: Session) -> bool:
        return "admin" in visitor.scopes or (visitor.user is not None and session.user_id == visitor.user.id)

    def _session_body(self, session: Session, visitor: Visitor) -> dict[str, Any]:
        return {
            "id": session.id,
            "user": user_body(self._access.users[session.user_id]),
            "label": session.label,
            "created_s": session.created_s,
            "used_s": session.used_s,
            "expires_s": session.expires_s,
            "current": visitor.session is not None and visitor.session.id == session.id,
        }

    def _key_body(self, key: Key) -> dict[str, Any]:
        used, quota = self._access.meter.used(key.id), key.quota
        return {
            "id": key.id,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "created_s": key.created_s,
            "expires_s": key.expires_s,
            "quota": {
                "requests_per_minute": quota.requests_per_minute,
                "requests_per_day": quota.requests_per_day,
                "tokens_per_day": quota.tokens_per_day,
            },
            "ceiling": key.ceiling,
            "used": {"requests": used.requests, "tokens": used.tokens},
        }

    def _settings_body(self) -> dict[str, Any]:
        access = self._access
        return {"access": {name: {"value": access.chosen(name), "locked": access.is_locked(name)} for name in _CHOICES}}
