"""Texts on their way through a worker to vectors or scores, a few at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from edged.chat import Lane
from edged.errors import EdgedError, WorkerStarved
from edged.framing import WireError
from edged.wire import Embed, Embedded, Rank, Rejected, Scored, Starved

Measured: TypeAlias = Embedded | Scored
# Two full steps of short texts (`worker/vectors.py`), so that the worker never waits for us. More ahead would only let
# one caller's thousand texts stand in front of everybody else's; this way those who ask at the same time take turns.
_AHEAD = 64


class MeasureRefused(Exception):
    """One of the texts is longer than the model can read: `index` says which."""

    def __init__(self, index: int, rejected: Rejected) -> None:
        super().__init__(f"text {index} has {rejected.prompt_tokens} tokens")
        self.index = index
        self.prompt_tokens = rejected.prompt_tokens
        self.context_tokens = rejected.context_tokens


class Measuring:
    """The results of one request as they arrive, and the texts that have still to be sent."""

    def __init__(self, ids: range, texts: Sequence[Embed | Rank]) -> None:
        self.ids = ids
        self.lane: Lane = "background"
        self._unsent = deque(replace(text, id=id) for id, text in zip(ids, texts, strict=True))
        self._awaited = Scored if isinstance(texts[0], Rank) else Embedded
        self._found: dict[int, Measured] = {}
        self._news: asyncio.Queue[Measured | Rejected | Starved | EdgedError] = asyncio.Queue()

    @property
    def is_done(self) -> bool:
        """Every text has its result."""
        return len(self._found) == len(self.ids)

    def first(self) -> list[Embed | Rank]:
        """What to send before there is any news."""
        return [self._unsent.popleft() for _ in range(min(_AHEAD, len(self._unsent)))]

    def put(self, news: Measured | Rejected | Starved | EdgedError) -> None:
        """Something happened; anything but a result is the end of all of them. Raises `WireError` for a false one."""
        if isinstance(news, Embedded | Scored) and not isinstance(news, self._awaited):
            raise WireError(f"{type(news).__name__} for somebody who awaits {self._awaited.__name__}")
        if isinstance(news, Embedded):
            floats_of(news)
        self._news.put_nowait(news)

    async def more(self) -> list[Embed | Rank]:
        """Wait for the next result; what to send in its place. Raises what ended them instead."""
        news = await self._news.get()
        if isinstance(news, EdgedError):
            raise news
        if isinstance(news, Rejected):
            raise MeasureRefused(news.id - self.ids.start, news)
        if isinstance(news, Starved):
            raise WorkerStarved(
                "There is not enough memory for this text beside what else runs. Send shorter ones, or try again later."
            )
        self._found[news.id] = news
        return [self._unsent.popleft()] if self._unsent else []

    def results(self) -> list[Measured]:
        """All results, in the order of the texts."""
        return [self._found[id] for id in self.ids]


def shortened(vector: bytes, dimensions: int) -> bytes:
    """The first numbers of a vector, at length 1 again. It is a copy also where nothing is cut."""
    numbers = array("f", vector)[:dimensions]
    length = math.sqrt(sum(number * number for number in numbers))
    return array("f", (number / length for number in numbers)).tobytes() if length else numbers.tobytes()


def floats_of(embedded: Embedded) -> bytes:
    """The vector's numbers in 32 bits, little-endian. Raises `WireError` where they are none."""
    try:
        data = base64.b64decode(embedded.vector, validate=True)
        numbers = array("f", data)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"not a vector: {error}") from error
    if not numbers or not all(map(math.isfinite, numbers)):
        raise WireError(f"not a vector: {len(numbers)} numbers, not all of them finite")
    return data
