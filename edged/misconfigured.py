"""What is wrong with a configuration, in words: where it stands, which key, which value, what is allowed.

A value is shown as it was written, unless it is a secret, or a table that has one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from edged.secret import SHOWN, Secret


def sentence(
    root: type[BaseModel],
    error: Mapping[str, Any],
    file: Path | None,
    text: str,
    origins: Mapping[tuple[str, ...], str],
) -> str:
    """One of pydantic's errors about a `root`; `text` is the file's, `origins` names what came from elsewhere."""
    path = tuple(str(step) for step in error["loc"])
    line = _line_of(text, path)
    place = origins.get(path[:2]) or f"{file}{f', line {line}' if line else ''}"
    name = f"[{path[0]}]" + (f" {'.'.join(path[1:])}" if path[1:] else "")
    if error["type"] == "extra_forbidden":
        return f"{place}: {name} is not a setting{_suggestion(root, path)}."
    shown = masked(error["input"], kind_of(root, path))
    return f"{place}: {name} = {json.dumps(shown, default=str)}: {error['msg']}."


def kind_of(root: type[BaseModel], path: Iterable[str]) -> Any:
    """What a value at `path` is declared to be; None where nothing is."""
    kind: Any = root
    for step in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            known = kind.model_fields.get(step)
            kind = known.annotation if known else None
        else:
            kind = get_args(kind)[1] if get_origin(kind) is dict else None
    return kind


def is_secret(kind: Any) -> bool:
    """Whether a value of this kind is, or may be, a secret."""
    return kind is Secret or any(map(is_secret, get_args(kind)))


def masked(value: Any, kind: Any) -> Any:
    """`value` of this kind as it may be shown; the same where there is no secret in it."""
    if is_secret(kind):
        return SHOWN
    if isinstance(value, dict):
        return {key: masked(one, kind_of(kind, (key,))) for key, one in value.items()}
    return value


def _suggestion(root: type[BaseModel], path: tuple[str, ...]) -> str:
    section = root.model_fields.get(path[0])
    known: Iterable[str] = root.model_fields
    if len(path) > 1 and section is not None and isinstance(section.annotation, type):
        known = section.annotation.model_fields
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def _line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line where `path` is set. tomllib keeps no positions, so the two usual ways of writing it are searched."""
    section, inside = path[0], False
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            inside = header[1] == section
            if inside and len(path) == 1:
                return number
        elif (
            len(path) > 1
            and (
                (inside and re.match(rf"\s*[\"']?{re.escape(path[1])}[\"']?\s*[=.]", line))
                or re.match(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(path[1])}\s*[=.]", line)
            )
        ) or (len(path) == 1 and re.match(rf"\s*{re.escape(section)}\s*=", line)):
            return number
    return None
