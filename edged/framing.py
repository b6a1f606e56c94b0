"""Frames (`wire.py`) as lines of JSON, and back, every field checked.

A frame is at most 4 MiB and is checked against its dataclass field by field, because a worker parses files from
strangers and may be anybody's by now: a line that does not fit is a `WireError`, and its sender is killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast, get_args

from edged.checked import fields_of, reader
from edged.wire import Frame

MAX_FRAME_BYTES = 4 * 1024 * 1024


class WireError(Exception):
    """The other side broke the protocol."""


_FRAMES: dict[str, Any] = {kind.__name__: kind for kind in get_args(Frame)}


def encode(frame: Frame) -> bytes:
    """One line, newline included. Raises `WireError` where the frame is larger than the other side accepts."""
    line = json.dumps([type(frame).__name__, frame], default=fields_of, ensure_ascii=False, separators=(",", ":"))
    data = line.encode() + b"\n"
    if len(data) > MAX_FRAME_BYTES:
        raise WireError(f"a {type(frame).__name__} frame of {len(data)} bytes exceeds {MAX_FRAME_BYTES}")
    return data


def decode(line: bytes) -> Frame:
    """The frame in `line`, every field checked. Raises `WireError`."""
    try:
        name, body = json.loads(line)
        frame = reader(_FRAMES[name])(body)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise WireError(f"not a frame ({error!r}): {line[:80]!r}") from error
    return cast("Frame", frame)


class Decoder:
    """Bytes in, frames out, whatever the cuts between them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that `data` completes. Raises `WireError` on a bad or an oversized line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        longest = max(map(len, (*lines, self._rest)))
        if longest > MAX_FRAME_BYTES:
            raise WireError(f"a line of {longest} bytes exceeds {MAX_FRAME_BYTES}")
        for line in lines:
            yield decode(line)
