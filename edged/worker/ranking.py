"""How a query and a document are laid out for a model that judges pairs.

As llama-server does it (`format_prompt_rerank` in tools/server/server-common.cpp of llama.cpp): the file's own rerank
template where it has one, else begin, query, end, separator, document, end, as far as the vocabulary adds those. Unlike
there, control tokens inside the query or the document are plain text: a document must not talk to its judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.template_wire import Span
from edged.worker.prompt import Tokenizer, tokens_of

_PLACES = re.compile(r"(\{query\}|\{document\})")


@dataclass(frozen=True, slots=True)
class PairLayout:
    """What stands around the two texts: a template, or tokens, where None means that there is none."""

    template: str
    begin: int | None
    end: int | None
    separator: int | None


def pair_tokens(query: str, document: str, layout: PairLayout, tokenizer: Tokenizer) -> list[int]:
    """The ids of a pair, as the model wants to see it."""
    if layout.template:
        return tokens_of(_fill(layout.template, query, document), tokenizer)
    parts = (
        [layout.begin],
        tokenizer.tokenize(query, parse_special=False),
        [layout.end, layout.separator],
        tokenizer.tokenize(document, parse_special=False),
        [layout.end],
    )
    return [token for part in parts for token in part if token is not None]


def _fill(template: str, query: str, document: str) -> tuple[Span, ...]:
    """The template in spans; both texts are literal, and what looks like a place inside them stays text."""
    texts = {"{query}": query, "{document}": document}
    pieces = [piece for piece in _PLACES.split(template) if piece]
    return tuple(Span(texts.get(piece, piece), literal=piece in texts) for piece in pieces)
