"""`edged scrub`: has the daemon read every model again, and shows what it finds. Ctrl-C ends the showing alone.

A daemon that stops in the middle does not go on by itself when it starts again, so that is told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edged import config, console, control
from edged.commands import progress, tables

_SCRUB = "/edged/v1/scrub"
_STOPPED = (
    "The daemon stopped before everything was checked; what is not called good or mended is not known. Start it, and "
    "check again: edged scrub"
)


def run(options: argparse.Namespace) -> int:
    """0 if all is well in the end, mended or not; 1 if something is bad, could not be checked, or was not reached."""
    socket = config.control_socket(config.state_dir(options.state_dir))
    begun = control.ask(socket, _SCRUB, "POST")
    try:
        body = _watched(socket, begun, as_json=options.json)
    except KeyboardInterrupt:
        sys.stderr.write("\nThe daemon goes on checking. How far it is: edged scrub\n")
        return 1
    console.show(body, tables.scrubbed(body), as_json=options.json)
    return 0 if is_well(body) else 1


def is_well(body: Mapping[str, Any]) -> bool:
    """Whether everything was reached and is as it should be."""
    return not body["failed"] and all(model["state"] in ("good", "mended") for model in body["models"])


def _watched(socket: Path, begun: Mapping[str, Any], *, as_json: bool) -> Mapping[str, Any]:
    """What is known when nothing more will be."""
    body = begun
    # A daemon that was there a moment ago and is not: that is told below, with what it had found.
    with progress.unless_json(as_json=as_json) as tell, suppress(control.NotRunning):
        for body in control.follow(socket, _SCRUB):
            if body["models"]:
                last = body["models"][-1]
                tell({**last, "total_bytes": last["size_bytes"], "reason": last["message"]})
    return body if not body["running"] else {**body, "running": False, "failed": _STOPPED}
