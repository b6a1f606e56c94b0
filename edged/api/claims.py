"""The handlers of claiming: how a browser becomes somebody's."""

from __future__ import annotations

import socket
from typing import Annotated, Any

from aiohttp import web
from pydantic import StringConstraints

from edged.access.claiming import Claiming
from edged.access.credential import Issued
from edged.access.pairing import LIFE_S
from edged.access.people import Role, User
from edged.api import body
from edged.api.body import Strict
from edged.api.exposed import Exposed, Route, Told
from edged.api.transport import transport_of
from edged.api.visitor import set_cookie, visitor_of

# What people call themselves and their browsers.
Name = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=32)]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]


class ClaimBody(Strict):
    """A code that was shown, with what to call whoever has it, and their browser."""

    code: Code
    name: Name | None = None
    label: Name | None = None


class KnockBody(Strict):
    """A browser that wants to be let in."""

    label: Name | None = None


class AnswerBody(Strict):
    """An owner's word about a browser that waits: a role, or none for no."""

    number: Number
    role: Role | None = None
    name: Name | None = None


class InvitationBody(Strict):
    """Who is to be let in by a code."""

    role: Role = "member"
    name: Name | None = None


class Claims:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._access = exposed.access
        self._claiming: Claiming = exposed.claiming
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        requests = "/edged/v1/claim/requests"
        entered = Told({200: "Claimed"}, ClaimBody, {"code": "7K2M-QX9D"}, fails=(409, 429))
        knocked = Told({201: "Knock"}, KnockBody, {"label": "Phone"}, fails=(429,))
        looked = Told({200: "Claimed", 202: "Knocking"}, fails=(404, 409))
        answered = Told({204: ""}, AnswerBody, {"number": "0471", "role": "member"}, fails=(404,))
        invited = Told({201: "Invitation"}, InvitationBody, {"role": "member"})
        return [
            Route("GET", "/edged/v1/claim", "shell", self.state, Told({200: "Claim"})),
            Route("POST", "/edged/v1/claim", "shell", self.enter, entered),
            Route("POST", requests, "public", self.knock, knocked),
            Route("GET", requests, "owner", self.waiting, Told({200: "Knocks"})),
            Route("GET", f"{requests}/{{id}}", "public", self.look, looked),
            Route("POST", f"{requests}/answers", "owner", self.answer, answered),
            Route("POST", "/edged/v1/users/invitations", "owner", self.invite, invited),
        ]

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Whose device this is, and who asks. Where nobody owns it, the device shows a code."""
        visitor, situation = visitor_of(request), self._access.situation
        if situation.reaches_beyond:  # else whoever owns this machine has its command line
            await self._claiming.show()
        told = {
            "name": socket.gethostname(),
            "claimed": situation.is_claimed,
            "reaches_beyond": situation.reaches_beyond,
            "lan_chat": situation.lan_may_chat,
            "supervised": self._access.chosen("supervised"),
            "you": user_body(visitor.user) if visitor.user else None,
            "may": sorted(visitor.scopes),
            "transport": transport_of(request),
        }
        return web.json_response(told)

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Enter a code: this browser is then signed in."""
        asked = await body.read(request, ClaimBody)
        user, issued = await self._claiming.enter(asked.code, asked.name or "", label_of(request, asked.label))
        return signed_in(request, user, issued)

    async def knock(self, request: web.Request) -> web.StreamResponse:
        """Ask an owner to be let in, who compares the number."""
        asked = await body.read(request, KnockBody)
        knock = self._claiming.knock(label_of(request, asked.label), request.remote or "")
        told = {"id": knock.id, "number": knock.number, "until_s": knock.until_s}
        return web.json_response(told, status=201)

    async def waiting(self, _request: web.Request) -> web.StreamResponse:
        """Who waits to be let in."""
        knocks = [
            {"number": knock.number, "label": knock.label, "address": knock.address, "until_s": knock.until_s}
            for knock in self._claiming.waiting()
        ]
        return web.json_response({"requests": knocks})

    async def look(self, request: web.Request) -> web.StreamResponse:
        """What became of asking to be let in."""
        found = await self._claiming.look(request.match_info["id"])
        if found is None:
            return web.json_response({"state": "waiting"}, status=202)
        return signed_in(request, *found)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Let somebody in, or do not."""
        asked = await body.read(request, AnswerBody)
        self._claiming.answer(asked.number, asked.role, asked.name or "")
        return web.Response(status=204)

    async def invite(self, request: web.Request) -> web.StreamResponse:
        """A code for whoever is to be let in; it is shown once."""
        asked = await body.read(request, InvitationBody)
        code, until_s = self._claiming.new_code(asked.role, asked.name or ""), self._claiming.now_s() + LIFE_S
        is_console = transport_of(request) == "socket"
        origins = self._exposed.addresses if is_console else (f"{request.scheme}://{request.host}",)
        told = {"code": code, "url": f"{origins[0]}/claim#{code}", "until_s": until_s}
        return web.json_response(told, status=201)


def label_of(request: web.Request, said: str | None) -> str:
    """What to call a browser in lists: what it says, else which program it is."""
    return said or request.headers.get("User-Agent", "")[:80] or "a browser"


def user_body(user: User) -> dict[str, Any]:
    """Somebody, as every answer names them."""
    return {"id": user.id, "name": user.name, "role": user.role}


def signed_in(request: web.Request, user: User, issued: Issued) -> web.Response:
    """The answer that makes a browser somebody's."""
    response = web.json_response({"you": user_body(user)})
    set_cookie(request, response, issued)
    return response
