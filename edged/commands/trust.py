"""`edged trust`: the authority of this device, to be installed where its https is to be trusted.

What a phone fetches over plain http on its way to trust might be anybody's, so the fingerprint is here to be compared:
this command reads it over the control socket, where nobody else can answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edged import config, console, control
from edged.errors import Conflict, EdgedError

_TRUST = "/edged/v1/trust"
# Two rows of squares in one line of text, by whether the upper and the lower one are dark.
_HALVES = {(0, 0): " ", (0, 1): "▄", (1, 0): "▀", (1, 1): "█"}
_QUIET_SQUARES = 4  # around the code, as ISO/IEC 18004 wants it


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What can be said behind `trust`."""
    command.add_argument("--out", type=Path, metavar="FILE", help="write the authority's certificate there as well")


def run(options: argparse.Namespace) -> int:
    """What to install, where to fetch it, and how to know that it is the right one."""
    body = control.ask(config.control_socket(config.state_dir(options.state_dir)), _TRUST)
    if options.out is not None:
        _write(options.out, body["authority"])
        body["file"] = str(options.out)
    console.show(body, picture(body), as_json=options.json)
    return 0


def _write(file: Path, authority: Mapping[str, Any] | None) -> None:
    if authority is None:
        raise Conflict("There is nothing to install: this device shows a certificate of yours ([tls] certificate).")
    try:
        file.write_text(authority["certificate"])
    except OSError as error:
        raise EdgedError(f"{file} cannot be written: {error.strerror or error}.") from error


def picture(body: Mapping[str, Any]) -> RenderableType:
    """The answer of the daemon for a person, with a code for the camera of a phone."""
    table = Table.grid(padding=(0, 2))
    table.add_row("https", "  ".join(body["https"]))
    table.add_row("certificate", escape(f"until {body['expires']}, for {' '.join(body['names'])}"))
    if body["left_out"]:
        table.add_row("[bold red]not for[/]", escape(" ".join(body["left_out"])))
    authority = body["authority"]
    if authority is None:
        return Group(table, Text("\nIt is a certificate of yours ([tls] certificate): there is nothing to install."))
    table.add_row("authority", f"until {authority['expires']}; install it from [bold]{escape(authority['url'])}[/]")
    table.add_row("SHA-256", authority["fingerprint_sha256"])
    if "file" in body:
        table.add_row("written to", escape(body["file"]))
    advice = "Install what you find there, and compare the SHA-256 that you are shown with the one above."
    return Group(table, Text(), Text(code(authority["url"]), style="black on white", no_wrap=True), Text(f"\n{advice}"))


def code(text: str) -> str:
    """`text` as a QR code of half blocks, dark on light."""
    import segno  # the other commands start faster without it

    squares = _framed(segno.make(text, error="m", micro=False).matrix)
    if len(squares) % 2:
        squares.append([0] * len(squares[0]))
    pairs = zip(squares[::2], squares[1::2], strict=True)
    return "\n".join("".join(_HALVES[above, below] for above, below in zip(*pair, strict=True)) for pair in pairs)


def _framed(matrix: Sequence[bytearray]) -> list[list[int]]:
    side = [0] * _QUIET_SQUARES
    blank = [[0] * (len(matrix[0]) + 2 * _QUIET_SQUARES) for _ in range(_QUIET_SQUARES)]
    return [*blank, *([*side, *map(int, row), *side] for row in matrix), *blank]
