"""How one conversation is held with one model: whether it thinks first, what it may call, how its reply is read.

Pure but for what is learnt: how long a model's thoughts are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import takewhile

from edged.chat import ChatRequest, Message, Tool
from edged.completion import Event, Finish, Thought
from edged.speech.families import GENERIC, Family, family_of
from edged.speech.forcing import constraint
from edged.speech.harmony import FINAL, HEADERS, MESSAGE, START
from edged.speech.replies import read
from edged.template_wire import Capabilities, Span
from edged.wire import ThoughtMarks

# Longer than this nobody should have to look at an empty screen unless he asked for a thinker.
LONGEST_THOUGHT_S = 10.0
# What a thought is taken to have until this model's own were seen: thoughts of a page, not of a line. An assumption; a
# device on which it is wrong knows better after a few answers.
_SUPPOSED_TOKENS = 400.0
_LEARNT = 0.2


@dataclass(slots=True)
class Thoughts:
    """How long one model's thoughts are, in tokens."""

    tokens: float = _SUPPOSED_TOKENS

    def note(self, tokens: int) -> None:
        """An answer was thought about for so long."""
        self.tokens += _LEARNT * (tokens - self.tokens)

    def are_bearable(self, token_s: float | None) -> bool:
        """Whether the first visible word would come soon enough behind one; not while the device's speed is unknown."""
        return token_s is not None and self.tokens * token_s <= LONGEST_THOUGHT_S


@dataclass(frozen=True, slots=True)
class Manner:
    """`tools` are those that the model is told of; `is_thinking`: its prompt has begun a thought for it."""

    family: Family
    tools: tuple[Tool, ...] = ()
    is_thinking: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        """What of the reply must be text though it may be control tokens."""
        return self.family.markers(self.tools)

    def thoughts(self, request: ChatRequest) -> ThoughtMarks | None:
        """Where the worker will see thoughts, and how many tokens of them `request` wants at most."""
        family, tags, most = self.family, self.family.first_thought, request.thought_tokens
        if tags is None:
            return None
        if family.is_harmony:  # who may call decides behind its thought whether it does
            ending = tags.close + tags.next + ("" if self.tools else FINAL)
            kind = tags.open.removesuffix(MESSAGE)
            return ThoughtMarks(
                kind, tags.close, ending, self.is_thinking, most, (START,), headers=HEADERS, header_end=MESSAGE
            )
        formats = family.formats if family.calls_in_thoughts and self.tools else ()
        calls = tuple(opener for format in formats for opener in format.openers)
        return ThoughtMarks(
            tags.open, tags.close, tags.close, self.is_thinking, most, calls, is_anywhere=tags.is_anywhere
        )

    def asked(self, request: ChatRequest) -> ChatRequest:
        """`request` with the constraint that its format and its tools come to. Raises `InvalidRequest`."""
        wanted = constraint(
            self.family,
            self.tools,
            request.tool_choice,
            request.constraint,
            parallel=request.parallel_calls,
            is_thinking=self.is_thinking,
            may_think=request.thinks is not False,
        )
        return replace(request, constraint=wanted)

    def read(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """What the model writes, as thoughts, words and calls."""
        return read(events, self.family, self.tools, is_thinking=self.is_thinking)


@dataclass(slots=True)
class Counting:
    """Events as they pass, and how long they were thoughts. One that was ended at `most` is as long as that."""

    thoughts: Thoughts
    most: int | None = None
    _tokens: dict[int, int] = field(default_factory=dict)

    async def through(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """The same events. An answer that did not think says nothing of how long thoughts are."""
        async for event in events:
            if isinstance(event, Thought):
                self._tokens[event.choice] = self._tokens.get(event.choice, 0) + event.tokens
            elif isinstance(event, Finish) and event.choice in self._tokens:
                tokens = self._tokens[event.choice]
                if self.most is None or tokens < self.most:
                    self.thoughts.note(tokens)
            yield event


def parted(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """The conversation that is to be answered, and how its answer begins, if the assistant has the last word in it.

    llama-server and Ollama go on with such an answer too, and so did Anthropic (prefill). A turn with calls is no
    beginning, and where nobody else has said anything there is nothing to answer.
    """
    count = len(messages)
    while count and messages[count - 1].role == "assistant" and not messages[count - 1].calls:
        count -= 1
    begun = "\n\n".join(message.text for message in messages[count:] if message.text)
    return (messages[:count], begun) if count and begun else (messages, "")


def begun_answer(text: str, template: str, can: Capabilities, prompt: tuple[Span, ...]) -> tuple[Span, ...]:
    """What stands behind `prompt`, which `template` laid out, for an answer that begins with `text` and no thought."""
    family = _family(template, can.takes_tools)
    head = family.words_open
    if (tags := family.first_thought) and family.opens_thought(_end(prompt)):
        head = tags.close + (tags.next or "\n\n") + head
    return (*([Span(head)] if head else []), Span(text, literal=True))


def manner_of(request: ChatRequest, template: str, can: Capabilities, prompt: tuple[Span, ...]) -> Manner:
    """How the reply to `prompt` is read, which `template` laid out for `request`."""
    family = _family(template, can.takes_tools)
    tools = () if request.tool_choice.kind == "none" else request.tools
    return Manner(family, tools, family.opens_thought(_end(prompt)))


def _end(prompt: tuple[Span, ...]) -> str:
    """What the template has written last: nobody's words open a thought."""
    spans = list(takewhile(lambda span: not span.literal, reversed(prompt)))
    return "".join(span.text for span in reversed(spans))


@lru_cache(maxsize=16)
def _family(template: str, takes_tools: bool) -> Family:
    """Where a template knows no tools they are described in words, which ask for the generic format."""
    family = family_of(template)
    return family if takes_tools or family.is_harmony else replace(family, formats=(*GENERIC.formats, *family.formats))
