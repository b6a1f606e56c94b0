"""Log-probabilities of tokens in OpenAI's two shapes: a list of objects for chats, parallel lists for completions.

A token need not be text: a Chinese character can take two. What is no UTF-8 is written as OpenAI writes it,
`bytes:\\xe4\\xbd`; in chats the exact bytes stand beside it in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edged.completion import Candidate, TokenLogprob


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """`choices[].logprobs` of a chat, for a whole answer or for one chunk."""
    content = [_told(token) | {"top_logprobs": [_told(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """`choices[].logprobs` of a completion whose text so far has `offset` characters."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += characters(token)
    return {
        "tokens": [_text(token.piece) for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_top(token) for token in tokens],
        "text_offset": offsets,
    }


def characters(token: TokenLogprob) -> int:
    """How many characters begin in a token: bytes that go on with one (10xxxxxx) do not count."""
    return sum(byte & 0xC0 != 0x80 for byte in token.piece)


def _told(token: TokenLogprob | Candidate) -> dict[str, Any]:
    return {"token": _text(token.piece), "logprob": token.logprob, "bytes": list(token.piece)}


def _top(token: TokenLogprob) -> dict[str, float]:
    """The likeliest by their text; of two that read the same, the likelier. Always with the one that was drawn."""
    top: dict[str, float] = {}
    for candidate in token.top:
        top.setdefault(_text(candidate.piece), candidate.logprob)
    top.setdefault(_text(token.piece), token.logprob)
    return top


def _text(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
