"""The certificate that this device makes for itself: kept on the disk, renewed before anybody misses it.

    authority.pem   ten years; people have installed it, so it is made once and stays
    device.pem      below a year; made anew when its time runs out, or for a name or an address that it lacks

Each holds a key and its certificate, so that there is no moment in which one of them is new and the other old.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from edged import durable
from edged.tls import key_file
from edged.tls.authority import Authority, expiry, fingerprint, names_in, read_pair
from edged.tls.context import Facts, Trusted
from edged.tls.names import Names

log = logging.getLogger(__name__)

AUTHORITY_FILE = "authority.pem"
DEVICE_FILE = "device.pem"
# A clock that says less is wrong: this was written later.
_LATER_THAN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What matters of a certificate when one asks whether it still does."""

    names: Names
    begins: datetime
    ends: datetime


def reason_to_renew(leaf: Leaf | None, wanted: Names, now: datetime) -> str:
    """Why another certificate is needed now; empty where it is not.

    One that begins later than now was made by a clock that ran ahead, or is looked at by one that lags behind. Made
    anew it is right in the first case, and in the second again as soon as the clock is.
    """
    if leaf is None:
        return "there was none that could be used"
    if lacking := wanted.beyond(leaf.names):
        return f"the last one was not for {lacking}"
    if now < leaf.begins:
        return f"the last one begins on {leaf.begins:%Y-%m-%d}"
    if now >= leaf.ends - (leaf.ends - leaf.begins) / 3:
        return f"the last one ends on {leaf.ends:%Y-%m-%d}"
    return ""


class DeviceCertificate:
    """The authority and the certificate in `folder`. `names` is asked every time what the device is called now."""

    def __init__(
        self,
        folder: Path,
        names: Callable[[], Names],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._names = names
        self._now = now
        self._authority: Authority | None = None
        self._leaf: Leaf | None = None
        self._left_out: tuple[str, ...] = ()

    def refreshed(self) -> ssl.SSLContext | None:
        """A context with a certificate for what the device is called now, where it is not the one from before.

        Makes what is missing. Raises `ConfigError` where others can read the keys, `OSError`.
        """
        now, names = max(self._now(), _LATER_THAN), self._names()
        is_first = self._authority is None
        authority = self._authority or self._have_authority(names, now)
        leaf = self._kept(authority) if is_first else self._leaf
        wanted = authority.allowed(names)
        reason = reason_to_renew(leaf, wanted, now)
        if reason:
            pem = authority.issue(wanted, now)
            durable.write(self._folder / DEVICE_FILE, pem)
            log.info("made a certificate: %s", reason)
            leaf = _leaf_of(read_pair(pem.encode())[0])
        self._tell_left_out(names.beyond(wanted))
        # Only what came to its end counts: after an error everything is looked at again.
        self._authority, self._leaf = authority, leaf
        return key_file.server_context(self._folder / DEVICE_FILE) if reason or is_first else None

    def facts(self) -> Facts:
        """Of what is in force."""
        assert self._authority is not None
        assert self._leaf is not None
        certificate = self._authority.certificate
        trusted = Trusted(self._authority.public_pem, fingerprint(certificate), expiry(certificate))
        return Facts(tuple(str(self._leaf.names).split()), self._leaf.ends, trusted, self._left_out)

    def _have_authority(self, names: Names, now: datetime) -> Authority:
        file = self._folder / AUTHORITY_FILE
        try:
            return Authority.read(key_file.read(file))
        except FileNotFoundError:
            pass
        except ValueError as error:
            aside = file.with_name(f"{AUTHORITY_FILE}.damaged")
            file.replace(aside)
            log.warning(
                "%s was damaged (%s) and is now %s. This device makes itself another authority: whoever trusted the "
                "old one sees warnings until he installs the new one (edged trust).",
                *(file, error, aside),
            )
        authority = Authority.made(names, now)
        durable.write(file, authority.pem)
        log.info("made this device's authority, for %s", " ".join(names.dns))
        return authority

    def _kept(self, authority: Authority) -> Leaf | None:
        """What an earlier run has left, if it is whole and the authority's."""
        file = self._folder / DEVICE_FILE
        try:
            certificate, _ = read_pair(key_file.read(file))
            certificate.verify_directly_issued_by(authority.certificate)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, InvalidSignature) as error:
            log.warning("%s is of no use: %s", file, str(error) or "its signature is wrong")
            return None
        return _leaf_of(certificate)

    def _tell_left_out(self, left_out: Names) -> None:
        if left_out.dns and left_out.dns != self._left_out:
            log.warning(
                "The authority of this device was made for other names, so there is no https under %s. To have it, "
                "stop edged, delete %s and start it again; whoever trusts this device then has to install its new "
                "authority.",
                *(" ".join(left_out.dns), self._folder),
            )
        self._left_out = left_out.dns


def _leaf_of(certificate: x509.Certificate) -> Leaf:
    return Leaf(names_in(certificate), certificate.not_valid_before_utc, expiry(certificate))
