"""Who there is: users with their sessions, keys, and a visitor, which is who asks just now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Role: TypeAlias = Literal["owner", "member", "guest"]
Scope: TypeAlias = Literal["chat", "admin", "cloud", "metrics"]
Ceiling: TypeAlias = Literal["device", "lan", "cloud"]

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: tuple[Scope, ...] = get_args(Scope)
NONE: frozenset[Scope] = frozenset()
# What a browser may do, by whose it is. `cloud` is no right of a person: the routing asks the owner's rules.
OF_ROLE: dict[Role, frozenset[Scope]] = {
    "owner": frozenset({"chat", "admin", "metrics"}),
    "member": frozenset({"chat"}),
    "guest": frozenset({"chat"}),
}


@dataclass(frozen=True, slots=True)
class User:
    """A person. A guest is one whose browser is forgotten after a day."""

    id: str
    name: str
    role: Role
    created_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """A browser of a user's. The secret in its cookie is exchanged now and then: `digest` is that of the newest."""

    id: str
    user_id: str
    digest: bytes
    label: str
    created_s: float
    renewed_s: float
    used_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may use; None is as much as there is. Days are those of UTC."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing needs counting."""
        return (self.requests_per_minute, self.requests_per_day, self.tokens_per_day) == (None, None, None)


@dataclass(frozen=True, slots=True)
class Key:
    """What a program uses. `ceiling` is how far what it sends may travel at most, whatever else is allowed."""

    id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    created_s: float
    expires_s: float | None = None
    quota: Quota = Quota()
    ceiling: Ceiling = "cloud"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. `account` owns what is stored and has a share; `open` is everybody who need not say who they are."""

    account: str
    scopes: frozenset[Scope]
    user: User | None = None
    session: Session | None = None
    key: Key | None = None

    @property
    def is_known(self) -> bool:
        """Whether it was proved who this is."""
        return self.account != OPEN


OPEN = "open"
# The command line over the control socket: the kernel has let in only the user whom the daemon runs as.
CONSOLE = Visitor("console", frozenset(SCOPES))


def of_session(session: Session, user: User) -> Visitor:
    """The person whose browser this is."""
    return Visitor(user.id, OF_ROLE[user.role], user=user, session=session)


def of_key(key: Key) -> Visitor:
    """The program that has this key."""
    return Visitor(key.id, key.scopes, key=key)
