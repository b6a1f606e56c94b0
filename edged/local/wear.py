"""How much may be written today: flash wears out by writing, and a cache must not be what kills an SD card.

The count survives restarts. A device without a clock of its own may come back in the past: then today's count goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from edged import durable

_DAY_S = 86_400


class Wear:
    """A budget of bytes a day, kept in `file`."""

    def __init__(self, file: Path, daily_bytes: int, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._daily_bytes = daily_bytes
        self._now_s = now_s
        self._day, self._written_bytes = _read(file)

    @property
    def left_bytes(self) -> int:
        """What may still be written today."""
        today = int(self._now_s() // _DAY_S)
        # A count of the day after tomorrow or later was made by a clock that was wrong then.
        is_over = today > self._day or self._day > today + 1
        return self._daily_bytes - (0 if is_over else self._written_bytes)

    def take(self, size_bytes: int) -> bool:
        """Count `size_bytes` before they are written; False, and nothing counted, where they are too many.

        Raises `OSError` where the count cannot be kept.
        """
        left_bytes = self.left_bytes
        if size_bytes > left_bytes:
            return False
        today = int(self._now_s() // _DAY_S)
        self._day = today if left_bytes == self._daily_bytes else max(today, self._day)
        self._written_bytes = self._daily_bytes - left_bytes + size_bytes
        durable.write(self._file, json.dumps({"day": self._day, "written_bytes": self._written_bytes}))
        return True


def _read(file: Path) -> tuple[int, int]:
    try:
        found = json.loads(file.read_text())
        return int(found["day"]), max(0, int(found["written_bytes"]))
    except (OSError, ValueError, TypeError, KeyError):
        return 0, 0  # as on the first day: a count that was lost costs at most another day's writing
