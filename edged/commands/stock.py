"""`edged models`, `rm`, `import`, `export`: the models on this disk. They work with and without a daemon.

A daemon looks at the disk whenever it is asked, so what comes or goes here is there for it at once. Only deleting is
left to a daemon that runs, because it lets go of the memory as well.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edged import config, console, control
from edged.commands import progress, tables
from edged.config import Config
from edged.errors import EdgedError
from edged.local.room import judge
from edged.plain import plain
from edged.routing import default_model
from edged.store import Store

_MODELS = "/edged/v1/models"
_CATALOGUE = "/edged/v1/catalogue"
# The hub is asked about every entry the first time, memory is measured once.
_ADVICE_S = 30.0
_HUB_S = 8.0


def add_models_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `models`."""
    command.add_argument(
        "--recommend", action="store_true", help="which models could be fetched, and which is the best for this device"
    )


def add_remove_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `rm`."""
    command.add_argument("names", nargs="+", metavar="NAME", help="an installed model; see edged models")


def add_import_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `import`."""
    command.add_argument("source", type=Path, metavar="FILE|DIR", help="a .gguf, a manifest, or a folder of them")
    command.add_argument("--name", help="what to call it here, where it is one model")


def add_export_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `export`."""
    command.add_argument("name", metavar="NAME", help="an installed model; see edged models")
    command.add_argument("directory", type=Path, metavar="DIR", help="where the stick is mounted")


def models(options: argparse.Namespace) -> int:
    """What is installed; with `--recommend` what could be."""
    settings, state = config.load(config.find_file(options.config)), config.state_dir(options.state_dir)
    if options.recommend:
        body = _advice(settings, state)
        console.show(body, tables.Recommended(body), as_json=options.json)
        return 0
    files = _store(state).models()
    default = default_model(settings.models.default, files, judge(settings.engine))
    listed = {"models": [tables.installed_body(file, default) for file in files]}
    console.show(listed, tables.installed(files, default), as_json=options.json)
    return 0


def remove(options: argparse.Namespace) -> int:
    """Every one that can be; 1 if one could not."""
    state = config.state_dir(options.state_dir)
    socket, store = config.control_socket(state), _store(state)
    is_running, removed, failed = control.is_running(socket), [], []
    for name in options.names:
        try:
            if is_running:
                gone = control.ask(socket, f"{_MODELS}/{quote(name, safe='')}", "DELETE")
            else:
                gone = {"name": name, "size_bytes": store.find(name).size_bytes}
                store.remove(name)
            removed.append(gone)
        except EdgedError as error:
            failed.append({"name": name, "code": error.code, "message": str(error)})
    freed = progress.size(sum(gone["size_bytes"] for gone in removed))
    said = f"{', '.join(gone['name'] for gone in removed)}: deleted, {freed}." if removed else ""
    _say({"removed": removed, "failed": failed}, said, as_json=options.json)
    for failure in failed:
        sys.stderr.write(f"edged: {plain(failure['message'], progress.LONGEST_MESSAGE)}\n")
    return 1 if failed else 0


def take(options: argparse.Namespace) -> int:
    """Models from a file, a folder or a stick."""
    from edged.store.importing import import_models  # the other commands start faster without it

    settings, state = config.load(config.find_file(options.config)), config.state_dir(options.state_dir)
    with progress.unless_json(as_json=options.json) as tell:
        found = import_models(
            _store(state),
            options.source,
            name=options.name,
            reserve_bytes=settings.downloads.reserve_bytes,
            tell=lambda name, done, total: tell(_copied(name, done, total)),
        )
    body = {"imported": list(found.names), "refused": list(found.refused)}
    _say(body, f"Imported, checksums verified: {', '.join(found.names)}.", as_json=options.json)
    for refused in found.refused:
        sys.stderr.write(f"edged: left out: {plain(refused, progress.LONGEST_MESSAGE)}\n")
    return 1 if found.refused else 0


def give(options: argparse.Namespace) -> int:
    """A model onto a stick, with a manifest."""
    from edged.store.exporting import export_model  # the other commands start faster without it

    store = _store(config.state_dir(options.state_dir))
    with progress.unless_json(as_json=options.json) as tell:
        paths = export_model(
            store, options.name, options.directory, lambda done, total: tell(_copied(options.name, done, total))
        )
    body = {"name": options.name, "files": [str(path) for path in paths]}
    written = "\n".join(f"  {path}" for path in paths)
    _say(body, f"{options.name} was exported. Bring all of these:\n{written}", as_json=options.json)
    return 0


def _advice(settings: Config, state: Path) -> dict[str, Any]:
    socket = config.control_socket(state)
    if control.is_running(socket):
        return control.ask(socket, _CATALOGUE, timeout_s=_ADVICE_S)
    from edged.advice import hub  # a daemon that runs does this instead
    from edged.advice.adviser import Adviser, Circumstances
    from edged.pull.finder import Hubs

    store = _store(state)
    asking = partial(hub.asking, settings.downloads, Hubs.of(settings.downloads, os.environ))
    adviser = Adviser(config.cache_dir(state), store.folder, settings.downloads.reserve_bytes, asking)
    installed = {record.origin for record in store.records()}
    return asyncio.run(adviser.advise(Circumstances(installed), _HUB_S))


def _store(state: Path) -> Store:
    return Store(config.models_dir(state))


def _copied(name: str, done_bytes: int, total_bytes: int) -> Mapping[str, Any]:
    return {"name": name, "state": "copying", "done_bytes": done_bytes, "total_bytes": total_bytes}


def _say(body: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json or sentence:
        console.show(body, sentence, as_json=as_json)
