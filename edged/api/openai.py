"""The OpenAI dialect: JSON to `ChatRequest`, events to JSON. Knows neither sockets nor models.

Every field that is accepted is honoured; a documented field that is not is refused by name.
Shapes: platform.openai.com/docs/api-reference/chat and /completions; `top_k`, `min_p` and `repeat_penalty` as in
llama-server (tools/server/README.md of llama.cpp).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints

from edged.api.body import check_text_bytes
from edged.api.constraint import ANY_TEXT, ResponseFormat, of_grammar, of_schema, the_one
from edged.api.errors import openai_body
from edged.api.logprobs import characters, chat_logprobs, completion_logprobs
from edged.api.message import MessageBody, Prediction, Strict
from edged.api.wishes import is_housekeeping
from edged.chat import (
    Bias,
    Caller,
    ChatRequest,
    Constraint,
    Delta,
    Event,
    Lane,
    Message,
    ModelCard,
    Sampling,
    TokenLogprob,
    Usage,
)
from edged.errors import EdgedError, InvalidRequest
from edged.observe import Exchange

# llama.cpp's seeds have 32 bits, of which the last value means "draw one".
_SEEDS = 2**32 - 1
_LARGEST_COUNT = 2**31 - 1
# More stop strings than any client sends; each costs a search per token.
_MAX_STOPS = 16
# More tokens than any client weighs; each costs a look-up per token drawn.
_MAX_BIASES = 1024
_MAX_LOGPROBS = 20
# OpenAI's documented default for the older endpoint.
_COMPLETION_TOKENS = 16
DONE = b"data: [DONE]\n\n"


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


_Stop: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Tokens: TypeAlias = Annotated[int, Field(ge=1, le=_LARGEST_COUNT)]
_TokenId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
_BiasValue: TypeAlias = Annotated[float, Field(ge=-100, le=100)]
_Grammar: TypeAlias = Annotated[str, StringConstraints(min_length=1)]


class _Common(Strict):
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    n: Annotated[int, Field(ge=1, le=64)] = 1
    stop: _Stop | Annotated[list[_Stop], Field(max_length=_MAX_STOPS)] = Field(default_factory=list)
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_LARGEST_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    user: Annotated[str, StringConstraints(max_length=256)] = ""
    logit_bias: Annotated[dict[_TokenId, _BiasValue], Field(max_length=_MAX_BIASES, default_factory=dict)]
    grammar: _Grammar | None = None
    json_schema: dict[str, Any] | None = None
    regex: _Grammar | None = None

    def sampling(self) -> Sampling:
        """The sampling fields, in our words."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=None if self.seed is None else self.seed % _SEEDS,
            logit_bias=tuple(Bias(int(token), bias) for token, bias in self.logit_bias.items()) or None,
        )

    def stops(self) -> tuple[str, ...]:
        """The stop strings; one alone may come without a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def constraints(self) -> dict[str, Constraint | None]:
        """What the answer must look like, by the field that says so."""
        return {
            "grammar": of_grammar(self.grammar) if self.grammar else None,
            "json_schema": None if self.json_schema is None else of_schema(self.json_schema, is_lenient=True),
            "regex": Constraint("regex", self.regex) if self.regex else None,
        }


class ChatBody(_Common):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=4096)]
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=256)] = ""
    # Accepted where they ask for what happens anyway.
    store: Literal[False] = False
    service_tier: Literal["auto", "default", "flex"] = "auto"
    # As in OpenAI's Responses API: "auto" leaves out the oldest turns of a conversation that outgrew the context.
    truncation: Literal["auto", "disabled"] = "disabled"
    response_format: ResponseFormat = ANY_TEXT
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=_MAX_LOGPROBS)] | None = None
    prediction: Prediction | None = None

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
        messages = tuple(message.to_message(index) for index, message in enumerate(self.messages))
        prediction = self.prediction.text if self.prediction else ""
        check_text_bytes(sum(len(text.encode()) for text in (prediction, *(m.text for m in messages))), text_bytes)
        return ChatRequest(
            id=id,
            model=self.model,
            messages=messages,
            sampling=self.sampling(),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops(),
            n=self.n,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            constraint=the_one({"response_format": self.response_format.constraint(), **self.constraints()}),
            caller=Caller("openai", address=address, user=self.safety_identifier or self.user),
            lane=self._lane(messages),
            overflow="drop" if self.truncation == "auto" else "refuse",
            prediction=prediction,
        )

    def _lane(self, messages: tuple[Message, ...]) -> Lane:
        """A developer's message at the end is an instruction to answer by; only a system's asks for a summary."""
        asks_for_itself = self.messages[-1].role != "developer" and is_housekeeping(messages, self.stream)
        return "background" if self.service_tier == "flex" or asks_for_itself else "interactive"


class CompletionBody(_Common):
    """`POST /v1/completions`."""

    prompt: str
    max_tokens: Annotated[int, Field(ge=0, le=_LARGEST_COUNT)] = _COMPLETION_TOKENS
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=_MAX_LOGPROBS)] | None = None

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        check_text_bytes(len(self.prompt.encode()), text_bytes)
        if not self.prompt:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequest("max_tokens may be 0 only together with echo.", param="max_tokens")
        if self.echo and self.logprobs is not None:
            raise InvalidRequest(
                "The prompt's log-probabilities are not known; send echo or logprobs.", param="logprobs"
            )
        return ChatRequest(
            id=id,
            model=self.model,
            raw_prompt=self.prompt,
            sampling=self.sampling(),
            max_tokens=self.max_tokens,
            stop=self.stops(),
            n=self.n,
            echo=self.echo,
            logprobs=self.logprobs,
            constraint=the_one(self.constraints()),
            caller=Caller("openai", address=address, user=self.user),
        )


def models_body(cards: list[ModelCard]) -> dict[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [model_body(card) for card in cards]}


def model_body(card: ModelCard) -> dict[str, Any]:
    """`GET /v1/models/{id}`, with what a model picker wants to know under `edged`."""
    facts: dict[str, Any] = {
        "context_tokens": card.context_tokens,
        "size_bytes": card.size_bytes,
        "resident": card.is_resident,
    }
    facts["made_for"] = card.made_for
    return {
        "id": card.name,
        "object": "model",
        "created": card.modified_s,
        "owned_by": "edged",
        "edged": {"origin": card.origin, **facts},
    }


def edged_facts(exchange: Exchange) -> dict[str, Any]:
    """The truth about an answer, at its end: who gave it, why, and how long what took."""
    admission = exchange.admission
    assert admission is not None
    return {
        "served_by": admission.served_by,
        "model": admission.model,
        "route": admission.route,
        "lane": exchange.lane,
        "attempts": admission.attempts,
        "queue_ms": round(admission.queue_s * 1000, 1),
        "ttft_ms": _ms(exchange.first_token_s),
        "ttft_predicted_ms": _ms(admission.first_token_predicted_s),
        "cached_tokens": admission.cached_tokens,
        "dropped_messages": admission.dropped_messages,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def usage_body(usage: Usage) -> dict[str, Any]:
    """The `usage` object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


@dataclass(slots=True)
class Answer:
    """One answer on its way out in OpenAI's shapes, for a chat or, with `is_chat` false, a completion."""

    request: ChatRequest
    is_chat: bool
    include_usage: bool
    created_s: int = field(default_factory=lambda: int(time.time()))
    _told: dict[int, int] = field(default_factory=dict)  # characters whose tokens were told, by choice

    def whole(
        self, exchange: Exchange, texts: list[str], reasons: list[str], scores: dict[int, list[TokenLogprob]]
    ) -> dict[str, Any]:
        """The body of an answer that is not streamed; `scores` are the tokens of each choice."""
        echoed = self._echo()
        choices = [
            {"index": index, "finish_reason": reason, "logprobs": self._logprobs(index, scores.get(index, []))}
            | (
                {"message": {"role": "assistant", "content": text, "refusal": None}}
                if self.is_chat
                else {"text": echoed + text}
            )
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        usage = usage_body(exchange.usage)
        return self._envelope(exchange, choices, streamed=False) | {"usage": usage, "edged": edged_facts(exchange)}

    def opening(self, exchange: Exchange) -> bytes:
        """What goes in front of the first word: the role of each chat choice, or the echoed prompt."""
        if self.is_chat:
            return b"".join(
                self._chunk(exchange, index, {"role": "assistant", "content": ""}) for index in range(self.request.n)
            )
        echoed = self._echo()
        return b"".join(self._chunk(exchange, index, echoed) for index in range(self.request.n)) if echoed else b""

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """A delta or a finish; the last chunk of all carries the facts."""
        if isinstance(event, Delta):
            content: dict[str, str] | str = {"content": event.text} if self.is_chat else event.text
            logprobs = self._logprobs(event.choice, event.logprobs)
            return self._chunk(exchange, event.choice, content, logprobs=logprobs)
        extra = {"edged": edged_facts(exchange)} if is_last and not self.include_usage else {}
        return self._chunk(exchange, event.choice, {} if self.is_chat else "", event.reason, extra)

    def closing(self, exchange: Exchange) -> bytes:
        """The usage chunk, where it was asked for, and the end mark."""
        if not self.include_usage:
            return DONE
        body = self._envelope(exchange, [], streamed=True)
        return _sse(body | {"usage": usage_body(exchange.usage), "edged": edged_facts(exchange)}) + DONE

    def failure(self, error: EdgedError) -> bytes:
        """An error after content: told in the stream, which then ends without its end mark."""
        body = openai_body(error)
        body["error"]["partial"] = True
        return _sse(body)

    def _logprobs(self, choice: int, scores: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """None where they were not asked for."""
        if self.request.logprobs is None:
            return None
        if self.is_chat:
            return chat_logprobs(scores)
        offset = self._told.get(choice, 0)
        self._told[choice] = offset + sum(map(characters, scores))
        return completion_logprobs(scores, offset)

    def _echo(self) -> str:
        return self.request.raw_prompt or "" if self.request.echo else ""

    def _chunk(
        self,
        exchange: Exchange,
        index: int,
        content: dict[str, str] | str,
        reason: str | None = None,
        extra: dict[str, Any] | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta" if self.is_chat else "text": content, "finish_reason": reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return _sse(self._envelope(exchange, [choice], streamed=True) | (extra or {}))

    def _envelope(self, exchange: Exchange, choices: list[dict[str, Any]], *, streamed: bool) -> dict[str, Any]:
        assert exchange.admission is not None
        prefix, kind = ("chatcmpl-", "chat.completion") if self.is_chat else ("cmpl-", "text_completion")
        return {
            "id": prefix + self.request.id,
            "object": kind + (".chunk" if streamed and self.is_chat else ""),
            "created": self.created_s,
            "model": exchange.admission.model,
            "choices": choices,
        }


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
