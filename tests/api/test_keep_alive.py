"""How long a model stays in memory can be said in every dialect, in the same words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from edged.api.anthropic import MessagesBody
from edged.api.body import parse
from edged.api.embeddings import EmbeddingsBody
from edged.api.ollama import ChatBody as OllamaChatBody
from edged.api.openai import ChatBody, CompletionBody
from edged.api.rerank import RerankBody
from edged.api.responses import ResponsesBody
from edged.errors import InvalidRequest

HI = [{"role": "user", "content": "hi"}]
CHATS: list[tuple[Any, dict[str, Any]]] = [
    (ChatBody, {"messages": HI}),
    (CompletionBody, {"prompt": "Once"}),
    (ResponsesBody, {"input": "hi"}),
    (MessagesBody, {"messages": HI, "max_tokens": 5}),
    (OllamaChatBody, {"messages": HI}),
]
MEASURES: list[tuple[Any, dict[str, Any]]] = [
    (EmbeddingsBody, {"input": "a"}),
    (RerankBody, {"query": "a", "documents": ["b"]}),
]


@pytest.mark.parametrize(("kind", "body"), CHATS)
@pytest.mark.parametrize(("said", "seconds"), [("5m", 300.0), (0, 0.0), (-1, math.inf), (None, None)])
def test_every_chat_says_how_long_its_model_stays(kind: Any, body: dict[str, Any], said: Any, seconds: Any) -> None:
    asked = parse(json.dumps({**body, "keep_alive": said}).encode(), kind)

    assert asked.to_request("id", "", 1000).keep_alive_s == seconds


@pytest.mark.parametrize(("kind", "body"), MEASURES)
def test_so_do_vectors_and_scores(kind: Any, body: dict[str, Any]) -> None:
    assert parse(json.dumps({**body, "keep_alive": "1h30m"}).encode(), kind).keep_alive_s == 5400


@pytest.mark.parametrize(("kind", "body"), CHATS)
def test_what_is_no_duration_is_told_so(kind: Any, body: dict[str, Any]) -> None:
    asked = parse(json.dumps({**body, "keep_alive": "soon"}).encode(), kind)

    with pytest.raises(InvalidRequest, match="keep_alive is 'soon'"):
        asked.to_request("id", "", 1000)
