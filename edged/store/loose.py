"""Files that the owner put into `models/`: each `NAME.gguf` is a model at once, and so is a set of pieces.

`NAME-00001-of-00003.gguf` and its like are one model called NAME, as llama.cpp's `gguf-split` names them
(`llama_split_path` in src/llama.cpp). Where there is a `NAME.gguf` too, it is the one that is meant.

Only regular files count: a link could lead anywhere, and a FIFO would hang the reader.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edged.store import names
from edged.store.records import MOST_PIECES

_ENDING = ".gguf"
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})", re.ASCII)
_SPLIT_CHARACTERS = len("-00001-of-00003")


@dataclass(frozen=True, slots=True)
class Loose:
    """A model by its files, in order. `problem` tells of pieces that are missing."""

    name: str
    files: tuple[tuple[Path, os.stat_result], ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a file is by its name: piece `number` of `count`; alone, it is the first of none."""

    name: str
    number: int = 1
    count: int = 0


def models_in(folder: Path) -> list[Loose]:
    """All of them, each name once."""
    found: dict[str, dict[int, dict[int, tuple[Path, os.stat_result]]]] = {}
    for place, path, status in _files(folder):
        found.setdefault(place.name, {}).setdefault(place.count, {})[place.number] = (path, status)
    return [together(name, sets) for name, sets in found.items()]


def model_called(folder: Path, name: str) -> Loose | None:
    """The one of that name, or None."""
    if not names.is_plain(name):
        return None
    sets: dict[int, dict[int, tuple[Path, os.stat_result]]] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path = folder / f"{name}{_ENDING}"
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and place_of(path.name) == _Place(name):
            return Loose(name, ((path, status),))
    for place, path, status in _files(folder):
        if place.name == name:
            sets.setdefault(place.count, {})[place.number] = (path, status)
    return together(name, sets) if sets else None


def together(name: str, sets: dict[int, dict[int, tuple[Path, os.stat_result]]]) -> Loose:
    """One model of the files that have its name, by how many pieces they speak of and which they are."""
    count = min(sets, key=lambda count: (len(sets[count]) < count, count))
    files = tuple(sets[count][number] for number in sorted(sets[count]))
    missing = [number for number in range(1, min(count, MOST_PIECES) + 1) if number not in sets[count]]
    if count > MOST_PIECES:
        return Loose(name, files, f"it is said to be in {count} pieces; more than {MOST_PIECES} are taken from nobody.")
    if missing:
        which, where = ", ".join(map(str, missing)), files[0][0].parent
        return Loose(name, files, f"of its {count} pieces these are missing: {which}. Copy them into {where}.")
    return Loose(name, files)


def place_of(file_name: str) -> _Place | None:
    """What a file of that name would be; None for no model."""
    stem = file_name.removesuffix(_ENDING)
    if stem == file_name or not names.is_plain(stem):
        return None
    name, split = stem[:-_SPLIT_CHARACTERS], _SPLIT.fullmatch(stem[-_SPLIT_CHARACTERS:])
    if split and 0 < int(split[1]) <= int(split[2]) and names.is_plain(name):
        return _Place(name, int(split[1]), int(split[2]))
    return _Place(stem)


def file_names(name: str, count: int) -> list[str]:
    """How the files of a model are called that is in so many."""
    if count == 1:
        return [f"{name}{_ENDING}"]
    return [f"{name}-{number:05}-of-{count:05}{_ENDING}" for number in range(1, count + 1)]


def _files(folder: Path) -> Iterator[tuple[_Place, Path, os.stat_result]]:
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if place := place_of(entry.name):
            with contextlib.suppress(FileNotFoundError):  # gone since the folder was read
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield place, Path(entry.path), status
