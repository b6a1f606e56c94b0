"""Which models there are: looking at the disk, each time anew. No lock is taken, and nothing half done is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edged.errors import ModelNotFound
from edged.gguf.header import Gguf
from edged.gguf.reading import GgufInvalid
from edged.store import loose, names
from edged.store.blobs import Blobs
from edged.store.headers import Found, Headers, is_unsupported, problem_of
from edged.store.model_file import ModelFile, unusable
from edged.store.opening import Place
from edged.store.records import Records

GUIDE = "guide"
GUIDE_FILE = Path(__file__).parents[1] / "guide.gguf"
# So many files that nobody has looked into yet are opened for one listing; the others are listed by what the folder
# says, and looked into at the next. Ten thousand headers are read in no second.
_LOOKS = 100
_SHOWN_NAMES = 50
_MISSING = "a file of it is missing; delete the model and fetch it again."


class Listing:
    """What is installed, by what lies in the folders."""

    def __init__(self, folder: Path, records: Records, blobs: Blobs, headers: Headers) -> None:
        self._folder = folder
        self._records = records
        self._blobs = blobs
        self._headers = headers

    def models(self) -> list[ModelFile]:
        """Everything installed, by name, `guide` last."""
        looks = iter(range(_LOOKS))
        owned = {found.name: self._of_loose(found, looks) for found in loose.models_in(self._folder)}
        owned |= {name: file for name in self._records.names() if (file := self._of_record(name, looks))}
        owned.pop(GUIDE, None)
        return [owned[name] for name in sorted(owned)] + [self._guide()]

    def find(self, name: str) -> ModelFile:
        """The model called `name`. Raises `ModelNotFound`, which lists what there is."""
        if name == GUIDE:
            return self._guide()
        if names.is_name(name):
            if file := self._of_record(name):
                return file
            if found := loose.model_called(self._folder, name):
                return self._of_loose(found)
        there = sorted({found.name for found in loose.models_in(self._folder)} | {*self._records.names()} - {GUIDE})
        installed = ", ".join([*there[:_SHOWN_NAMES], *(["…"] if len(there) > _SHOWN_NAMES else []), GUIDE])
        raise ModelNotFound(f"There is no model named {name!r} here. Installed: {installed}.", param="model")

    def places(self, file: ModelFile) -> list[Place]:
        """Where its files are opened. Raises `ModelInvalid` where its record is damaged, so that nobody knows."""
        if file.record:
            return self._blobs.places(file.record)
        if file.path.parent == self._records.folder:
            raise unusable(file.name, file.problem, is_unsupported=file.is_unsupported)
        return [(path.parent, (path.name,)) for path in file.paths]

    def _guide(self) -> ModelFile:
        return self._of_loose(loose.Loose(GUIDE, ((GUIDE_FILE, GUIDE_FILE.stat()),)))

    def _of_loose(self, found: loose.Loose, looks: Iterator[int] | None = None) -> ModelFile:
        paths, statuses = [path for path, _ in found.files], [status for _, status in found.files]
        if found.problem:
            return _described(found.name, paths, statuses, GgufInvalid(found.problem))
        places = [(path.parent, (path.name,)) for path in paths]
        return _described(found.name, paths, statuses, self._header(places, statuses, looks))

    def _of_record(self, name: str, looks: Iterator[int] | None = None) -> ModelFile | None:
        """The model that a record tells of; None where there is no such record."""
        try:
            while (record := self._records.get(name)) is not None:
                statuses = [status for piece in record.pieces if (status := self._blobs.status(piece)) is not None]
                if is_whole := len(statuses) == len(record.pieces):
                    break
                if self._records.get(name) is record:
                    break  # otherwise it was deleted or replaced between the two looks
        except ValueError as error:
            return ModelFile(name, self._records.folder / names.record_file(name), 0, 0, None, None, f"{error}.")
        if record is None:
            return None
        paths = [self._blobs.path(piece.sha256) for piece in record.pieces]
        header = self._header(self._blobs.places(record), statuses, looks) if is_whole else GgufInvalid(_MISSING)
        file = _described(name, paths, statuses, header)
        return replace(file, size_bytes=record.size_bytes, modified_s=record.added_s, record=record)

    def _header(
        self, files: Sequence[Place], statuses: Sequence[os.stat_result], looks: Iterator[int] | None
    ) -> Found | None:
        known = self._headers.known(statuses)
        if known is None and (looks is None or next(looks, None) is not None):
            return self._headers.look(files)
        return known


def _described(name: str, paths: Sequence[Path], statuses: Sequence[os.stat_result], header: Found | None) -> ModelFile:
    found = header if isinstance(header, Gguf) else None
    return ModelFile(
        name=name,
        path=paths[0],
        size_bytes=sum(status.st_size for status in statuses),
        modified_s=max((int(status.st_mtime) for status in statuses), default=0),
        made_for=found.made_for if found else None,
        header=found,
        problem=problem_of(header),
        is_unsupported=is_unsupported(header),
        further=tuple(paths[1:]),
    )
