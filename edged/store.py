"""The models on this device: the built-in `guide`, and every `NAME.gguf` in the state directory's `models/` folder.

A file that appears there is a model at once; nothing is indexed, because a folder of a few dozen files is listed faster
than anything could be kept in step with it. Only what stands in a file's header, or is wrong with it, is remembered for
as long as the file is the same. Only regular files count: a link could lead anywhere, and a FIFO would hang the reader.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from edged.chat import MadeFor
from edged.errors import InvalidRequest, ModelInvalid, ModelNotFound, ModelUnsupported
from edged.gguf.header import Gguf, inspect
from edged.gguf.reading import GgufInvalid, GgufUnsupported

GUIDE = "guide"
_GUIDE_FILE = Path(__file__).with_name("guide.gguf")
# Of a file's content, for its key: so many pieces of a page each, and all of its beginning, where the header is.
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_HEADER_BYTES = 2**20
# More files than any folder of models holds; a file that is being copied is another one at every look.
_MOST_REMEMBERED = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is installed. `modified_s` is Unix time; `made_for` and `header` are None where it is unreadable.

    `problem` is why it cannot be loaded, as a clause; empty where nothing speaks against it. One that `is_unsupported`
    came later than this edged, or is gone from it.
    """

    name: str
    path: Path
    size_bytes: int
    modified_s: int
    made_for: MadeFor | None = "words"
    header: Gguf | None = field(default=None, compare=False, repr=False)
    problem: str = ""
    is_unsupported: bool = False


class Store:
    """What is installed. Reads the disk each time it is asked; a new file takes up to a second the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inspected: dict[tuple[int, ...], Gguf | GgufInvalid] = {}

    def models(self) -> list[ModelFile]:
        """Everything installed, by name, `guide` last: it is the fallback."""
        owned = sorted(self._owned(), key=lambda file: file.name)
        return [file for file in owned if file.name != GUIDE] + [self._describe(GUIDE, _GUIDE_FILE, _GUIDE_FILE.stat())]

    def find(self, name: str) -> ModelFile:
        """The model called `name`. Raises `ModelNotFound`, which lists what there is."""
        files = self.models()
        for file in files:
            if file.name == name:
                return file
        installed = ", ".join(file.name for file in files)
        raise ModelNotFound(f"There is no model named {name!r} here. Installed: {installed}.", param="model")

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        """A read-only descriptor of the model's file, closed on leaving. Raises `ModelNotFound`, `ModelInvalid`."""
        file = self.find(name)
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ModelInvalid(f"The file of model {name} cannot be opened: {error.strerror} ({file.path}).") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def examine(self, name: str, descriptor: int) -> None:
        """Whether llama.cpp may see the file behind `descriptor`, which was opened for the model called `name`.

        Raises `ModelInvalid` with what is wrong with it. Takes up to a second where the file is a new one.
        """
        found = self._inspect(os.fstat(descriptor), descriptor)
        if problem := _problem(found):
            raise unusable(name, problem, is_unsupported=_is_unsupported(found))

    def copy(self, source: str, name: str) -> None:
        """Give the model called `source` another name: one file with two names, which takes no room of its own.

        Raises `ModelNotFound`, or `InvalidRequest` where `name` is taken, no name, or cannot be given.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name[:160]!r} cannot be a model's name here: letters, digits, dots, dashes and underscores, at most "
                "128, the first a letter or a digit.",
                param="destination",
            )
        found = self.find(source)
        if name in {file.name for file in self.models()}:
            raise InvalidRequest(f"There is a model named {name!r} already. Delete it first.", param="destination")
        try:
            os.link(found.path, self.folder / f"{name}.gguf", follow_symlinks=False)
        except OSError as error:
            raise InvalidRequest(
                f"The model {source} cannot be called {name} as well: {error.strerror}. Copy its file into "
                f"{self.folder}.",
                param="destination",
            ) from error

    def remove(self, name: str) -> None:
        """Delete the model's file; whoever has it in memory keeps that.

        Raises `ModelNotFound`, `InvalidRequest` for the built-in one, `ModelInvalid`.
        """
        found = self.find(name)
        if name == GUIDE:
            raise InvalidRequest(f"{GUIDE} is built in and cannot be deleted.", param="model")
        try:
            found.path.unlink(missing_ok=True)
        except OSError as error:
            raise ModelInvalid(
                f"The file of model {name} cannot be deleted: {error.strerror} ({found.path})."
            ) from error

    def keys(self) -> set[str]:
        """The keys of everything installed; what cannot be read has none."""
        found = set()
        for file in self.models():
            with contextlib.suppress(ModelNotFound, ModelInvalid, OSError), self.open(file.name) as descriptor:
                found.add(key_of(descriptor))
        return found

    def _owned(self) -> Iterator[ModelFile]:
        if not self.folder.is_dir():
            return
        for entry in os.scandir(self.folder):
            name = entry.name.removesuffix(".gguf")
            if name != entry.name and _NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):  # gone since the folder was read
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield self._describe(name, Path(entry.path), status)

    def _describe(self, name: str, path: Path, status: os.stat_result) -> ModelFile:
        found = self._inspect(status, path)
        header = found if isinstance(found, Gguf) else None
        made_for, changed_s = header.made_for if header else None, int(status.st_mtime)
        reason = _problem(found), _is_unsupported(found)
        return ModelFile(name, path, status.st_size, changed_s, made_for, header, *reason)

    def _inspect(self, status: os.stat_result, file: Path | int) -> Gguf | GgufInvalid:
        """What the file says of itself, or what is wrong with it."""
        # The time of its last change of any kind too: unlike that of its content, nobody can set it back.
        same = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        found = self._inspected.get(same)
        if found is None:
            found = _inspected(file)
            if len(self._inspected) >= _MOST_REMEMBERED:
                self._inspected.clear()
            self._inspected[same] = found
        return found


def unusable(name: str, problem: str, *, is_unsupported: bool = False) -> ModelInvalid:
    """What to tell whoever wants the model called `name`; `problem` and `is_unsupported` are a `ModelFile`'s."""
    kind = ModelUnsupported if is_unsupported else ModelInvalid
    return kind(f"The file of model {name} cannot be loaded: {problem}", param="model")


def _inspected(file: Path | int) -> Gguf | GgufInvalid:
    try:
        return inspect(file)
    except GgufInvalid as error:
        return error.with_traceback(None)


def _problem(found: Gguf | GgufInvalid) -> str:
    return found.problem if isinstance(found, Gguf) else str(found)


def _is_unsupported(found: Gguf | GgufInvalid) -> bool:
    return found.problem == found.unsupported != "" if isinstance(found, Gguf) else isinstance(found, GgufUnsupported)


def key_of(descriptor: int) -> str:
    """Which weights these are, without reading them all: other content has another key, whatever the file is called.

    Size and time of change alone would do where nobody copies times along with files, as package managers and images
    do. The header alone is the same in every model that was trained further. So both, and samples from the whole file:
    training changes all of it.
    """
    status = os.fstat(descriptor)
    digest = blake2b(f"{status.st_size} {status.st_mtime_ns}\n".encode(), digest_size=16)
    digest.update(os.pread(descriptor, _HEADER_BYTES, 0))
    for sample in range(_SAMPLES):
        digest.update(os.pread(descriptor, _SAMPLE_BYTES, status.st_size * sample // _SAMPLES))
    return digest.hexdigest()
