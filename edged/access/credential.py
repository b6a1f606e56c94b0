"""What proves who asks: API keys, device tokens, sessions. Each is an id to look up and a secret to compare.

    edk_<id>_<secret>     an API key, as its owner pastes it into a program
    edt_<id>_<secret>     a device token: an hour's worth of the same
    eds_<id>_<secret>     a session, in a browser's cookie

Kept is the SHA-256 of the secret: a slow hash defends words that people choose, and these are 192 random bits. They are
found by their id and compared in constant time, so no timing tells how much of a guess was right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["edk", "edt", "eds"]

_ID_BYTES = 8
_SECRET_BYTES = 24
_SHAPE = re.compile(r"(edk|edt|eds)_([0-9a-f]{16})_([0-9a-f]{48})", re.ASCII)
# What is of our making, whole or not: such a thing that opens nothing is a mistake, not another server's key.
_OURS = re.compile(r"ed[kts]_")


@dataclass(frozen=True, slots=True)
class Credential:
    """Something that may prove who asks; not yet looked up. Its `repr` does not tell the secret."""

    kind: Kind
    id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Credential({self.kind}_{self.id})"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new credential: `text` is shown once and kept nowhere."""

    text: str
    credential: Credential

    def __repr__(self) -> str:
        return f"Issued({self.credential!r})"


def issue(kind: Kind, id: str | None = None) -> Issued:
    """A new one; with `id` a new secret for that."""
    id, secret = id or secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    return Issued(f"{kind}_{id}_{secret}", Credential(kind, id, _digest(secret)))


def read(text: str) -> Credential | None:
    """What `text` claims to be; None unless it is well-formed from its first to its last character."""
    if not (found := _SHAPE.fullmatch(text)):
        return None
    kind, id, secret = found.groups()
    return Credential(kind, id, _digest(secret))  # type: ignore[arg-type]  # the expression knows no other kinds


def is_ours(text: str) -> bool:
    """Whether `text` means to be one, right or wrong. Programs send other servers' keys as well, out of habit."""
    return _OURS.match(text) is not None


def same(known: bytes, digest: bytes) -> bool:
    """Whether two digests are equal, in time that depends on neither."""
    return hmac.compare_digest(known, digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
