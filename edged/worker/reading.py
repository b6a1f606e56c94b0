"""Long prompts become tokens beside the decoding, because a tokenizer may take as long as many steps.

    frame ─▶ short: tokens at once
          └▶ long: a thread ─▶ read() at a later turn of the loop

llama.cpp's tokenizers are slowest where a text is least like a text: a mebibyte of blanks or of nothing but marks takes
seconds with some vocabularies. What is called here lets go of the interpreter while llama.cpp works and changes nothing
in the model. One thread reads one frame after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from edged.token_wire import Count, Tokenize
from edged.wire import Embed, Generate, Rank

Readable: TypeAlias = Generate | Count | Embed | Rank | Tokenize
Tokens: TypeAlias = list[list[int]]

# 8 KiB of the worst texts take less than a step of a small model; see `benchmarks/LOG.md`.
LONGEST_AT_ONCE_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Read:
    """A frame and what its texts are in tokens, in the frame's own order."""

    frame: Readable
    tokens: Tokens


class Reading:
    """Frames whose texts are being read."""

    def __init__(self, tokens_of: Callable[[Readable], Tokens], tell: Callable[[], None]) -> None:
        """`tell` is called from the thread when something was read."""
        self._tokens_of = tokens_of
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._waiting: deque[tuple[Readable, Future[Tokens]]] = deque()

    @property
    def is_idle(self) -> bool:
        """No frame is being read."""
        return not self._waiting

    def read(self, frame: Readable) -> Read | None:
        """What `frame` holds, or None where that takes longer: then it comes with `finished`."""
        if size_bytes(frame) <= LONGEST_AT_ONCE_BYTES and not _must_prepare(frame):
            return Read(frame, self._tokens_of(frame))
        found = self._thread.submit(self._tokens_of, frame)
        found.add_done_callback(lambda _: self._tell())
        self._waiting.append((frame, found))
        return None

    def finished(self) -> list[Read]:
        """Frames that were read since the last call, in the order in which they came."""
        done: list[Read] = []
        while self._waiting and self._waiting[0][1].done():
            frame, found = self._waiting.popleft()
            done.append(Read(frame, found.result()))
        return done

    def cancel(self, id: int) -> None:
        """Forget a frame; one that is just being read is read to its end for nothing."""
        for waiting in [waiting for waiting in self._waiting if waiting[0].id == id]:
            waiting[1].cancel()
            self._waiting.remove(waiting)


def _must_prepare(frame: Readable) -> bool:
    """Whether something other than its text may take long (`dry.py`)."""
    return isinstance(frame, Generate) and frame.sampling.dry is not None


def size_bytes(frame: Readable) -> int:
    """How much text a frame holds; a character is counted as a byte, which is near enough."""
    match frame:
        case Generate():
            return sum(len(span.text) for span in frame.prompt) + len(frame.prediction)
        case Count():
            return sum(len(span.text) for prompt in frame.prompts for span in prompt)
        case Embed() | Tokenize():
            return len(frame.text)
        case Rank():
            return len(frame.query) + len(frame.document)
