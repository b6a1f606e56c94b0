"""Where in an answer the model thinks: no stop string ends it there, and it may not think for ever.

    before ─▶ inside ─▶ behind ─▶ words             the marks of `ThoughtMarks`, found however the text is cut
      ▲         ▲         │         │
      │         └─────────┼─────────┤               where thoughts may come anywhere
      └───────────────────┴─────────┘               where messages have headers: the next one

What the daemon reads as a thought (`speech/reply.py`) is one here as well; so is what it reads as neither thought nor
words: headers of messages, and white space behind a thought.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from edged.wire import ThoughtMarks

# A piece of an answer, and whether it is thought.
Piece: TypeAlias = tuple[str, bool]

# What the daemon's parser takes for white space.
_WHITE = " \t\r\n"
# More white space than models write in front of a thought, and more than gpt-oss writes into a header: what is longer
# is none of either, and need not wait any longer.
_MOST_WHITE = 16
_LONGEST_HEADER = 512


class Thinking:
    """Follows the text of one answer."""

    def __init__(self, marks: ThoughtMarks, ending: Sequence[int] = ()) -> None:
        """`ending` are the tokens of `marks.ending`."""
        self.tokens = 0
        self._marks = marks
        self._ending = tuple(ending)
        self._is_ending = False
        self._held = ""
        self._at: Literal["before", "inside", "behind", "words"] = "before"
        if marks.has_begun:
            self._at = "inside"
        elif marks.is_anywhere:
            self._at = "words"

    def split(self, text: str) -> list[Piece]:
        """What `text`, which comes next, consists of; what may be the beginning of a mark waits for its rest."""
        self._held += text
        pieces: list[Piece] = []
        while self._held and self._advance(pieces):
            pass
        return pieces

    def flush(self) -> list[Piece]:
        """What was held back: nothing follows."""
        held, self._held = self._held, ""
        return [(held, self._at in ("inside", "behind"))] if held else []

    def count(self) -> None:
        """One token more was drawn."""
        self.tokens += self._at == "inside"

    def take_ending(self) -> tuple[int, ...]:
        """The tokens that must come next, once, where the thought has gone on for too long; else none."""
        most = self._marks.most_tokens
        if most is None or self._at != "inside" or self.tokens < most or self._is_ending:
            return ()
        self._is_ending = True
        return self._ending

    def _advance(self, pieces: list[Piece]) -> bool:
        """Whether something became clear that may make more clear."""
        match self._at:
            case "before":
                return self._header(pieces) if self._marks.headers else self._opening(pieces)
            case "inside":
                return self._thought(pieces)
            case "behind":
                return self._behind(pieces)
            case "words":
                return self._words(pieces)

    def _opening(self, pieces: list[Piece]) -> bool:
        seen, mark = self._held.lstrip(_WHITE), self._marks.open
        white = len(self._held) - len(seen)
        if len(seen) < len(mark) and mark.startswith(seen) and white <= _MOST_WHITE:
            return False
        self._at = "words"
        if seen.startswith(mark):
            self._take(white + len(mark), pieces, is_thought=True)
            self._at = "inside"
        return True

    def _header(self, pieces: list[Piece]) -> bool:
        if not self._held.startswith(self._marks.headers):
            if any(mark.startswith(self._held) for mark in self._marks.headers):
                return False
            self._at = "words"
            return True
        at = self._held.find(self._marks.header_end)
        if at < 0 and len(self._held) <= _LONGEST_HEADER:
            return False
        if at < 0:  # it is none; looked at again it would seem to begin one
            self._at = "words"
            self._take(len(self._held), pieces, is_thought=False)
            return False
        self._at = "inside" if self._marks.open in self._held[:at] else "words"
        self._take(at + len(self._marks.header_end), pieces, is_thought=True)
        return True

    def _thought(self, pieces: list[Piece]) -> bool:
        mark = self._take_up_to((self._marks.close, *self._marks.breaks), pieces, is_thought=True)
        if not mark:
            return False
        self._is_ending = False
        self._at = "before" if self._marks.headers else "words"
        if mark == self._marks.close:
            self._take(len(mark), pieces, is_thought=True)
            self._at = "behind"
        return True

    def _behind(self, pieces: list[Piece]) -> bool:
        if self._marks.headers:
            self._at = "before"
            return True
        self._take(len(self._held) - len(self._held.lstrip(_WHITE)), pieces, is_thought=True)
        if self._held:
            self._at = "words"
        return bool(self._held)

    def _words(self, pieces: list[Piece]) -> bool:
        if self._marks.headers:
            mark = self._take_up_to((self._marks.close, *self._marks.breaks), pieces, is_thought=False)
            self._take(len(mark) if mark == self._marks.close else 0, pieces, is_thought=True)
            self._at = "before" if mark else "words"
        elif self._marks.is_anywhere:
            mark = self._take_up_to((self._marks.open,), pieces, is_thought=False)
            self._take(len(mark), pieces, is_thought=True)
            self._at = "inside" if mark else "words"
        else:
            mark = ""
            self._take(len(self._held), pieces, is_thought=False)
        return bool(mark)

    def _take_up_to(self, marks: tuple[str, ...], pieces: list[Piece], *, is_thought: bool) -> str:
        """Take what stands in front of the first of `marks`, which is returned; without one, all that is none."""
        at, mark = min(((at, mark) for mark in marks if (at := self._held.find(mark)) >= 0), default=(-1, ""))
        keep = len(self._held) - at if mark else max(overlap(self._held, mark) for mark in marks)
        self._take(len(self._held) - keep, pieces, is_thought=is_thought)
        return mark

    def _take(self, length: int, pieces: list[Piece], *, is_thought: bool) -> None:
        if length:
            pieces.append((self._held[:length], is_thought))
            self._held = self._held[length:]


def overlap(text: str, marker: str) -> int:
    """Length of the longest proper beginning of `marker` that `text` ends with."""
    return next((n for n in range(min(len(marker) - 1, len(text)), 0, -1) if text.endswith(marker[:n])), 0)
