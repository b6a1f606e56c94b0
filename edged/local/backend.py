"""`Local`: the Backend that answers with a model in this device's memory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from time import monotonic

from edged.chat import Caller, ChatRequest, EmbedRequest, ModelCard, RerankRequest, TokenizeRequest
from edged.completion import Admission, Completion, Counted, Embeddings, Ranking, TextTokens
from edged.config import Limits
from edged.errors import ContextLengthExceeded, InputTooLong
from edged.gguf.about import about
from edged.local.able import check_asked, check_embeds, check_ids, check_ranks, check_writes
from edged.local.estimate import Size, Sizes
from edged.local.layout import fitting_prompt, prompt_of
from edged.local.manner import Counting, Manner, Thoughts, manner_of
from edged.local.measuring import Measured, MeasureRefused, floats_of, shortened
from edged.local.pool import Pool
from edged.local.predict import Effort
from edged.local.quarantine import identity_of
from edged.local.resident import Lease
from edged.speech.abilities import abilities
from edged.store import Store
from edged.template_wire import Span
from edged.token_wire import Detokenize, Detokenized, Tokenize, Tokenized
from edged.wire import Embed, Embedded, Rank, Scored


class Local:
    """Answers with the models of one pool."""

    def __init__(self, pool: Pool, store: Store, limits: Limits, shared_prompts: tuple[str, ...] = ()) -> None:
        self._pool = pool
        self._store = store
        self._limits = limits
        self._shared_prompts = shared_prompts
        self._sizes: dict[str, Sizes] = {}
        self._thoughts: dict[str, Thoughts] = {}

    def models(self) -> list[ModelCard]:
        """Everything installed, whether in memory or not."""
        cards = []
        for file in self._store.models():
            resident = self._pool.residents.get(file.name)
            card = resident.process.card if resident else None
            case = self._pool.memory.quarantine.case_of(file.name, identity_of(file))
            cards.append(
                ModelCard(
                    name=file.name,
                    origin="local",
                    size_bytes=file.size_bytes,
                    modified_s=file.modified_s,
                    context_tokens=card.context_tokens if card else None,
                    is_resident=card is not None,
                    made_for=file.made_for,
                    abilities=abilities(file.header),
                    longest_context_tokens=file.header.context_tokens if file.header else None,
                    quarantine=case.reason if case else "",
                    about=about(file.header),
                    problem=file.problem,
                )
            )
        return cards

    async def complete(self, request: ChatRequest) -> Completion:
        """Wait for a place, render, and have the worker accept. `request.model` names an installed model."""
        assert request.model is not None
        model = request.model
        check_asked(request)
        sizes = self._sizes.setdefault(model, Sizes(self._shared_prompts))
        estimated = sizes.estimate(request)
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._lease(request, estimated))
            check_writes(model, lease.card)
            self._pool.keep(model, request.keep_alive_s)
            granted_s = monotonic()
            request = self._thoughtful(request, model, lease)
            prompt, dropped = await fitting_prompt(request, lease)
            lease.process.outlook.speed.note_hand_over(monotonic() - granted_s)
            manner = _manner(request, lease, prompt)
            asked = manner.asked(request) if manner else request
            answering = lease.process.answering(asked, prompt, self._most(request), lease.run, manner)
            answers = stack.enter_context(answering)
            try:
                accepted = await answers.admitted()
            except ContextLengthExceeded as error:
                error.param = "messages" if request.raw_prompt is None else "prompt"
                raise
            if not dropped:
                sizes.learn(request, estimated, accepted.prompt_tokens, accepted.cached_tokens)
                stack.callback(lambda: sizes.answered(request, lease.drawn))
            admission = Admission(
                model,
                "local",
                accepted.prompt_tokens,
                queue_s=lease.queue_s,
                cached_tokens=accepted.cached_tokens,
                dropped_messages=dropped,
                first_token_predicted_s=lease.forecast.first_token_s if lease.forecast.is_measured else None,
            )
            events = answers.events()
            if manner:
                events = manner.read(events)
                if manner.family.first_thought:
                    events = Counting(self._thoughts_of(model), request.thought_tokens).through(events)
            return Completion(admission, events, stack.pop_all())
        raise AssertionError("unreachable: the block above returns or raises")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Make the vectors in the background of whatever else the model does."""
        assert request.model is not None
        async with self._guest(request.model, request.caller) as lease:
            check_embeds(request, lease.card)
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
        async with self._guest(request.model, request.caller) as lease:
            check_ranks(request, lease.card)
            try:
                found = await lease.process.measure([Rank(0, request.query, text) for text in request.documents])
            except MeasureRefused as refused:
                what = f"The query together with document {refused.index}"
                raise InputTooLong(what, refused.prompt_tokens, refused.context_tokens, param="documents") from refused
            scores = tuple(result.score for result in found if isinstance(result, Scored))
            return Ranking(_admission(request.model, lease, found), scores)

    async def count(self, request: ChatRequest) -> Counted:
        """Lay the prompt out and count it; nothing is read."""
        assert request.model is not None
        model = request.model
        check_asked(request)
        estimated = self._sizes.setdefault(model, Sizes(self._shared_prompts)).estimate(request)
        async with self._guest(model, request.caller) as lease:
            check_writes(model, lease.card)
            request = self._thoughtful(request, model, lease)
            (tokens,) = await lease.process.count((await prompt_of(request, request.messages, lease),))
            admission = Admission(model, "local", 0, queue_s=lease.queue_s)
            return Counted(admission, tokens, max(0, tokens - estimated.unread_tokens))

    async def load(self, model: str, caller: Caller, keep_alive_s: float | None) -> None:
        """Have `model` in memory."""
        async with self._guest(model, caller):
            self._pool.keep(model, keep_alive_s)

    async def tokenize(self, model: str, wanted: TokenizeRequest, caller: Caller) -> TextTokens:
        """Cut a text into the tokens of `model`."""
        how = (wanted.text, wanted.parses_special, wanted.adds_special, wanted.with_pieces)
        async with self._guest(model, caller) as lease:
            found = await lease.process.ask(lambda id: Tokenize(id, *how))
        assert isinstance(found, Tokenized)
        return TextTokens(found.tokens, found.pieces)

    async def detokenize(self, model: str, tokens: tuple[int, ...], caller: Caller) -> bytes:
        """The text of tokens of `model`. Raises `InvalidRequest` for one that it does not know."""
        async with self._guest(model, caller) as lease:
            check_ids("tokens", tokens, model, lease.card, param="tokens")
            found = await lease.process.ask(lambda id: Detokenize(id, tokens))
        assert isinstance(found, Detokenized)
        return found.text

    async def lay_out(self, model: str, request: ChatRequest) -> str:
        """The prompt that a conversation becomes with the chat template of `model`."""
        check_asked(request)
        async with self._guest(model, request.caller) as lease:
            request = self._thoughtful(replace(request, model=model), model, lease)
            prompt = await prompt_of(request, request.messages, lease)
        return "".join(span.text for span in prompt)

    def _guest(self, model: str, caller: Caller) -> AbstractAsyncContextManager[Lease]:
        return self._pool.lease(model, 0, lane="background", caller=caller.lane_path)

    def _lease(self, request: ChatRequest, estimated: Size) -> AbstractAsyncContextManager[Lease]:
        assert request.model is not None
        default_s = self._limits.first_token_s if request.lane == "interactive" else None
        return self._pool.lease(
            request.model,
            request.n,
            lane=request.lane,
            caller=request.caller.lane_path,
            effort=Effort(estimated.unread_tokens, self._most(request), request.n),
            deadline_s=request.deadline_s if request.deadline_s is not None else default_s,
        )

    def _thoughts_of(self, model: str) -> Thoughts:
        return self._thoughts.setdefault(model, Thoughts())

    def _thoughtful(self, request: ChatRequest, model: str, lease: Lease) -> ChatRequest:
        """`request`, where it leaves that to the device, with thinking switched off if it would take too long."""
        if request.thinks is not None or request.raw_prompt is not None:
            return request
        speed = lease.process.outlook.speed
        token_s = speed.step_s(1, 0) if speed.is_measured else None
        return request if self._thoughts_of(model).are_bearable(token_s) else replace(request, thinks=False)

    def _most(self, request: ChatRequest) -> int:
        return self._limits.answer_tokens if request.max_tokens is None else request.max_tokens


def _admission(model: str, lease: Lease, found: list[Measured]) -> Admission:
    return Admission(model, "local", sum(result.prompt_tokens for result in found), queue_s=lease.queue_s)


def _manner(request: ChatRequest, lease: Lease, prompt: tuple[Span, ...]) -> Manner | None:
    """How the model's reply is to be read; None where nobody laid out a conversation."""
    if request.raw_prompt is not None:
        return None
    return manner_of(request, lease.card.template, lease.renderer.capabilities, prompt)
