"""The models in Anthropic's shape. Its path is OpenAI's as well; who speaks to Anthropic says so in a header.

Shapes: platform.claude.com/docs/en/api/models, and the types of the official client (`types/model_info.py`,
`pagination.py` of anthropics/anthropic-sdk-python). One page holds them all, so there is no other to ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edged.api.openai import model_body as openai_model_body
from edged.chat import ModelCard


def is_meant(headers: Mapping[str, str]) -> bool:
    """Whether a program that asks with these headers expects Anthropic's shape."""
    return "anthropic-version" in headers


def models_body(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """`GET /v1/models`."""
    ids = [card.name for card in cards]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"data": [model_body(card) for card in cards], "has_more": False} | ends


def model_body(card: ModelCard) -> dict[str, Any]:
    """`GET /v1/models/{id}`. The largest `max_tokens` is what the context holds."""
    return {
        "type": "model",
        "id": card.name,
        "display_name": card.name,
        "created_at": datetime.fromtimestamp(card.modified_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": card.context_tokens,
        "max_tokens": card.context_tokens,
        "capabilities": _capabilities(card),
        "edged": openai_model_body(card)["edged"],
    }


def _capabilities(card: ModelCard) -> dict[str, Any]:
    """What of Anthropic's API the model can be asked for (`types/model_capabilities.py` of the official client).

    What is not here at all is false of every model: batches, citations, documents, tools that the server runs.
    """
    talks, thinks = "chat" in card.abilities, "reasoning" in card.abilities
    none = _is(False)
    return {
        "batch": none,
        "citations": none,
        "code_execution": none,
        "context_management": _is(talks, clear_thinking_20251015=_is(talks)),
        "effort": _is(thinks, **{degree: _is(thinks) for degree in ("low", "medium", "high", "xhigh", "max")}),
        "image_input": _is("vision" in card.abilities),
        "pdf_input": none,
        "server_tools": _is(False, code_execution=none, web_search=none),
        "structured_outputs": _is(talks),
        "thinking": _is(
            thinks,
            types={
                "adaptive": _is(talks),
                "between_tools": none,
                "disabled": _is(talks),
                "enabled": _is(talks),
            },
        ),
    }


def _is(supported: bool, /, **more: Any) -> dict[str, Any]:
    return {"supported": supported, **more}
