"""What is to be fetched, as a file: `models/partial/queue.json`, the running one first."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edged import durable
from edged.checked import fields_of, reader
from edged.pull import link
from edged.pull.reference import Reference, Registered, Repository

log = logging.getLogger(__name__)

_FILE = "queue.json"
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for. `name` is empty where it is to be the hub's; `keys` are those of its partials."""

    id: str
    reference: str
    sha256: str | None = None
    name: str = ""
    revision: str = ""
    keys: tuple[str, ...] = ()

    def is_same(self, reference: str, sha256: str | None, name: str, revision: str) -> bool:
        """Whether it is the same thing to ask for that."""
        return (self.reference, self.sha256, self.name, self.revision) == (reference, sha256, name, revision)

    def with_keys(self, keys: tuple[str, ...]) -> Order:
        """With what is known of its partials."""
        return replace(self, keys=keys)


def read(folder: Path) -> list[Order]:
    """What an earlier run has left to do; nothing where its note is missing or damaged."""
    try:
        raw = (folder / _FILE).read_bytes()
        found: tuple[Order, ...] = reader(tuple[Order, ...])(json.loads(raw) if len(raw) <= _MOST_BYTES else [])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read, and what it had to be fetched is forgotten: %s", folder / _FILE, error)
        return []
    return list(found)


def write(folder: Path, orders: Sequence[Order]) -> None:
    """Note it. Raises `OSError`."""
    file = folder / _FILE
    if orders:
        durable.write(file, json.dumps(orders, default=fields_of))
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
