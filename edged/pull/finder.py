"""Who is asked for what: references to hubs, and another hub where the first cannot be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path

from edged.config import Downloads
from edged.errors import ChecksumMismatch, ConfigError, EdgedError, InvalidRequest
from edged.pull import huggingface, link, modelscope, ollama
from edged.pull.found import Found
from edged.pull.hosts import Named, Origin, origin_of
from edged.pull.pace import Patience
from edged.pull.reference import Link, Reference, Registered, Repository
from edged.pull.throttle import Clock
from edged.pull.web import Retryable, Web
from edged.redaction import redacted
from edged.secret import Secret, read_file, taken

_HUGGINGFACE = "https://huggingface.co"  # huggingface_hub, constants.py: `_HF_DEFAULT_ENDPOINT`


@dataclass(frozen=True, slots=True)
class Hubs:
    """Where the hubs are, as configured, and what we are known by at Hugging Face.

    `modelscope` is empty where it is not to be asked.
    """

    huggingface: str
    modelscope: str
    ollama: str
    token: Secret | None = None

    @classmethod
    def of(cls, settings: Downloads, environ: MutableMapping[str, str]) -> Hubs:
        """From the configuration, else `$HF_ENDPOINT`, else where they are for everybody.

        The token comes from `token`, `token_file`, the credential `hf_token` or `$HF_TOKEN`, whichever is there first;
        the last one is taken out of `environ` in any case. Raises `ConfigError`, as `secret.read_file` does.
        """
        endpoint = settings.huggingface or environ.get("HF_ENDPOINT") or _HUGGINGFACE
        inherited = taken(environ, "HF_TOKEN")
        return cls(endpoint, settings.modelscope, settings.ollama, _from_outside(settings, environ) or inherited)

    def named(self, settings: Downloads) -> Named:
        """What the owner has named: his hosts, and endpoints that are not everybody's."""
        usual = Hubs.of(Downloads(), {})
        own = {self.huggingface, self.modelscope, self.ollama} - {usual.huggingface, usual.modelscope, usual.ollama, ""}
        try:
            return Named.of(settings.hosts, own)
        except ValueError as error:
            raise ConfigError(f"[downloads]: {error}.") from error

    def tokens(self) -> dict[Origin, Secret]:
        """Who may see which token."""
        return {origin_of(self.huggingface): self.token} if self.token else {}


def _from_outside(settings: Downloads, environ: Mapping[str, str]) -> Secret | None:
    """The token that the owner has set, or has put into a file."""
    if settings.token:
        return settings.token
    if settings.token_file:
        return read_file(settings.token_file)
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "")) / "hf_token"
    return read_file(credential) if credential.is_absolute() and credential.exists() else None


class Finder:
    """Asks the hubs."""

    def __init__(self, web: Web, hubs: Hubs) -> None:
        self._web = web
        self._hubs = hubs

    async def find(self, reference: Reference, sha256: str | None = None, revision: str = "") -> Found:
        """What there is. A `sha256` that somebody gave must be the hub's too; `revision` is a commit to go back to.

        Raises `ModelNotFound`, `ModelInvalid`, `ProviderAuth`, `ProviderUnavailable`, `ChecksumMismatch`,
        `InvalidRequest`, `Forbidden`.
        """
        match reference:
            case Link():
                return link.find(reference, sha256)
            case Registered():
                found = await ollama.find(self._web, self._hubs.ollama, reference)
            case Repository(hub="modelscope"):
                endpoint = self._hubs.modelscope or Downloads().modelscope
                found = await modelscope.find(self._web, endpoint, reference.repository, reference.wanted)
            case Repository():
                found = await self._huggingface(reference, revision)
        return _checked(found, sha256)

    async def find_patiently(
        self,
        reference: Reference,
        sha256: str | None,
        revision: str,
        patience: Patience,
        clock: Clock,
        paused: Callable[[str], None],
    ) -> Found:
        """The same, however often the hubs have to be asked: after a restart the network may not be there yet.

        `paused` hears why nothing happens, and an empty text when it goes on.
        """
        failures = 0
        while True:
            try:
                return await self.find(reference, sha256, revision)
            except Retryable as error:
                failures += 1
                if failures > patience.attempts:
                    raise
                wait_s = error.wait_s(patience, failures)
                paused(f"{redacted(str(error))} Trying again in {wait_s:.0f} s.")
                await clock.sleep(wait_s)
                paused("")

    async def _huggingface(self, reference: Repository, revision: str) -> Found:
        repository, wanted = reference.repository, reference.wanted
        try:
            return await huggingface.find(self._web, self._hubs.huggingface, repository, wanted, revision)
        except Retryable as error:
            if not self._hubs.modelscope:
                raise
            try:
                found = await modelscope.find(self._web, self._hubs.modelscope, repository, wanted)
            except EdgedError as other:
                why = f"{error} Nor does ModelScope help: {other}"
                raise Retryable(why, asked_s=error.asked_s, is_unreachable=error.is_unreachable) from error
            return replace(found, name=found.name.replace("modelscope.cn/", "hf.co/", 1))


def _checked(found: Found, sha256: str | None) -> Found:
    if sha256 is None:
        return found
    if len(found.pieces) > 1:
        raise InvalidRequest(f"{found.name} has {len(found.pieces)} files; one checksum cannot speak for them.")
    (piece,) = found.pieces
    if piece.sha256 not in (None, sha256):
        raise ChecksumMismatch(f"{found.name} has the SHA-256 {piece.sha256} there, and {sha256} was asked for.")
    return replace(found, pieces=(replace(piece, sha256=sha256),))
