"""How long a prompt will be, and how much of it the worker will find in memory, before it has been read.

Tokens per byte are learnt per model. A conversation is recognised by what came before: the messages of every prompt are
remembered as a chain of hashes, a few bytes each, never as text. How much of a recognised beginning is really found in
memory is learnt too, since memory is short and others use it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from edged.chat import ChatRequest

_NEWEST_WEIGHT = 0.2
# English text in current vocabularies; Chinese has about as many per byte.
_FIRST_GUESS_TOKENS_PER_BYTE = 0.3
# What a template puts around a message: role, begin and end marks.
_MESSAGE_BYTES = 16
# A few hundred conversations of a few turns each.
_KEPT_LINKS = 4096


@dataclass(frozen=True, slots=True)
class Size:
    """An estimate in tokens: the whole prompt, and of it what was seen before."""

    prompt_tokens: int
    familiar_tokens: int
    unread_tokens: int


class Sizes:
    """Learns from what was accepted; estimates what comes."""

    def __init__(self) -> None:
        self._tokens_per_byte: float | None = None
        self._found: float | None = None  # of what was recognised, how much was still in memory
        self._links: OrderedDict[int, None] = OrderedDict()

    def estimate(self, request: ChatRequest) -> Size:
        """The size of `request`'s prompt."""
        lengths, chain = _lengths(request), _chain(request)
        per_byte = self._tokens_per_byte or _FIRST_GUESS_TOKENS_PER_BYTE
        known = next((count for count in range(len(chain), 0, -1) if chain[count - 1] in self._links), 0)
        if 0 < known < len(request.messages) and request.messages[known].role == "assistant":
            known += 1  # the answer that followed is in memory as well
        prompt_tokens = max(1, round(sum(lengths) * per_byte))
        familiar = min(round(sum(lengths[:known]) * per_byte), prompt_tokens - 1)
        return Size(prompt_tokens, familiar, max(1, prompt_tokens - round(familiar * (self._found or 0.0))))

    def learn(self, request: ChatRequest, estimated: Size, prompt_tokens: int, cached_tokens: int) -> None:
        """The worker has counted, and looked into its memory."""
        per_byte = prompt_tokens / max(1, sum(_lengths(request)))
        self._tokens_per_byte = _blend(self._tokens_per_byte, per_byte)
        if estimated.familiar_tokens:
            found = min(1.0, cached_tokens / estimated.familiar_tokens)
            self._found = _blend(self._found, found)
        for link in _chain(request):
            self._links[link] = None
            self._links.move_to_end(link)
        while len(self._links) > _KEPT_LINKS:
            self._links.popitem(last=False)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST_WEIGHT * (new - old)


def _lengths(request: ChatRequest) -> list[int]:
    if request.raw_prompt is not None:
        return [len(request.raw_prompt.encode())]
    return [len(message.text.encode()) + _MESSAGE_BYTES for message in request.messages]


def _chain(request: ChatRequest) -> list[int]:
    """One hash for every beginning of the conversation; caches are kept apart by account, so these are as well."""
    if request.raw_prompt is not None:
        return [hash((request.caller.account, request.raw_prompt))]
    links, link = list[int](), hash(request.caller.account)
    for message in request.messages:
        link = hash((link, message.role, message.text))
        links.append(link)
    return links
