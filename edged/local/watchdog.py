"""Notices a child that owes something and does nothing any more.

A step is planned to take at most a second, so one that says nothing for ten is hung. On a machine that others keep
busy a step can take many seconds: a worker that still burns processor time is slow, not hung, and is given a minute.
One that is stopped or deadlocked burns none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil

# Ten planned steps (`worker/pace.py`), and time left to replace the worker within 15 s.
SILENCE_S = 10.0
_BUSY_SILENCE_S = 60.0
_BUSY_SHARE = 0.02
_LOOK_EVERY_S = 2.0


class Watchdog:
    """Looks every two seconds while `owes()`, and calls `on_hung` with the seconds of silence."""

    def __init__(
        self, owes: Callable[[], bool], pid: Callable[[], int | None], on_hung: Callable[[float], None]
    ) -> None:
        self._owes = owes
        self._pid = pid
        self._on_hung = on_hung
        self._heard_s = 0.0
        self._burnt_s = 0.0
        self._next: asyncio.TimerHandle | None = None

    def hear(self) -> None:
        """It has said something."""
        self._heard_s = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """It owed nothing, and is asked for something now."""
        self.hear()
        if self._next is None:
            self._burnt_s = self._cpu_s()
            self._next = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def end(self) -> None:
        """It is gone."""
        if self._next is not None:
            self._next.cancel()

    def _look(self) -> None:
        self._next = None
        if not self._owes():
            return
        loop = asyncio.get_running_loop()
        silent_s, burnt_s = loop.time() - self._heard_s, self._cpu_s()
        is_busy = burnt_s - self._burnt_s > _BUSY_SHARE * _LOOK_EVERY_S
        self._burnt_s = burnt_s
        if silent_s >= (_BUSY_SILENCE_S if is_busy else SILENCE_S):
            self._on_hung(silent_s)
        else:
            self._next = loop.call_later(_LOOK_EVERY_S, self._look)

    def _cpu_s(self) -> float:
        try:
            times = psutil.Process(self._pid()).cpu_times()
        except psutil.Error:
            return 0.0  # it has just died; its end of the line tells the rest
        return times.user + times.system
