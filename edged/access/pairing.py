"""Codes that a person reads here and types there, once: pure.

A code has 40 bits, lives for ten minutes and bears five wrong tries, whoever makes them: with one in 2^40 for each, a
guess is no way in. When it is used up, so are all others, and nothing is tried for a minute, then for two, and so on
up to an hour, unless the owner shows a new one at the device. A preset code, which is printed somewhere and known
here by its hash alone, never expires; it only pauses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edged.access.people import Role
from edged.errors import InvalidRequest, RateLimited

LIFE_S = 600.0
TRIES = 5
MOST_CODES = 8
_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
_DOUBLINGS = 6  # reaches the longest; whoever goes on for weeks must not reach the end of floating point numbers
# Crockford's digits (crockford.com/base32.html): none looks like another, and those that people mistake mean the same.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("OIL", "011")
_LENGTH = 8
# RFC 7914: 16 MiB and some 50 ms on a laptop. Five a minute are no burden, and 2^40 of them are.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Code:
    """A code that is out: who has it becomes `role`, called `name` unless they say otherwise."""

    digest: bytes
    role: Role
    until_s: float
    name: str = ""
    tries: int = TRIES

    @property
    def is_preset(self) -> bool:
        """Whether it is printed somewhere, and thus stays."""
        return math.isinf(self.until_s)


@dataclass(frozen=True, slots=True)
class Pairing:
    """The codes that are out, and until when nothing is tried after too many wrong ones."""

    codes: tuple[Code, ...] = ()
    pauses: int = 0
    paused_until_s: float = 0.0

    def has_code(self, now_s: float) -> bool:
        """Whether there is one that could be entered."""
        return any(code.until_s > now_s for code in self.codes)


def new_code() -> str:
    """A code as it is shown: `7K2M-QX9D`."""
    drawn = "".join(secrets.choice(_DIGITS) for _ in range(_LENGTH))
    return f"{drawn[:4]}-{drawn[4:]}"


def digest_of(typed: str) -> bytes:
    """What is compared of a code, however it was typed. Raises `InvalidRequest` for what can be none."""
    return hashlib.sha256(_plain(typed).encode()).digest()


def offer(pairing: Pairing, code: Code, now_s: float) -> Pairing:
    """One more code; the oldest gives way where there are many. It ends a pause: it was the owner who asked."""
    alive = [known for known in pairing.codes if known.until_s > now_s]
    movable = [known for known in alive if not known.is_preset][-(MOST_CODES - 1) :]
    presets = [known for known in alive if known.is_preset]
    return Pairing((*presets, *movable, code), pairing.pauses, 0.0)


def without_presets(pairing: Pairing) -> Pairing:
    """What is left for a device that has an owner: what is printed on it claims it once."""
    return replace(pairing, codes=tuple(code for code in pairing.codes if not code.is_preset))


def attempt(pairing: Pairing, digests: Sequence[bytes], now_s: float) -> tuple[Pairing, Code | None]:
    """What is left after somebody typed a code with one of these digests, and the code, if it was right.

    A right code is gone with that. Raises `RateLimited` in a pause.
    """
    if now_s < pairing.paused_until_s:
        raise RateLimited(
            "Too many wrong codes were entered. Try later, or show a new code with `edged claim` on the device.",
            retry_after_s=pairing.paused_until_s - now_s,
        )
    alive = [code for code in pairing.codes if code.until_s > now_s]
    right = [code for code in alive for digest in digests if hmac.compare_digest(code.digest, digest)]
    if right:
        return Pairing(tuple(code for code in alive if code is not right[0])), right[0]
    worn = [replace(code, tries=code.tries - 1) for code in alive]
    if all(code.tries > 0 for code in worn):
        return replace(pairing, codes=tuple(worn)), None
    pause_s = min(_PAUSE_S * 2 ** min(pairing.pauses, _DOUBLINGS), _LONGEST_PAUSE_S)
    presets = tuple(replace(code, tries=TRIES) for code in worn if code.is_preset)
    return Pairing(presets, pairing.pauses + 1, now_s + pause_s), None


def preset_hash(typed: str, salt: bytes | None = None) -> str:
    """What `[access] claim_hash` holds of a code: `scrypt:` with the salt and the hash in Base64."""
    salt = salt or secrets.token_bytes(_SALT_BYTES)
    hashed = hashlib.scrypt(_plain(typed).encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return f"scrypt:{base64.b64encode(salt).decode()}:{base64.b64encode(hashed).decode()}"


def preset(claim_hash: str) -> tuple[bytes, bytes]:
    """Salt and hash of a preset code; its form was checked with the configuration."""
    _method, salt, hashed = claim_hash.split(":")
    return base64.b64decode(salt), base64.b64decode(hashed)


def preset_digest(typed: str, salt: bytes) -> bytes:
    """What is compared of a typed code with the hash of a preset one. Takes some 50 ms: call it in a thread."""
    return preset(preset_hash(typed, salt))[1]


def _plain(typed: str) -> str:
    plain = typed.upper().replace("-", "").replace(" ", "").translate(_MISREAD)
    if len(plain) != _LENGTH or any(digit not in _DIGITS for digit in plain):
        raise InvalidRequest(f"A code has {_LENGTH} letters and digits, such as 7K2M-QX9D.", param="code")
    return plain
