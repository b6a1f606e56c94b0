"""What a model may be called: `guide`, `llama3.2:1b`, `hf.co/ORG/REPO:QUANT`, and nothing that a path could mean.

Names are compared as they are, and files are found by their quoted form, so that a name is one step of a path whatever
stands in it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from edged.errors import InvalidRequest

_LONGEST = 128
_STEP = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_STEP}(/{_STEP}){{0,3}}(:{_STEP})?", re.ASCII)
_RECORD = ".json"


def is_name(text: str) -> bool:
    """Whether a model may be called so."""
    return len(text) <= _LONGEST and ".." not in text and _NAME.fullmatch(text) is not None


def is_plain(text: str) -> bool:
    """Whether a model may be called so that is no more than a file with a name."""
    return is_name(text) and "/" not in text and ":" not in text


def check(text: str, param: str) -> None:
    """Raises `InvalidRequest` for what no model may be called."""
    if not is_name(text):
        raise InvalidRequest(
            f"{text[: _LONGEST + 32]!r} cannot be a model's name here: letters, digits, dots, dashes and underscores, "
            f"at most {_LONGEST}, the first a letter or a digit; slashes between at most four such pieces, and a tag "
            "behind a colon.",
            param=param,
        )


def record_file(name: str) -> str:
    """What the file is called that tells of the model called `name`."""
    return quote(name, safe="") + _RECORD


def name_of(record_file_name: str) -> str | None:
    """The other way round; None for any other file."""
    name = unquote(record_file_name.removesuffix(_RECORD))
    return name if is_name(name) and record_file(name) == record_file_name else None
