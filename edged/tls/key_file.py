"""Files with keys in them: their owner's alone, or they are not used; and what OpenSSL makes of them."""

from __future__ import annotations

import shlex
import ssl
from pathlib import Path

from edged import secret
from edged.errors import ConfigError

_MOST_BYTES = 2**20


def read(file: Path) -> bytes:
    """What a file with a key holds. Raises `ConfigError` where others can read it, `OSError` where nobody can."""
    with file.open("rb") as opened:
        secret.check_mode(file, opened.fileno())
        return opened.read(_MOST_BYTES)


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """What a server needs to speak for a certificate; without `key` the key is in the same file.

    Raises `ConfigError` where they cannot be used together, `OSError` where they cannot be read.
    """

    def no_password() -> str:
        raise ConfigError(
            f"{key or certificate} is encrypted, and nobody is there to type a password when this device starts. Write "
            f"it without one: openssl pkey -in {shlex.quote(str(key or certificate))} -out NEW_FILE"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        raise ConfigError(_sentence(certificate, key, error)) from error
    return context


def _sentence(certificate: Path, key: Path | None, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"[tls] key: {key or certificate} is not the key of the certificate {certificate}."
    both = f"{certificate} and {key}" if key else f"{certificate}"
    return f"[tls]: {both} cannot be used: a certificate and its key in PEM are needed ({error.reason or error})."
