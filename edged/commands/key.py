"""`edged key`: keys for programs. A daemon that runs is asked; else they are made in the state directory."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from edged import config, console, control
from edged.access.door import Access
from edged.access.people import SCOPES, Key, Quota
from edged.access.quota import DAY_S
from edged.access.register import DATABASE, STEPS, Register
from edged.database import opened

_KEYS = "/edged/v1/keys"

Result = TypeVar("Result")


def add_create_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `key create`."""
    command.add_argument("name", metavar="NAME", help="what the key is for")
    command.add_argument("--scope", choices=SCOPES, action="append", help="what it may do; may be repeated (chat)")
    command.add_argument("--days", type=float, help="how long it is valid (default: until it is revoked)")
    command.add_argument("--requests-per-minute", type=int, metavar="N")
    command.add_argument("--requests-per-day", type=int, metavar="N")
    command.add_argument("--tokens-per-day", type=int, metavar="N")


def create(options: argparse.Namespace) -> int:
    """Make a key, and show it this once."""
    limits = {name: getattr(options, name) for name in ("requests_per_minute", "requests_per_day", "tokens_per_day")}
    scopes = options.scope or ["chat"]
    asked: dict[str, Any] = {"name": options.name, "scopes": scopes, "quota": limits}
    if options.days is not None:
        asked["life_days"] = options.days
    state = config.state_dir(options.state_dir)
    if control.is_running(config.control_socket(state)):
        found = control.ask(config.control_socket(state), _KEYS, "POST", asked)
    else:
        found = _in_the_folder(state, lambda access: _create(access, asked))
    console.show(
        found, f"{found['key']}\n\nIt is not shown again; {found['id']} is what to revoke.", as_json=options.json
    )
    return 0


def list_all(options: argparse.Namespace) -> int:
    """Which keys there are, and what they may do."""
    state = config.state_dir(options.state_dir)
    if control.is_running(config.control_socket(state)):
        found = control.ask(config.control_socket(state), _KEYS)
    else:
        found = _in_the_folder(state, _list)
    console.show(found, _table(found["keys"]), as_json=options.json)
    return 0


def revoke(options: argparse.Namespace) -> int:
    """Have a key open nothing any more, from now on."""
    state = config.state_dir(options.state_dir)
    if control.is_running(config.control_socket(state)):
        control.ask(config.control_socket(state), f"{_KEYS}/{options.id}", "DELETE")
    else:
        _in_the_folder(state, lambda access: access.revoke_key(options.id))
    return 0


def _in_the_folder(state: Path, work: Callable[[Access], Coroutine[Any, Any, Result]]) -> Result:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return asyncio.run(_with_access(state, work))


async def _with_access(state: Path, work: Callable[[Access], Coroutine[Any, Any, Result]]) -> Result:
    with opened(state / DATABASE, STEPS) as database:
        access = Access(Register(database), config.Access(), lambda _event, **_facts: None, reaches_beyond=False)
        async with access.keeping():
            return await work(access)


async def _create(access: Access, asked: dict[str, Any]) -> dict[str, Any]:
    days = asked.get("life_days")
    life_s = None if days is None else days * DAY_S
    scopes = frozenset(asked["scopes"])
    key, issued = await access.add_key(asked["name"], scopes, life_s, Quota(**asked["quota"]), "cloud")
    return {**_told(key), "key": issued.text}


async def _list(access: Access) -> dict[str, Any]:
    return {"keys": [_told(key) for key in access.keys.values()]}


def _told(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_s": key.created_s,
        "expires_s": key.expires_s,
    }


def _table(keys: list[dict[str, Any]]) -> Table | str:
    if not keys:
        return "There are no keys. `edged key create NAME` makes one."
    table = Table("id", "for", "may", "until", box=None, pad_edge=False)
    for key in keys:
        until = f"{datetime.fromtimestamp(key['expires_s']):%Y-%m-%d %H:%M}" if key["expires_s"] else "revoked"
        table.add_row(key["id"], key["name"], " ".join(key["scopes"]), until)
    return table
