"""What strangers say, before it reaches a terminal or a log: on one line, bounded, and nothing that a terminal obeys.

A hub's error, a licence in a file's header, a note on a stick: whoever writes it may write escape sequences too, which
move the cursor, rename the window or hide what stands behind them, and line ends, which make one line of a log two.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import TypeAlias

_Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

# A sentence or two.
_MOST_CHARACTERS = 400
# A line of the log may tell of several things.
_MOST_LINE_CHARACTERS = 4000


def plain(text: str, most: int = _MOST_CHARACTERS) -> str:
    """`text` with spaces in place of what cannot be printed; of one that is longer than `most`, the beginning and `…`.

    Not printable are control and format characters (also those that turn the direction of writing), line ends, and
    what Unicode does not know.
    """
    shown = "".join(each if each.isprintable() else " " for each in text[:most])
    return shown if len(text) <= most else f"{shown[: most - 1]}…"


def lines(text: str) -> str:
    """The same for what we wrote ourselves around strangers' words: our own line ends stay."""
    return "\n".join(plain(line, _MOST_LINE_CHARACTERS) for line in text.split("\n"))


class PlainFormatter(logging.Formatter):
    """A log in which every record is one line, but for the stack of an error."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        return plain(super().formatMessage(record), _MOST_LINE_CHARACTERS)

    def formatException(self, ei: _Raised) -> str:
        """The stack."""
        return lines(super().formatException(ei))


def log_to_terminal(level: int) -> None:
    """Have everything from `level` on written to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
