"""The answers of a worker, as text, become answers in the vocabulary: thoughts, words, calls.

Every choice has a parser of its own. Where there is nothing to find the events pass as they are.
"""

from __future__ import annotations

import codecs
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

from edged.chat import Tool
from edged.completion import CallDelta, Delta, Event, Finish, Progress, Thought, TokenLogprob
from edged.speech.families import Family
from edged.speech.reply import Arguments, CallOpened, Parser, Piece, Thinking, Words


def read(
    events: AsyncIterator[Event],
    family: Family,
    tools: Sequence[Tool],
    *,
    is_thinking: bool,
    new_id: Callable[[], str] | None = None,
) -> AsyncIterator[Event]:
    """`events` with what `family` means by their text. `tools` are those that the model was told of.

    `is_thinking`: the prompt has opened a thought (`Family.opens_thought`). The `tokens` of all events of a choice add
    up to what the worker counted, but for those behind the last piece; `Finish` counts all.
    """
    if not family.reads(tools):
        return events
    return _read(events, family, tools, new_id or (lambda: new_call_id(family)), is_thinking=is_thinking)


def new_call_id(family: Family) -> str:
    """A name for a call that nobody can guess, and that the family's template takes back."""
    if family.call_id_characters is None:
        return f"call_{secrets.token_hex(12)}"
    return secrets.token_hex(family.call_id_characters)[: family.call_id_characters]


async def _read(
    events: AsyncIterator[Event], family: Family, tools: Sequence[Tool], new_id: Callable[[], str], *, is_thinking: bool
) -> AsyncIterator[Event]:
    choices: dict[int, _Choice] = {}
    async for event in events:
        choice = choices.get(event.choice)
        if choice is None:
            parser = family.parser(tools, new_id, is_thinking=is_thinking)
            choice = choices[event.choice] = _Choice(event.choice, parser)
        if isinstance(event, Progress):
            yield event
        elif isinstance(event, Delta):
            for read in choice.take(event):
                yield read
        elif isinstance(event, Finish):
            for read in choice.end(event):
                yield read
        else:
            raise TypeError(f"a worker sends text, not a {type(event).__name__}")


class _Choice:
    """One answer: its parser, and what the next event must tell besides the text."""

    def __init__(self, choice: int, parser: Parser) -> None:
        self._choice = choice
        self._parser = parser
        self._tokens = 0
        self._scores = _Scores()

    def take(self, delta: Delta) -> Iterator[Event]:
        """What the next piece of text brings."""
        self._tokens += delta.tokens
        self._scores.add(delta.logprobs)
        yield from self._events(self._parser.feed(delta.text))

    def end(self, finish: Finish) -> Iterator[Event]:
        """What was held back, and the end."""
        yield from self._events(self._parser.finish())
        has_calls = self._parser.complete_calls > 0 and finish.reason != "length"
        yield replace(finish, reason="tool_calls") if has_calls else finish

    def _events(self, pieces: Sequence[Piece]) -> Iterator[Event]:
        opened: CallOpened | None = None
        for piece in pieces:
            if opened is not None:
                arguments = piece.text if isinstance(piece, Arguments) else ""
                yield self._call(opened.index, arguments, opened.id, opened.name)
                opened = None
                if arguments:
                    continue
            match piece:
                case Words():
                    yield Delta(self._choice, piece.text, self._taken(), self._scores.of(piece))
                case Thinking():
                    yield Thought(self._choice, piece.text, self._taken())
                case CallOpened():
                    opened = piece
                case Arguments():
                    yield self._call(piece.index, piece.text)
        if opened is not None:
            yield self._call(opened.index, "", opened.id, opened.name)

    def _call(self, index: int, arguments: str, id: str = "", name: str = "") -> CallDelta:
        return CallDelta(self._choice, index, arguments, id, name, self._taken())

    def _taken(self) -> int:
        tokens, self._tokens = self._tokens, 0
        return tokens


class _Scores:
    """The log-probabilities of one answer's tokens, each with where in its text the token stands."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._characters = 0
        self._waiting: deque[tuple[int, int, TokenLogprob]] = deque()

    def add(self, scores: Sequence[TokenLogprob]) -> None:
        """The next tokens."""
        for score in scores:
            start = self._characters
            self._characters += len(self._decoder.decode(score.piece))
            self._waiting.append((start, self._characters, score))

    def of(self, words: Words) -> tuple[TokenLogprob, ...]:
        """Those of tokens that stand in `words` and were not given yet; what stands before is nobody's."""
        taken = []
        while self._waiting and self._waiting[0][0] < words.at + len(words.text):
            start, end, score = self._waiting.popleft()
            if end > words.at or start >= words.at:
                taken.append(score)
        return tuple(taken)
