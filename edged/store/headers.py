"""What stands in models' headers, or is wrong with them, remembered for as long as the files are the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TypeAlias

from edged.gguf.header import Gguf
from edged.gguf.pieces import inspect_pieces
from edged.gguf.reading import GgufInvalid, GgufUnsupported
from edged.store.opening import Place, opened

# More files than any folder of models holds; a file that is being copied is another one at every look.
_MOST_REMEMBERED = 1024

Identity: TypeAlias = tuple[tuple[int, ...], ...]
Found: TypeAlias = Gguf | GgufInvalid


class Headers:
    """What was found, by which files it was found in. Safe to be asked from threads."""

    def __init__(self) -> None:
        self._found: dict[Identity, Found] = {}
        self._lock = threading.Lock()

    def known(self, statuses: Sequence[os.stat_result]) -> Found | None:
        """What was found in these files; None where nobody has looked."""
        return self._found.get(identity(statuses))

    def look(self, files: Sequence[Place]) -> Found:
        """The same, from the files themselves where nobody has looked."""
        try:
            with opened(files) as descriptors:
                return self.inspect(descriptors)
        except OSError as error:
            return GgufInvalid(f"it cannot be read: {error.strerror or error}.")

    def inspect(self, descriptors: Sequence[int]) -> Found:
        """The same, of files that are open. Takes up to a second where they are new ones. Raises `OSError`."""
        same = identity([os.fstat(descriptor) for descriptor in descriptors])
        found = self._found.get(same)
        if found is None:
            try:
                found = inspect_pieces(descriptors)
            except GgufInvalid as error:
                found = error.with_traceback(None)
            with self._lock:
                while len(self._found) >= _MOST_REMEMBERED:
                    del self._found[next(iter(self._found))]
                self._found[same] = found
        return found


def identity(statuses: Sequence[os.stat_result]) -> Identity:
    """Which files these are, and in which state."""
    # The time of its last change of any kind too: unlike that of its content, nobody can set it back.
    return tuple(
        (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) for status in statuses
    )


def problem_of(found: Found | None) -> str:
    """Why it cannot be loaded; empty where nothing speaks against it."""
    if found is None:
        return ""
    return found.problem if isinstance(found, Gguf) else str(found)


def is_unsupported(found: Found | None) -> bool:
    """Whether that is because this llama.cpp does not know such files."""
    return found.problem == found.unsupported != "" if isinstance(found, Gguf) else isinstance(found, GgufUnsupported)
