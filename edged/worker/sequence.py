"""One generation: its tokens, what of them the model's memory holds, and the text that may already be said.

    tokens   p p p p p p g g g g          prompt, then generated
             └──in memory──┘ └pending┘     `in_memory` counts from the front; pending tokens are decoded next

Text is released late on purpose: a UTF-8 character may be split across tokens, and the beginning of a stop string must
not be shown before it is known not to be one. The log-probabilities of the tokens wait with it: a token's goes out with
the first character that it made.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edged.chat import Lane
from edged.completion import FinishReason, TokenLogprob
from edged.wire import Output
from edged.worker.prefixes import Prefix
from edged.worker.thinking import Piece, Thinking, overlap


class StopFilter:
    """Passes text through until a stop string appears; holds back what might be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.met = ""  # the stop string that ended the text
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What may be shown now, and whether a stop string was met (it and all behind it are dropped)."""
        text = self._held + text
        # The one that is complete first, not the one that begins first: it must not matter how the text was cut.
        met = min(((at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0), default=None)
        if met is not None:
            self._held, self.met = "", met[2]
            return text[: met[1]], True
        keep = max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """What was held back; the answer ended without the stop string."""
        held, self._held = self._held, ""
        return held


@dataclass(slots=True, eq=False)
class Sequence:
    """All state of one answer. `place` is what the memory holds of it while it runs, else None.

    `partition` names whose prefixes it may share; None for prompts of the owner, which everybody may share. `marks` are
    lengths of the prompt at which the next turn may want to begin. `shown` are control tokens that are text here. While
    the model is `thinking`, stop strings mean nothing.
    """

    id: int
    tokens: list[int]
    prompt_tokens: int
    max_tokens: int
    stops: StopFilter
    partition: str | None = ""
    lane: Lane = "interactive"
    marks: tuple[int, ...] = ()
    shown: Mapping[int, bytes] = field(default_factory=dict)
    tells_progress: bool = False
    thinking: Thinking | None = None
    place: Prefix | None = None
    finish: FinishReason | None = None
    said: str = ""
    said_tokens: int = 0
    _told_tokens: int = 0
    _decoded: int = 0  # characters that the tokens so far have made, and how many of them were released
    _released: int = 0
    _scores: list[tuple[int, TokenLogprob]] = field(default_factory=list)  # each with the characters before it
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    @property
    def in_memory(self) -> int:
        """Tokens that need not be decoded again."""
        return self.place.length if self.place else 0

    @property
    def pending(self) -> int:
        """Tokens that must be decoded before the next one can be drawn; 1 while generating."""
        return len(self.tokens) - self.in_memory

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.said or self.finish or self._newly_read)

    @property
    def _newly_read(self) -> int:
        """How much of the prompt is in memory, if that is to be told and is more than was told; else 0."""
        read = min(self.in_memory, self.prompt_tokens) if self.tells_progress else 0
        return read if read > self._told_tokens else 0

    @property
    def readable(self) -> int:
        """Pending tokens up to the next mark: what one step may decode."""
        marks = self.place.marks if self.place else []
        return min(self.pending, marks[0] - self.in_memory) if marks else self.pending

    @property
    def is_decoding(self) -> bool:
        """The prompt is in memory; every step now brings a token."""
        return self.pending == 1 and self.generated > 0

    @property
    def generated(self) -> int:
        """Tokens drawn so far."""
        return len(self.tokens) - self.prompt_tokens

    def accept(self, token: int, piece: bytes, *, is_end: bool, score: TokenLogprob | None = None) -> None:
        """Take the next token. Afterwards `finish` tells whether it was the last, `take_said` what to show.

        An end token makes no text and is not scored.
        """
        piece = self.shown.get(token, piece)
        self.tokens.append(token)
        self.said_tokens += 1
        if is_end:
            self.end("stop")
            return
        if score is not None:
            self._scores.append((self._decoded, score if score.piece == piece else replace(score, piece=piece)))
        decoded = self._decoder.decode(piece)
        self._decoded += len(decoded)
        met_stop = self._read(self.thinking.split(decoded) if self.thinking else [(decoded, False)])
        if self.thinking:
            self.thinking.count()
        if met_stop:
            self._scores = [(start, score) for start, score in self._scores if start < self._released]
            self.finish = "stop"
        elif self.generated >= self.max_tokens:
            self.end("length")

    def take_ending(self) -> tuple[int, ...]:
        """The tokens that must come next, because the model has thought for long enough; none inside of a character."""
        if self.thinking is None or self._decoder.getstate()[0]:
            return ()
        return self.thinking.take_ending()

    def take_news(self) -> Output:
        """All that may be told and has not been."""
        (said, tokens), scores, read = self.take_said(), self.take_scores(), self._newly_read
        self._told_tokens = read or self._told_tokens
        return Output(self.id, said, tokens, self.finish, self.generated, scores, self.stops.met, read)

    def take_said(self) -> tuple[str, int]:
        """Text that may be shown and has not been taken yet, and how many tokens were drawn since the last take."""
        taken = (self.said, self.said_tokens)
        self.said, self.said_tokens = "", 0
        return taken

    def take_scores(self) -> tuple[TokenLogprob, ...]:
        """Scores of the tokens whose text was begun by now and that were not taken yet; at the end, all."""
        count = len(self._scores)
        if self.finish is None:
            count = sum(start < self._released for start, _ in self._scores)
        taken, self._scores = self._scores[:count], self._scores[count:]
        return tuple(score for _, score in taken)

    def end(self, reason: FinishReason) -> None:
        """Nothing follows: what was held back may be said now."""
        rest = self._decoder.decode(b"", final=True)
        pieces = [*self.thinking.split(rest), *self.thinking.flush()] if self.thinking else [(rest, False)]
        met_stop = self._read(pieces)
        self._say(self.stops.flush())
        self.finish = "stop" if met_stop else reason

    def _read(self, pieces: Iterable[Piece]) -> bool:
        """Say what may be said of them; whether a stop string was met."""
        for piece, is_thought in pieces:
            if is_thought:
                self._say(self.stops.flush() + piece)
                continue
            text, met_stop = self.stops.push(piece)
            self._say(text)
            if met_stop:
                return True
        return False

    def _say(self, text: str) -> None:
        self.said += text
        self._released += len(text)
