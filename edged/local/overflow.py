"""Which turns of a conversation are left out when it has outgrown the context: a pure decision.

    system … | turn: user, assistant | turn: user, assistant | … | last turn: user
     stays          goes first              goes next                stays

Whole turns go, oldest first: a user's message with the answers behind it. System messages and the last user's turn
stay. So many go at once that the rest is at most 60 % of the context, and which ones is worked out by playing the
conversation through from its beginning. A client that sends its whole history each time therefore has the same turns
left out each time, until the next cut: what remains begins the same, and its beginning can be found in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edged.chat import Message

# After a cut: room for several turns until the next one.
KEPT_SHARE = 0.6
# What a prompt must leave for its answer; one cut off after three words is no use to anybody who asked for dropping.
ANSWER_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class Turns:
    """A conversation, cut into turns. Each is a run of indices; `pinned` are those of system messages."""

    pinned: tuple[int, ...]
    turns: tuple[tuple[int, ...], ...]

    def without(self, messages: Sequence[Message], dropped: int) -> tuple[Message, ...]:
        """The messages that remain when the oldest `dropped` turns are left out."""
        gone = {index for turn in self.turns[:dropped] for index in turn}
        return tuple(message for index, message in enumerate(messages) if index not in gone)

    @property
    def most(self) -> int:
        """How many turns can be left out: all but the last."""
        return max(0, len(self.turns) - 1)

    def messages_in(self, dropped: int) -> int:
        """How many messages the oldest `dropped` turns have."""
        return sum(len(turn) for turn in self.turns[:dropped])


def turns_of(messages: Sequence[Message]) -> Turns:
    """A turn begins with each user's message; what comes before the first one belongs to it."""
    turns: list[list[int]] = [[]]
    has_asked = False
    for index, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role == "user" and has_asked:
            turns.append([])
        has_asked |= message.role == "user"
        turns[-1].append(index)
    pinned = tuple(index for index, message in enumerate(messages) if message.role == "system")
    return Turns(pinned, tuple(tuple(turn) for turn in turns if turn))


def is_too_long(prompt_tokens: int, context_tokens: int) -> bool:
    """Whether a prompt leaves too little of the context for an answer."""
    return prompt_tokens > context_tokens * (1 - ANSWER_SHARE)


def to_drop(turns: Turns, sizes: Sequence[int], context_tokens: int) -> int:
    """How many of the oldest turns to leave out. `sizes` are the messages' tokens, the template's marks included.

    Never the last one, even if it is too long by itself: that is for whoever counts the result to say.
    """
    first = 0
    kept = sum(sizes[index] for index in turns.pinned)
    for number, turn in enumerate(turns.turns):
        asked, answered = sizes[turn[0]], sum(sizes[index] for index in turn[1:])
        if is_too_long(kept + asked, context_tokens):
            while first < number and kept + asked > context_tokens * KEPT_SHARE:
                kept -= sum(sizes[index] for index in turns.turns[first])
                first += 1
        kept += asked + answered
    return first


def with_marks(counted: Sequence[int], prompt_tokens: int) -> list[int]:
    """Each message's tokens plus its part of what the template adds, rounded up.

    Rounded up it is the same number however long the conversation has become: what a template adds once is little.
    """
    marks = -(-max(0, prompt_tokens - sum(counted)) // max(1, len(counted)))
    return [tokens + marks for tokens in counted]
