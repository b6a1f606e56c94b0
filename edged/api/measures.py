"""The handlers of everything that reads words and writes none: vectors, scores, tokens, prompts."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from edged.api import body
from edged.api.anthropic import CountBody, count_body
from edged.api.embeddings import EmbeddingsBody, embeddings_body
from edged.api.exposed import REQUEST_ID, Exposed, Route, Told
from edged.api.ollama_embeddings import EmbedBody, OldEmbedBody, embed_body, no_vectors_body, old_embed_body
from edged.api.ollama_models import tagged
from edged.api.rerank import RerankBody, rerank_body
from edged.api.stream import origin_headers
from edged.api.tokens import (
    ApplyTemplateBody,
    DetokenizeBody,
    TokenizeBody,
    detokenized_body,
    laid_out_body,
    tokenized_body,
)
from edged.api.visitor import caller_of, owned
from edged.chat import Caller


def _reads(shape: str, body: type[BaseModel], example: dict[str, Any]) -> Told:
    """What is told of a route that has a model read."""
    return Told({200: shape}, body, example, asks=True)


_ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Who are you?"}]}
_EMBEDDINGS = _reads("Embeddings", EmbeddingsBody, {"input": ["a cat", "a dog"]})
_VECTORS = _reads("OllamaVectors", EmbedBody, {"input": ["a cat", "a dog"]})
_VECTOR = _reads("OllamaVector", OldEmbedBody, {"prompt": "a cat"})
_RANKING = _reads("Ranking", RerankBody, {"query": "What purrs?", "documents": ["a cat", "a dog"]})
_COUNT = _reads("TokenCount", CountBody, _ASKED)
_TOKENS = _reads("Tokens", TokenizeBody, {"content": "a cat"})
_TEXT = _reads("Text", DetokenizeBody, {"tokens": [1, 2, 3]})
_PROMPT = _reads("Prompt", ApplyTemplateBody, _ASKED)


class Measures:
    """The handlers."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("POST", "/v1/embeddings", "chat", self.embeddings, _EMBEDDINGS),
            Route("POST", "/openai/deployments/{model}/embeddings", "chat", self.embeddings, _EMBEDDINGS),
            Route("POST", "/openai/v1/embeddings", "chat", self.embeddings, _EMBEDDINGS),
            Route("POST", "/api/embed", "chat", self.ollama_embed, _VECTORS),
            Route("POST", "/api/embeddings", "chat", self.ollama_embeddings, _VECTOR),
            Route("POST", "/v1/rerank", "chat", self.rerank, _RANKING),
            Route("POST", "/v1/messages/count_tokens", "chat", self.count_tokens, _COUNT),
            Route("POST", "/tokenize", "chat", self.tokenize, _TOKENS),
            Route("POST", "/detokenize", "chat", self.detokenize, _TEXT),
            Route("POST", "/apply-template", "chat", self.apply_template, _PROMPT),
        ]

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's embeddings; Azure names the model in the path."""
        asked = await body.read(request, EmbeddingsBody)
        keep_alive_s = asked.keep_alive_s
        found = await self._exposed.backend.embed(owned(request, asked.to_request(*self._asker(request))))
        self._exposed.pool.keep(found.admission.model, keep_alive_s)
        return web.Response(
            body=embeddings_body(found, asked.encoding_format),
            content_type="application/json",
            headers=origin_headers(found.admission),
        )

    async def ollama_embed(self, request: web.Request) -> web.StreamResponse:
        """Ollama's embeddings of several texts; of none, the model comes into memory."""
        began_s, asked = time.monotonic(), await body.read(request, EmbedBody)
        keep_alive_s = asked.keep_alive_s
        if asked.is_errand:
            model = await self._load(request, asked.model, keep_alive_s)
            return web.json_response(no_vectors_body(asked.model or tagged(model)))
        found = await self._exposed.backend.embed(owned(request, asked.to_request(*self._asker(request))))
        self._exposed.pool.keep(found.admission.model, keep_alive_s)
        return web.Response(
            body=embed_body(found, asked.model, time.monotonic() - began_s),
            content_type="application/json",
            headers=origin_headers(found.admission),
        )

    async def ollama_embeddings(self, request: web.Request) -> web.StreamResponse:
        """Ollama's older embedding of one text."""
        asked = await body.read(request, OldEmbedBody)
        keep_alive_s = asked.keep_alive_s
        if asked.is_errand:
            await self._load(request, asked.model, keep_alive_s)
            return web.json_response({"embedding": []})
        found = await self._exposed.backend.embed(owned(request, asked.to_request(*self._asker(request))))
        self._exposed.pool.keep(found.admission.model, keep_alive_s)
        return web.json_response(old_embed_body(found), headers=origin_headers(found.admission))

    async def rerank(self, request: web.Request) -> web.StreamResponse:
        """Documents by how well they answer."""
        asked = await body.read(request, RerankBody)
        wanted, keep_alive_s = owned(request, asked.to_request(*self._asker(request))), asked.keep_alive_s
        found = await self._exposed.backend.rerank(wanted)
        self._exposed.pool.keep(found.admission.model, keep_alive_s)
        return web.json_response(rerank_body(found, wanted, asked), headers=origin_headers(found.admission))

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """How many tokens a conversation in Anthropic's shape has."""
        asked = await body.read(request, CountBody)
        found = await self._exposed.backend.count(owned(request, asked.to_request(*self._asker(request))))
        return web.json_response(count_body(found), headers=origin_headers(found.admission))

    async def tokenize(self, request: web.Request) -> web.StreamResponse:
        """A text's tokens."""
        asked = await body.read(request, TokenizeBody)
        asked.check(self._exposed.config.limits.text_bytes)
        model = (await self._exposed.router.route(asked.model)).model
        tokens = await self._exposed.local.tokenize(model, asked.wanted(), self._caller(request))
        return web.json_response(tokenized_body(tokens, with_pieces=asked.with_pieces))

    async def detokenize(self, request: web.Request) -> web.StreamResponse:
        """The text of tokens."""
        asked = await body.read(request, DetokenizeBody)
        model = (await self._exposed.router.route(asked.model)).model
        text = await self._exposed.local.detokenize(model, tuple(asked.tokens), self._caller(request))
        return web.json_response(detokenized_body(text))

    async def apply_template(self, request: web.Request) -> web.StreamResponse:
        """The prompt that a conversation becomes."""
        asked = await body.read(request, ApplyTemplateBody)
        wanted = owned(request, asked.to_request(*self._asker(request)))
        model = (await self._exposed.router.route(asked.model)).model
        return web.json_response(laid_out_body(await self._exposed.local.lay_out(model, wanted)))

    async def _load(self, request: web.Request, wanted: str | None, keep_alive_s: float | None) -> str:
        """Into memory; or out of it."""
        if keep_alive_s == 0:
            return await self._exposed.let_go(wanted)
        model = (await self._exposed.router.route(wanted)).model
        await self._exposed.local.load(model, self._caller(request), keep_alive_s)
        return model

    def _asker(self, request: web.Request) -> tuple[str, str, int]:
        return request[REQUEST_ID], request.remote or "", self._exposed.config.limits.text_bytes

    def _caller(self, request: web.Request) -> Caller:
        return caller_of(request, Caller("openai", address=request.remote or ""))
