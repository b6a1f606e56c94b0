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
        "edged": openai_model_body(card)["edged"],
    }
