"""`edged pull`: has the daemon fetch a model, and shows how far it is. Ctrl-C ends the showing, not the fetching."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edged import config, console, control
from edged.commands import progress, tables
from edged.errors import InvalidRequest

_PULLS = "/edged/v1/pulls"
_ENDED = ("done", "failed", "cancelled")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind it."""
    command.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name from edged models --recommend, hf.co/ORG/REPO[:QUANT], https://HOST/FILE.gguf, or a name in "
        "Ollama's registry such as llama3.2:1b; without, what is being fetched is shown",
    )
    command.add_argument("--sha256", metavar="HEX", help="what the file must be")
    command.add_argument("--name", help="what to call it here")
    command.add_argument("--cancel", action="store_true", help="end that download, and delete what there is of it")
    command.add_argument("--detach", action="store_true", help="do not wait for it")


def run(options: argparse.Namespace) -> int:
    """0 when the model is installed, 1 when it is not."""
    socket = config.control_socket(config.state_dir(options.state_dir))
    if options.model is None:
        body = control.ask(socket, _PULLS)
        console.show(body, tables.pulls(body), as_json=options.json)
        return 0
    if options.cancel:
        return _cancel(socket, options)
    wanted = {"model": options.model, "sha256": options.sha256, "name": options.name}
    begun = control.ask(socket, _PULLS, "POST", {key: value for key, value in wanted.items() if value is not None})
    if options.detach:
        console.show(begun, f"{begun['name']} is being fetched. How far it is: edged pull", as_json=options.json)
        return 0
    return _watch(socket, begun, as_json=options.json)


def _watch(socket: Path, begun: Mapping[str, Any], *, as_json: bool) -> int:
    began_s, last = time.monotonic(), begun
    try:
        # A daemon that was there a moment ago and is not: what becomes of the model is said below.
        with _shown(as_json=as_json) as tell, suppress(control.NotRunning):
            for last in control.follow(socket, _path(begun)):
                tell(last)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{last['name']} is still being fetched by the daemon. How far it is: edged pull. To end it: edged pull "
            f"--cancel {begun['reference']}\n"
        )
        return 1
    if last["state"] not in _ENDED:
        sys.stderr.write(f"edged: The daemon stopped; {last['name']} goes on when it starts again: edged pull\n")
        return 1
    is_done = last["state"] == "done"
    if not as_json:
        said = progress.ending(last, time.monotonic() - began_s)
        (sys.stdout if is_done else sys.stderr).write(said + "\n" if is_done else f"edged: {said}\n")
    return 0 if is_done else 1


def _shown(*, as_json: bool) -> AbstractContextManager[progress.Tell]:
    """For programs every change as a line of JSON; for people what their terminal can show."""
    if as_json:
        return progress.as_json(sys.stdout)
    return progress.shown(console.terminal())


def _cancel(socket: Path, options: argparse.Namespace) -> int:
    named = (options.model, options.model.removesuffix(":latest"))
    for pull in control.ask(socket, _PULLS)["pulls"]:
        if pull["state"] not in ("done", "cancelled") and {pull["id"], pull["name"], pull["reference"]} & {*named}:
            ended = control.ask(socket, _path(pull), "DELETE")
            console.show(ended, f"{ended['name']} is no longer being fetched.", as_json=options.json)
            return 0
    raise InvalidRequest(f"{options.model} is not being fetched. What is: edged pull")


def _path(pull: Mapping[str, Any]) -> str:
    return f"{_PULLS}/{quote(pull['id'], safe='')}"
