"""Where in a file an answer's body belongs (RFC 9110: 14.2 Range, 13.1.5 If-Range, 15.3.7 206, 15.5.17 416). Pure.

Servers change files while they are fetched, ignore ranges, and answer with others than were asked for. Whatever does
not go on exactly where the partial ends, in the same file of the same length, begins again from nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edged.errors import ProviderUnavailable

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})")
_LENGTH = re.compile(r"\d{1,18}")


class OtherFile(Exception):
    """What is there now does not go on with what is here: begin again."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is here and what was said: `announced_bytes` by a hub, `size_bytes` and `etag` by the server before."""

    offset: int = 0
    announced_bytes: int | None = None
    size_bytes: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The body begins at `begin` of a file of `size_bytes`; `etag` is None where none can vouch for a continuation."""

    begin: int
    size_bytes: int
    etag: str | None


def validator(headers: Mapping[str, str]) -> str | None:
    """The strong ETag, the only one that may be asked by with If-Range; None where there is none."""
    etag = headers.get("ETag", "").strip()
    return etag if len(etag) > 2 and etag[0] == '"' == etag[-1] and len(etag) < 1024 else None


def place(status: int, headers: Mapping[str, str], expected: Expected, host: str) -> Place:
    """Where the body of an answer belongs. Raises `OtherFile`, and `ProviderUnavailable` for what no file can be."""
    if status == 206:
        return _partial(headers, expected, host)
    if status == 416:
        return _nothing_left(headers, expected)
    said = headers.get("Content-Length", "")
    size = int(said) if _LENGTH.fullmatch(said) else expected.announced_bytes
    if size is None:
        raise ProviderUnavailable(f"{host} does not say how long the file is.")
    _announced(size, expected, host)
    return Place(0, size, validator(headers))


def _partial(headers: Mapping[str, str], expected: Expected, host: str) -> Place:
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if not found:
        raise OtherFile(f"{host} sends a range that it does not name")
    begin, end, size = (int(number) for number in found.groups())
    etag = validator(headers)
    if begin != expected.offset or not begin <= end < size:
        raise OtherFile(f"{host} was asked for byte {expected.offset} on and sends bytes {begin} to {end} of {size}")
    if expected.etag and etag and etag != expected.etag:
        raise OtherFile(f"the file on {host} has changed")
    _announced(size, expected, host)
    if expected.offset and expected.size_bytes not in (None, size):
        raise OtherFile(f"the file on {host} had {expected.size_bytes} bytes and has {size} now")
    return Place(begin, size, etag or expected.etag)


def _nothing_left(headers: Mapping[str, str], expected: Expected) -> Place:
    found = _UNSATISFIED.fullmatch(headers.get("Content-Range", ""))
    size = int(found[1]) if found else None
    if size and size == expected.offset and expected.announced_bytes in (None, size):
        return Place(size, size, expected.etag)
    raise OtherFile("the file is shorter than what is here of it")


def _announced(size: int, expected: Expected, host: str) -> None:
    if expected.announced_bytes not in (None, size):
        raise ProviderUnavailable(f"{host} sends {size} bytes where {expected.announced_bytes} were announced.")
