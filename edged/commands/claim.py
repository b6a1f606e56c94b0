"""`edged claim`: a code that lets a browser in, as whoever its bearer is to be."""

from __future__ import annotations

import argparse

from edged import config, console, control
from edged.access import pairing
from edged.access.people import ROLES


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `claim`."""
    command.add_argument("--role", choices=ROLES, default="owner", help="what the bearer becomes (default: owner)")
    command.add_argument("--name", help="what to call them")
    command.add_argument(
        "--hash", action="store_true", help="make a code to print, and its hash for [access] claim_hash; tell nobody"
    )


def run(options: argparse.Namespace) -> int:
    """Ask the daemon for a code, or make one for a device that is not set up yet."""
    if options.hash:
        code = pairing.new_code()
        hashed = pairing.preset_hash(code)
        text = f'{code}\n\n[access]\nclaim_hash = "{hashed}"'
        console.show({"code": code, "claim_hash": hashed}, text, as_json=options.json)
        return 0
    socket = config.control_socket(config.state_dir(options.state_dir))
    asked = {"role": options.role} | ({"name": options.name} if options.name else {})
    found = control.ask(socket, "/edged/v1/users/invitations", "POST", asked)
    text = f"{found['code']}\n\nOpen {found['url']} within ten minutes, or enter the code on the device's page."
    console.show(found, text, as_json=options.json)
    return 0
