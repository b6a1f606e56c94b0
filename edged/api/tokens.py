"""Text to tokens and back, and a conversation as the prompt that it becomes: llama-server's shapes, both ways.

`/tokenize`, `/detokenize` and `/apply-template` as in tools/server/README.md of llama.cpp.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from edged.api.body import Strict, check_text_bytes
from edged.api.openai import ChatBody
from edged.chat import TokenizeRequest
from edged.completion import TextTokens

# What a worker can answer beside its work in one frame: every byte may be a token.
MAX_TEXT_BYTES = 128 * 1024
# With the text of each; looking one up takes about a microsecond, in which nobody gets a word.
MAX_PIECES = 16 * 1024
_MAX_TOKEN = 2**31 - 1


class TokenizeBody(Strict):
    """`POST /tokenize`."""

    content: str
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False

    def check(self, text_bytes: int) -> None:
        """Raises `PayloadTooLarge`."""
        most_bytes = MAX_PIECES if self.with_pieces else MAX_TEXT_BYTES
        check_text_bytes(len(self.content.encode()), min(text_bytes, most_bytes))

    def wanted(self) -> TokenizeRequest:
        """What is wanted, in no dialect."""
        return TokenizeRequest(self.content, self.parse_special, self.add_special, self.with_pieces)


class DetokenizeBody(Strict):
    """`POST /detokenize`."""

    tokens: Annotated[list[Annotated[int, Field(ge=0, le=_MAX_TOKEN)]], Field(max_length=MAX_PIECES)]
    model: Annotated[str, StringConstraints(max_length=256)] | None = None


class ApplyTemplateBody(ChatBody):
    """`POST /apply-template`: whatever a chat may say, of which only what is in the prompt has an effect."""


def tokenized_body(found: TextTokens, *, with_pieces: bool) -> dict[str, Any]:
    """Ids, or with each its text; where that is no UTF-8, its bytes."""
    if not with_pieces:
        return {"tokens": list(found.tokens)}
    pairs = zip(found.tokens, found.pieces, strict=True)
    return {"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pairs]}


def detokenized_body(text: bytes) -> dict[str, str]:
    """The text; what is no UTF-8 is marked as such."""
    return {"content": text.decode(errors="replace")}


def laid_out_body(prompt: str) -> dict[str, str]:
    """The prompt."""
    return {"prompt": prompt}


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
