"""What is to be fetched, as a file: `models/partial/queue.json`, the running one first, and behind them what failed."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edged import durable
from edged.checked import fields_of, reader
from edged.pull import link
from edged.pull.reference import Reference, Registered, Repository

log = logging.getLogger(__name__)

_FILE = "queue.json"
_MOST_BYTES = 2**20
# Of those that failed, the latest are kept; a reference has 2,048 characters at most, and so there is always room.
_MOST_FAILED = 16


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for. `name` is empty where it is to be the hub's; `keys` are those of its partials.

    Of one that failed, `code` and `message` say why, and `shown` what it was called; all three are empty otherwise.
    """

    id: str
    reference: str
    sha256: str | None = None
    name: str = ""
    revision: str = ""
    keys: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    shown: str = ""

    def is_same(self, reference: str, sha256: str | None, name: str, revision: str) -> bool:
        """Whether it is the same thing to ask for that."""
        return (self.reference, self.sha256, self.name, self.revision) == (reference, sha256, name, revision)

    def with_keys(self, keys: tuple[str, ...]) -> Order:
        """With what is known of its partials."""
        return replace(self, keys=keys)

    def failed(self, code: str, message: str, shown: str) -> Order:
        """As one that nobody goes on with unless he is asked to."""
        return replace(self, code=code, message=message, shown=shown)


# What the note of an earlier version says nothing of.
_DEFAULTS: dict[str, Any] = {
    field.name: list(field.default) if isinstance(field.default, tuple) else field.default
    for field in fields(Order)
    if field.default is not MISSING
}


def read(folder: Path) -> list[Order]:
    """What an earlier run has left to do, and what failed; nothing where its note is missing or damaged."""
    try:
        return _orders((folder / _FILE).read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read, and what it had to be fetched is forgotten: %s", folder / _FILE, error)
        return []


def _orders(raw: bytes) -> list[Order]:
    """Raises `ValueError`, `TypeError`, `RecursionError`."""
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    found: tuple[Order, ...] = reader(tuple[Order, ...])([{**_DEFAULTS, **one} for one in json.loads(raw)])
    return list(found)


def write(folder: Path, orders: Sequence[Order], failed: Sequence[Order] = ()) -> None:
    """Note them; of those that `failed`, oldest first, the latest. Raises `OSError`."""
    file = folder / _FILE
    if noted := [*orders, *failed[-_MOST_FAILED:]]:
        durable.write(file, json.dumps(noted, default=fields_of))
    else:
        durable.remove(file)


def called(wanted: Reference) -> str:
    """What to call it until a hub has been asked."""
    match wanted:
        case Repository(hub, repository, quantisation):
            host = "hf.co" if hub == "huggingface" else "modelscope.cn"
            return f"{host}/{repository}" + (f":{quantisation}" if quantisation else "")
        case Registered():
            return wanted.name
        case _:
            return link.name_of(wanted.url)
