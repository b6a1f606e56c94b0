"""What a request needs, and whether who asks has it: pure.

| need | who has it |
|---|---|
| `shell` | everybody, always: the page's files, claiming, `/healthz` |
| `public` | everybody, once the device has an owner or is reached from this machine alone |
| `chat` | people, keys with that scope; all, where only this machine is served or the owner lets the network chat |
| `metrics` | the same with `metrics`, and owners |
| `owner` | owners and keys with `admin` |
| `secrets` | the same, and only where nobody can listen: over the control socket or TLS |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edged.access.people import NONE, OPEN, Scope, Visitor
from edged.errors import ClaimRequired, Forbidden, Unauthorized

Need: TypeAlias = Literal["shell", "public", "chat", "metrics", "owner", "secrets"]
Transport: TypeAlias = Literal["socket", "tls", "plain"]

_SCOPE_OF: dict[Need, Scope] = {"chat": "chat", "metrics": "metrics", "owner": "admin", "secrets": "admin"}
_WHAT: dict[Need, str] = {
    "chat": "use the models",
    "metrics": "read the metrics",
    "owner": "change what is on this device, or see what others do",
    "secrets": "handle secrets",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """How things stand: whether somebody owns the device, whether others can reach it, whether those may chat."""

    is_claimed: bool
    reaches_beyond: bool
    lan_may_chat: bool = False


def anybody(situation: Situation) -> Visitor:
    """Who says nothing about themselves. Being asked from this machine is no privilege; listening to it alone is."""
    if not situation.reaches_beyond:
        return Visitor(OPEN, frozenset({"chat", "metrics"}))
    return Visitor(OPEN, frozenset({"chat"}) if situation.is_claimed and situation.lan_may_chat else NONE)


def decide(need: Need, visitor: Visitor, transport: Transport, situation: Situation) -> None:
    """Return where the request may go on.

    Raises `ClaimRequired`, `Unauthorized`, `Forbidden`, each with the way out.
    """
    if need == "shell" or transport == "socket":
        return
    if situation.reaches_beyond and not situation.is_claimed:
        raise ClaimRequired(
            "Nobody owns this device yet. Open it in a browser and enter the code that it shows on its screen and in "
            "its log; `edged claim` on the device shows a new one."
        )
    if need == "public":
        return
    if _SCOPE_OF[need] not in visitor.scopes:
        raise _without_scope(need, visitor)
    if need == "secrets" and transport == "plain":
        raise Forbidden(
            "Secrets are handled only where nobody can listen, and this connection is plain HTTP. Use https://, or the "
            "`edged` command on the device."
        )


def _without_scope(need: Need, visitor: Visitor) -> Unauthorized | Forbidden:
    if not visitor.is_known:
        return Unauthorized(
            f"To {_WHAT[need]}, say who you are: pair this browser on the device's page, or send an API key "
            "(`edged key create` on the device makes one) as `Authorization: Bearer edk_…`."
        )
    who = f"The key {visitor.key.name!r}" if visitor.key else "Who is signed in here"
    return Forbidden(
        f"{who} may not {_WHAT[need]}: that takes "
        f"{'the scope' if visitor.key else 'an owner, or a key with the scope'} {_SCOPE_OF[need]!r}."
    )
