"""How long a prompt will be, and how much of it the worker will find in memory, before it has been read.

A conversation is recognised by what came before: of every prompt a chain of hashes is remembered, one for each message,
never a text; and for the ends of the chain how many tokens were in memory when the answer was over. So what is guessed
is only what is new since then, by tokens per byte, which are learnt per model. How much of a recognised beginning is
really found is learnt too, since memory is short and others use it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from edged.chat import ChatRequest, RawPrompt

_NEWEST_WEIGHT = 0.2
# English text in current vocabularies; Chinese has about as many per byte.
_FIRST_GUESS_TOKENS_PER_BYTE = 0.3
# An English token is about four characters long.
_BYTES_PER_TOKEN = 4
# What a template puts around a message: role, begin and end marks.
_MESSAGE_BYTES = 16
# A few hundred conversations of a few turns each.
_KEPT_LINKS = 4096
# Memory that was just cleared shows after five prompts; four odd ones show nothing.
_RECENT = 9


@dataclass(slots=True)
class _Link:
    """What is known of a beginning: how many tokens of a prompt it is, and how many an answer to it had."""

    prompt_tokens: float | None = None
    answer_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Size:
    """An estimate in tokens: the whole prompt, what of it was seen before, and what must be read.

    `link` is the end of what was recognised, `new_bytes` how long the rest is; unless what was seen before `is_counted`
    its length is a guess as well.
    """

    prompt_tokens: int
    familiar_tokens: int
    unread_tokens: int
    new_bytes: int
    link: _Link | None = None
    is_counted: bool = False


class Sizes:
    """Learns from what was accepted; estimates what comes."""

    def __init__(self, shared_prompts: Iterable[str] = ()) -> None:
        """`shared_prompts` are the owner's system prompts, which are in memory before anybody asks."""
        self._shared = {text: _Link() for text in shared_prompts}
        self._tokens_per_byte = _FIRST_GUESS_TOKENS_PER_BYTE
        self._is_new = True
        self._found: deque[float] = deque(maxlen=_RECENT)  # of what was in memory once, how much still was
        self._links: OrderedDict[int, _Link] = OrderedDict()

    def estimate(self, request: ChatRequest) -> Size:
        """The size of `request`'s prompt."""
        lengths, chain = _lengths(request), _chain(request)
        known = next((count for count in range(len(chain), 0, -1) if chain[count - 1] in self._links), 0)
        link = self._links[chain[known - 1]] if known else self._shared_link(request)
        if link is None:
            return self._size(0.0, sum(lengths), None)
        known = max(known, 1)
        familiar_tokens = link.prompt_tokens or sum(lengths[:known]) * self._tokens_per_byte
        if known < len(request.messages) and request.messages[known].role == "assistant":  # in memory as well
            familiar_tokens += link.answer_tokens or lengths[known] * self._tokens_per_byte
            known += 1
        return self._size(familiar_tokens, sum(lengths[known:]), link)

    def _shared_link(self, request: ChatRequest) -> _Link | None:
        first = request.messages[0] if request.messages and request.raw_prompt is None else None
        return self._shared.get(first.text) if first and first.role == "system" else None

    def _size(self, familiar_tokens: float, new_bytes: int, link: _Link | None) -> Size:
        new_tokens = new_bytes * self._tokens_per_byte
        found = median(self._found) if self._found else 1.0  # nothing is thrown away before its cells are needed
        unread_tokens = max(1, round(new_tokens + familiar_tokens * (1 - found)))
        prompt_tokens, is_counted = max(1, round(familiar_tokens + new_tokens)), bool(link and link.prompt_tokens)
        return Size(prompt_tokens, round(familiar_tokens), unread_tokens, new_bytes, link, is_counted)

    def learn(self, request: ChatRequest, estimated: Size, prompt_tokens: int, cached_tokens: int) -> None:
        """The worker has counted, and looked into its memory."""
        familiar_tokens, new_bytes = estimated.familiar_tokens, estimated.new_bytes
        if estimated.link is not None and not estimated.is_counted:
            # Several conversations begin so; what was found of it is how long it is. Nothing was: then all was read.
            familiar_tokens, new_bytes = cached_tokens, new_bytes if cached_tokens else sum(_lengths(request))
            estimated.link.prompt_tokens = cached_tokens or None
        elif familiar_tokens:
            self._found.append(min(1.0, cached_tokens / familiar_tokens))
        new_tokens = prompt_tokens - familiar_tokens
        if new_bytes and new_tokens > 0:
            self._learn_rate(new_tokens / new_bytes)
        for link in (chain := _chain(request)):
            self._links.setdefault(link, _Link())
            self._links.move_to_end(link)
        self._links[chain[-1]].prompt_tokens = prompt_tokens
        while len(self._links) > _KEPT_LINKS:
            self._links.popitem(last=False)

    def answered(self, request: ChatRequest, answer_tokens: float) -> None:
        """So many tokens were said in answer; they lie in memory behind the prompt."""
        if link := self._links.get(_chain(request)[-1]):
            link.answer_tokens = answer_tokens

    def _learn_rate(self, tokens_per_byte: float) -> None:
        weight = 1.0 if self._is_new else _NEWEST_WEIGHT
        self._tokens_per_byte += weight * (tokens_per_byte - self._tokens_per_byte)
        self._is_new = False


def _lengths(request: ChatRequest) -> list[int]:
    if request.raw_prompt is not None:
        return [_raw_bytes(request.raw_prompt) + len(request.suffix.encode())]
    return [len(message.text.encode()) + _MESSAGE_BYTES for message in request.messages]


def _raw_bytes(prompt: RawPrompt) -> int:
    """How long a prompt is; of token ids, about how long their text."""
    return len(prompt.encode()) if isinstance(prompt, str) else len(prompt) * _BYTES_PER_TOKEN


def _chain(request: ChatRequest) -> list[int]:
    """One hash for every beginning of the conversation; caches are kept apart by account, so these are as well."""
    if request.raw_prompt is not None:
        return [hash((request.caller.account, request.raw_prompt, request.suffix))]
    links, link = list[int](), hash(request.caller.account)
    for message in request.messages:
        link = hash((link, message.role, message.text))
        links.append(link)
    return links
