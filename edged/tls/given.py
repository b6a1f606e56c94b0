"""A certificate that the owner brings: from a public authority for a name of his own, or from his company's.

Whoever renews it replaces the files; they are read again then, and a pair that does not fit yet waits for its other
half.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from edged.errors import ConfigError
from edged.tls import key_file
from edged.tls.authority import expiry, names_in
from edged.tls.context import Facts

log = logging.getLogger(__name__)


class GivenCertificate:
    """The certificate in one file and the key in another, or both in the first."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._looks: Sequence[object] = ()
        self._facts: Facts

    def refreshed(self) -> ssl.SSLContext | None:
        """A context with what the files hold, where they are not those from before.

        Raises `ConfigError` where they cannot be used, with what to do.
        """
        try:
            looks = [_look_of(file) for file in (self._certificate, self._key) if file is not None]
            if looks == self._looks:
                return None
            key_file.read(self._key or self._certificate)
            context = key_file.server_context(self._certificate, self._key)
            first, *_ = x509.load_pem_x509_certificates(self._certificate.read_bytes())
        except OSError as error:
            raise ConfigError(f"[tls]: {error.filename or self._certificate}: {error.strerror or error}.") from error
        if expiry(first) <= datetime.now(UTC):
            log.warning("%s has ended on %s; clients will refuse it", self._certificate, f"{expiry(first):%Y-%m-%d}")
        self._looks, self._facts = looks, Facts(tuple(str(names_in(first)).split()), expiry(first))
        return context

    def facts(self) -> Facts:
        """Of what is in force."""
        return self._facts


def _look_of(file: Path) -> object:
    """What changes when a file does, behind whatever links it has."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
