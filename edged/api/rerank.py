"""`POST /v1/rerank`, both ways. Knows neither sockets nor models.

The shape that Jina, Cohere and llama-server share (docs.cohere.com/reference/rerank, jina.ai/reranker,
tools/server/README.md of llama.cpp).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field, StringConstraints, WithJsonSchema

from edged.api.body import check_text_bytes
from edged.api.embeddings import closing
from edged.api.keep_alive import KeepAliveField
from edged.chat import Caller, RerankRequest
from edged.completion import Ranking
from edged.errors import InvalidRequest

# What Cohere recommends as the most; each is a whole reading of the query and the document.
MAX_DOCUMENTS = 1000
_TEXT = {"type": "string", "minLength": 1}
_OBJECT = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"], "additionalProperties": False}
# What of it a schema can say; `_text` checks all.
_Document: TypeAlias = Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, _OBJECT]})]


class RerankBody(KeepAliveField):
    """`POST /v1/rerank`. `top_n` beyond the number of documents means all of them."""

    query: Annotated[str, StringConstraints(min_length=1)]
    documents: Annotated[list[_Document], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False
    user: Annotated[str, StringConstraints(max_length=256)] = ""

    def to_request(self, id: str, address: str, text_bytes: int) -> RerankRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        documents = tuple(_text(index, document) for index, document in enumerate(self.documents))
        # The query is read together with every document, and so counts with each.
        query_bytes = len(self.query.encode()) * len(documents)
        check_text_bytes(query_bytes + sum(len(text.encode()) for text in documents), text_bytes)
        return RerankRequest(id, self.query, documents, self.model, Caller("openai", address=address, user=self.user))


def rerank_body(found: Ranking, wanted: RerankRequest, asked: RerankBody) -> dict[str, Any]:
    """The answer, best first; equal scores stay in the order of the documents."""
    order = sorted(range(len(found.scores)), key=lambda index: -found.scores[index])[: asked.top_n]
    results = [
        {"index": index, "relevance_score": found.scores[index]}
        | ({"document": {"text": wanted.documents[index]}} if asked.return_documents else {})
        for index in order
    ]
    return {"object": "list", "id": f"rerank-{wanted.id}", "results": results} | closing(found.admission)


def _text(index: int, document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) and set(document) == {"text"} else document
    if not isinstance(text, str) or not text:
        raise InvalidRequest(
            f"documents.{index} must be a text or an object with nothing but a text, and not empty.",
            param=f"documents.{index}",
        )
    return text
