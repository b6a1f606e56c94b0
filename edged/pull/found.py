"""What a hub says about a model before any of it is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from edged.errors import ProviderUnavailable
from edged.plain import plain


@dataclass(frozen=True, slots=True)
class Remote:
    """One file elsewhere; None is what nobody said."""

    url: str
    size_bytes: int | None
    sha256: str | None
    file: str

    @property
    def key(self) -> str:
        """What its partial is called: the content where that is known, so that a mirror can go on with it."""
        return self.sha256 or sha256(self.url.encode()).hexdigest()


_LONGEST_LICENSE = 100  # characters


@dataclass(frozen=True, slots=True)
class Found:
    """A model elsewhere. `name` is what it is called here unless somebody says otherwise, `source` its reference there.

    `left` names what belongs to it there and is not fetched.
    """

    name: str
    pieces: tuple[Remote, ...]
    source: str
    revision: str = ""
    license: str = ""
    left: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int | None:
        """All pieces; None where one is unknown."""
        sizes = [piece.size_bytes for piece in self.pieces]
        return None if None in sizes else sum(size or 0 for size in sizes)


def license_of(said: str | Sequence[str] | None) -> str:
    """What a hub calls a licence, or the first line of a licence's text, fit to be shown."""
    texts = said.splitlines() if isinstance(said, str) else [", ".join(said or ())]
    return next((plain(text.strip(), _LONGEST_LICENSE) for text in texts if text.strip()), "")


class Answer(BaseModel):
    """What a hub answers, as far as it matters: unknown fields are its own business, types are not."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @classmethod
    def read(cls, body: object, host: str) -> Self:
        """Checked. Raises `ProviderUnavailable` with the first thing that is wrong."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"]) or "its answer"
            raise ProviderUnavailable(f"{host} answers what is not understood: {place}: {first['msg']}.") from error
