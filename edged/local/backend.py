"""`Local`: the Backend that answers with a model in this device's memory."""

from __future__ import annotations

from contextlib import AsyncExitStack

from edged.chat import (
    Admission,
    ChatRequest,
    Completion,
    Embeddings,
    EmbedRequest,
    ImagePart,
    ModelCard,
    Ranking,
    RerankRequest,
    TextPart,
)
from edged.config import Limits
from edged.errors import CapabilityMissing, ContextLengthExceeded, InputTooLong, InvalidRequest, UnsupportedParameter
from edged.local.measuring import Measured, MeasureRefused, floats_of, shortened
from edged.local.pool import Lease, Pool
from edged.store import Store
from edged.wire import Embed, Embedded, Loaded, Rank, Scored, Span, Turn


class Local:
    """Answers with the models of one pool."""

    def __init__(self, pool: Pool, store: Store, limits: Limits) -> None:
        self._pool = pool
        self._store = store
        self._limits = limits

    def models(self) -> list[ModelCard]:
        """Everything installed, whether in memory or not."""
        cards = []
        for file in self._store.models():
            resident = self._pool.residents.get(file.name)
            card = resident.process.card if resident else None
            cards.append(
                ModelCard(
                    name=file.name,
                    origin="local",
                    size_bytes=file.size_bytes,
                    modified_s=file.modified_s,
                    context_tokens=card.context_tokens if card else None,
                    is_resident=card is not None,
                )
            )
        return cards

    async def complete(self, request: ChatRequest) -> Completion:
        """Wait for a place, render, and have the worker accept. `request.model` names an installed model."""
        assert request.model is not None
        turns = _turns(request)
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._pool.lease(request.model, request.n))
            _must_write(request.model, lease)
            prompt = await _prompt(request, turns, lease)
            most = self._limits.answer_tokens if request.max_tokens is None else request.max_tokens
            answers = stack.enter_context(lease.process.answering(request, prompt, most))
            try:
                prompt_tokens = await answers.admitted()
            except ContextLengthExceeded as error:
                error.param = "messages" if request.raw_prompt is None else "prompt"
                raise
            admission = Admission(request.model, "local", prompt_tokens, queue_s=lease.queue_s)
            return Completion(admission, answers.events(), stack.pop_all())
        raise AssertionError("unreachable: the block above returns or raises")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Make the vectors in the background of whatever else the model does."""
        assert request.model is not None
        async with self._pool.lease(request.model, slots=0) as lease:
            _check_embeddable(request, lease)
            texts = [Embed(0, text) if isinstance(text, str) else Embed(0, "", text) for text in request.inputs]
            try:
                found = await lease.process.measure(texts)
            except MeasureRefused as refused:
                what = f"Input {refused.index}"
                raise InputTooLong(what, refused.prompt_tokens, refused.context_tokens, param="input") from refused
            vectors = tuple(floats_of(result) for result in found if isinstance(result, Embedded))
            if request.dimensions is not None:
                vectors = tuple(shortened(vector, request.dimensions) for vector in vectors)
            return Embeddings(_admission(request.model, lease, found), vectors)

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Make the scores in the background of whatever else the model does."""
        assert request.model is not None
        async with self._pool.lease(request.model, slots=0) as lease:
            _check_reranker(request, lease)
            try:
                found = await lease.process.measure([Rank(0, request.query, text) for text in request.documents])
            except MeasureRefused as refused:
                what = f"The query together with document {refused.index}"
                raise InputTooLong(what, refused.prompt_tokens, refused.context_tokens, param="documents") from refused
            scores = tuple(result.score for result in found if isinstance(result, Scored))
            return Ranking(_admission(request.model, lease, found), scores)


def _admission(model: str, lease: Lease, found: list[Measured]) -> Admission:
    return Admission(model, "local", sum(result.prompt_tokens for result in found), queue_s=lease.queue_s)


def _must_write(model: str, lease: Lease) -> None:
    card = lease.process.card
    if card is not None and card.pooling is not None:
        makes, path = ("scores", "/v1/rerank") if card.pooling == "rank" else ("vectors", "/v1/embeddings")
        raise CapabilityMissing(
            f"The model {model} was made for {makes} and writes no text. Use {path}, or another model.", param="model"
        )


def _check_embeddable(request: EmbedRequest, lease: Lease) -> None:
    card = _card(lease)
    if card.pooling == "rank":
        raise CapabilityMissing(
            f"The model {request.model} is a reranker: it judges pairs of texts and makes no vectors. Use /v1/rerank, "
            "or another model.",
            param="model",
        )
    _check_dimensions(request, card)
    for index, text in enumerate(request.inputs):
        if not isinstance(text, str) and (unknown := [id for id in text if id >= card.vocabulary_tokens]):
            raise InvalidRequest(
                f"Input {index} holds the token id {unknown[0]}, and the model {request.model} knows "
                f"{card.vocabulary_tokens} tokens. Ids of another model mean nothing here; send the text.",
                param="input",
            )


def _check_dimensions(request: EmbedRequest, card: Loaded) -> None:
    """The beginning of a vector is a vector only where a model was trained for that, as many made for vectors are."""
    if request.dimensions in (None, card.vector_floats):
        return
    if card.pooling is None or request.dimensions > card.vector_floats:
        raise UnsupportedParameter(
            f"dimensions is {request.dimensions}, and vectors of the model {request.model} have {card.vector_floats} "
            "numbers. Fewer can be had only of a model that was made for vectors; leave dimensions out.",
            param="dimensions",
        )


def _check_reranker(request: RerankRequest, lease: Lease) -> None:
    if _card(lease).pooling != "rank":
        raise CapabilityMissing(
            f"The model {request.model} is no reranker: it cannot judge how well a document answers a query. Install "
            "one, for example a GGUF of bge-reranker-v2-m3, and name it; or compare vectors of /v1/embeddings.",
            param="model",
        )


def _card(lease: Lease) -> Loaded:
    card = lease.process.card
    assert card is not None, "a lease is granted on a ready worker"
    return card


async def _prompt(request: ChatRequest, turns: tuple[Turn, ...], lease: Lease) -> tuple[Span, ...]:
    if request.raw_prompt is not None:
        return (Span(request.raw_prompt),)
    card = lease.process.card
    if card is not None and not card.template:
        raise CapabilityMissing(
            f"The model {request.model} has no chat template: it completes text, it was not made for conversations. "
            "Use /v1/completions, or another model.",
            param="model",
        )
    return await lease.renderer.render(turns)


def _turns(request: ChatRequest) -> tuple[Turn, ...]:
    if any(isinstance(part, ImagePart) for message in request.messages for part in message.parts):
        raise CapabilityMissing(f"The model {request.model} cannot see images.", param="messages")
    if request.raw_prompt is None and not any(message.text for message in request.messages):
        raise InvalidRequest("The conversation has no text to answer.", param="messages")
    return tuple(
        Turn(message.role, tuple(part for part in message.parts if isinstance(part, TextPart)))
        for message in request.messages
    )
