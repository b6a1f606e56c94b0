"""What strangers say, before it reaches a terminal or a log: on one line, bounded, and nothing that a terminal obeys.

A hub's error, a licence in a file's header, a note on a stick: whoever writes it may write escape sequences too, which
move the cursor, rename the window or hide what stands behind them, and line ends, which make one line of a log two.
"""

from __future__ import annotations

# A sentence or two.
_MOST_CHARACTERS = 400
# A line of the log may tell of several things.
MOST_LINE_CHARACTERS = 4000


def plain(text: str, most: int = _MOST_CHARACTERS) -> str:
    """`text` with spaces in place of what cannot be printed; of one that is longer than `most`, the beginning and `…`.

    Not printable are control and format characters (also those that turn the direction of writing), line ends, and
    what Unicode does not know.
    """
    shown = "".join(each if each.isprintable() else " " for each in text[:most])
    return shown if len(text) <= most else f"{shown[: most - 1]}…"


def lines(text: str) -> str:
    """The same for what we wrote ourselves around strangers' words: our own line ends stay."""
    return "\n".join(plain(line, MOST_LINE_CHARACTERS) for line in text.split("\n"))
