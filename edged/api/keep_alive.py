"""How long a model shall stay in memory after a request, as Ollama's clients say it: seconds, or a duration.

Programs send the field beside OpenAI's own too (ollama/ollama issue 11458), so it means the same in every dialect.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

from edged.api.body import Strict
from edged.errors import InvalidRequest

# Ollama counts nanoseconds in 63 bits: 292 years, and no client means more.
_LONGEST_S = (2**63 - 1) / 1e9
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
# Not from the middle of a number on: a long one would be tried from every digit.
_PIECE = re.compile(rf"(?<![0-9.])({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)(?:({_NUMBER})|((?:{_PIECE.pattern})+))")
_LONGEST_DURATION = 64  # characters

KeepAlive: TypeAlias = float | str | None


class KeepAliveField(Strict):
    """What every body has that asks a model."""

    keep_alive: KeepAlive = None

    @property
    def keep_alive_s(self) -> float | None:
        """How long the model shall stay in memory; None leaves it to the device. Raises `InvalidRequest`."""
        return keep_alive_s(self.keep_alive)


def keep_alive_s(value: KeepAlive) -> float | None:
    """`keep_alive` in seconds, whether a number of them or a duration such as "1h30m"; infinity where it is negative.

    A number may stand in quotes too, as it may in Ollama's own environment. Raises `InvalidRequest`.
    """
    if isinstance(value, str):
        value = _parsed_s(value)
    if value is None:
        return None
    return math.inf if value < 0 else min(value, _LONGEST_S)


def _parsed_s(text: str) -> float:
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST_DURATION else None
    if match is None:
        raise InvalidRequest(
            f'keep_alive is {text[:80]!r}; it is a number of seconds, or a duration such as "5m" or "1h30m".',
            param="keep_alive",
        )
    sign, number, pieces = match[1], match[2], match[3]
    seconds = float(number) if number else sum(float(n) * _UNITS_S[unit] for n, unit in _PIECE.findall(pieces))
    return -seconds if sign == "-" else seconds
