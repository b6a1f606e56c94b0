"""Which of a repository's files are meant: a quantisation, and all pieces of a split model. Pure.

The rules are those of llama.cpp's `-hf` (common/download.cpp: `find_best_model`, `get_gguf_split_info`,
`gguf_filename_is_model`), which Hugging Face's page for Ollama describes as well (huggingface.co/docs/hub/ollama): the
wanted quantisation stands in the file's name; where none is wanted Q4_K_M, else Q8_0, else the first model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edged.errors import ModelInvalid, ModelNotFound
from edged.plain import plain
from edged.store.records import MOST_PIECES

_USUAL = ("Q4_K_M", "Q8_0")
_SPLIT = re.compile(r"-([0-9]{5})-of-([0-9]{5})", re.IGNORECASE)
_SPLIT_CHARACTERS = len("-00001-of-00003")
_QUANTISATION = re.compile(r"[-.]([A-Z0-9_]+)$", re.IGNORECASE)
# Projectors, importance matrices, and models that only guess ahead for others.
_NO_MODELS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_SHOWN = 12
_LONGEST_PATH = 512  # characters


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as a hub lists it; None is what it does not say."""

    path: str
    size_bytes: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Split:
    """A file's place among the pieces of its model. One that is whole is the first of one."""

    prefix: str
    number: int
    count: int

    def file(self, number: int) -> str:
        """The name of another piece."""
        return f"{self.prefix}-{number:05}-of-{self.count:05}.gguf"

    @property
    def quantisation(self) -> str:
        """What the name says of it, in capitals; empty where nothing."""
        found = _QUANTISATION.search(self.prefix)
        return found[1].upper() if found else ""


def split_of(path: str) -> Split:
    """What a name says about pieces. Raises `ModelInvalid` for a number that cannot be."""
    prefix = path[: -len(".gguf")] if path.lower().endswith(".gguf") else path
    name, found = prefix[:-_SPLIT_CHARACTERS], _SPLIT.fullmatch(prefix[-_SPLIT_CHARACTERS:])
    if not name or not found:
        return Split(prefix, 1, 1)
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count <= MOST_PIECES:
        raise ModelInvalid(f"{plain(path)} cannot be piece {number} of {count}; at most {MOST_PIECES} make a model.")
    return Split(name, number, count)


def choose(files: Iterable[Listed], wanted: str, place: str) -> tuple[str, tuple[Listed, ...]]:
    """What the chosen one is called (a quantisation, or a file's name or path), and its pieces in order.

    `place` is where the files are, for the errors: `ModelNotFound` where none is meant, `ModelInvalid` where pieces are
    missing.
    """
    models = [file for file in files if _is_model(file.path)]
    chosen = _by_name(models, wanted) or _by_quantisation(models, (wanted,) if wanted else _USUAL)
    if chosen is None and not wanted:
        chosen = _first(models)
    if chosen is None:
        there = sorted({split_of(file.path).quantisation or file.path for file in models})
        more = ", …" if len(there) > _SHOWN else ""
        raise ModelNotFound(
            f"{place} has no {wanted or 'GGUF file'}"
            + (f"; it has {plain(', '.join(there[:_SHOWN]))}{more}." if there else ".")
            + (" Repositories with GGUF files usually end with -GGUF." if not models else ""),
            param="model",
        )
    split = split_of(chosen.path)
    return wanted or split.quantisation or _file_name(split.prefix), _pieces(models, chosen, split, place)


def tag_of(called: str) -> str:
    """What of it can stand behind the colon of a model's name: of a file in a folder, its own name."""
    return _file_name(called)


def _is_model(path: str) -> bool:
    name = _file_name(path)
    # A name is shown on terminals, which must not be told anything by it.
    if not path.isprintable() or len(path) > _LONGEST_PATH:
        return False
    return name.lower().endswith(".gguf") and not any(mark in name.lower() for mark in _NO_MODELS)


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _by_name(models: Sequence[Listed], wanted: str) -> Listed | None:
    names = {wanted, f"{wanted}.gguf"}
    return next((file for file in models if file.path in names or _file_name(file.path) in names), None)


def _by_quantisation(models: Sequence[Listed], wanted: Sequence[str]) -> Listed | None:
    for quantisation in wanted:
        pattern = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(quantisation)}[./-]", re.IGNORECASE)
        found = _first([file for file in models if pattern.search(file.path)])
        if found is not None:
            return found
    return None


def _first(models: Sequence[Listed]) -> Listed | None:
    return next((file for file in models if split_of(file.path).number == 1), None)


def _pieces(models: Sequence[Listed], chosen: Listed, split: Split, place: str) -> tuple[Listed, ...]:
    if split.count == 1:
        return (chosen,)
    by_path = {file.path: file for file in models}
    wanted = [split.file(number) for number in range(1, split.count + 1)]
    missing = [path for path in wanted if path not in by_path]
    if missing:
        raise ModelInvalid(
            f"{place} has only {split.count - len(missing)} of {split.count} pieces of {split.prefix}; "
            f"{missing[0]} is missing."
        )
    return tuple(by_path[path] for path in wanted)
