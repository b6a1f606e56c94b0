"""`Local`: the Backend that answers with a model in this device's memory."""

from __future__ import annotations

from contextlib import AsyncExitStack

from edged.chat import Admission, ChatRequest, Completion, ImagePart, ModelCard, TextPart
from edged.config import Limits
from edged.errors import CapabilityMissing, ContextLengthExceeded, InvalidRequest
from edged.local.pool import Lease, Pool
from edged.store import Store
from edged.wire import Span, Turn


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
            prompt = await _prompt(request, turns, lease)
            most = self._limits.answer_tokens if request.max_tokens is None else request.max_tokens
            answers = stack.enter_context(lease.process.answering(request, prompt, most))
            try:
                accepted = await answers.admitted()
            except ContextLengthExceeded as error:
                error.param = "messages" if request.raw_prompt is None else "prompt"
                raise
            admission = Admission(
                request.model,
                "local",
                accepted.prompt_tokens,
                queue_s=lease.queue_s,
                cached_tokens=accepted.cached_tokens,
            )
            return Completion(admission, answers.events(), stack.pop_all())
        raise AssertionError("unreachable: the block above returns or raises")


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
