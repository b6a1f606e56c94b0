"""The OpenAI dialect, JSON to `ChatRequest`. Knows neither sockets nor models; the way back is `openai_answer.py`.

Every field that is accepted is honoured; a documented field that is not is refused by name.
Shapes: platform.openai.com/docs/api-reference/chat and /completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints

from edged.api.body import Strict, check_text_bytes, check_texts, texts_of
from edged.api.constraint import ANY_TEXT, ResponseFormat, of_grammar, of_schema, the_one
from edged.api.fields import LARGEST_COUNT, MAX_STOPS, Stop
from edged.api.inputs import RawInputs, raw_inputs, size_bytes
from edged.api.keep_alive import KeepAliveField
from edged.api.message import MessageBody, Prediction, conversation
from edged.api.sampling import SamplingFields
from edged.api.thinking import ThinkingFields
from edged.api.tools import MAX_TOOLS, ToolBody, ToolChoiceBody, check_choice, check_results, to_choice
from edged.api.wishes import is_housekeeping
from edged.chat import Caller, ChatRequest, Lane, Message, ModelCard, RawPrompt
from edged.errors import InvalidRequest, UnsupportedParameter
from edged.sampling import Constraint

_MAX_LOGPROBS = 20
# OpenAI's documented default for the older endpoint.
_COMPLETION_TOKENS = 16
# More than the programs send that send several; each is a request of its own behind the first.
_MAX_PROMPTS = 128


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


_Tokens: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
_Grammar: TypeAlias = Annotated[str, StringConstraints(min_length=1)]


class _Common(SamplingFields, KeepAliveField):
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    n: Annotated[int, Field(ge=1, le=64)] = 1
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] = Field(default_factory=list)
    user: Annotated[str, StringConstraints(max_length=256)] = ""
    # llama-server's: how fast it went, in every chunk and not only in the last. What is cached is used in any case.
    timings_per_token: bool = False
    return_progress: bool = False
    cache_prompt: Literal[True] = True
    grammar: _Grammar | None = None
    json_schema: dict[str, Any] | None = None
    regex: _Grammar | None = None

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


class _Metadata(Strict):
    """OpenAI keeps these with answers that it stores. Nothing is stored here; who asks divides its caller's share."""

    user_id: Annotated[str, StringConstraints(max_length=256)] = ""


class ChatBody(_Common, ThinkingFields):
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
    tools: Annotated[list[ToolBody], Field(max_length=MAX_TOOLS, default_factory=list)]
    tool_choice: ToolChoiceBody | None = None
    parallel_tool_calls: bool = True
    metadata: _Metadata = _Metadata()
    modalities: Annotated[list[Literal["text"]], Field(max_length=1, default_factory=list)]
    # Callers who say the same here want their prompts' common beginnings kept: they are, whatever they say.
    prompt_cache_key: Annotated[str, StringConstraints(max_length=256)] = ""
    # llama-server's and vLLM's word for what happens anyway to an answer that the conversation has begun.
    continue_final_message: Literal[True] | None = None

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
        messages = conversation(self.messages)
        if self.continue_final_message and messages[-1].role != "assistant":
            raise InvalidRequest(
                "continue_final_message goes on with an assistant's last message, and this conversation ends with the "
                f"{messages[-1].role}. Leave it out.",
                param="continue_final_message",
            )
        prediction = self.prediction.text if self.prediction else ""
        tools, choice = tuple(tool.to_tool() for tool in self.tools), to_choice(self.tool_choice)
        check_choice(tools, choice)
        check_texts((prediction, *texts_of(messages, tools)), text_bytes)
        check_results(messages, "messages")
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
            caller=Caller("openai", address=address, user=self.safety_identifier or self.user or self.metadata.user_id),
            lane=self._lane(messages),
            overflow="drop" if self.truncation == "auto" else "refuse",
            prediction=prediction,
            tells_progress=self.return_progress,
            tools=tools,
            tool_choice=choice,
            parallel_calls=self.parallel_tool_calls,
            thinks=self.thinks(),
            effort=self.effort(),
            thought_tokens=self.thought_tokens(),
            keep_alive_s=self.keep_alive_s,
        )

    def _lane(self, messages: tuple[Message, ...]) -> Lane:
        """A developer's message at the end is an instruction to answer by; only a system's asks for a summary."""
        asks_for_itself = self.messages[-1].role != "developer" and is_housekeeping(messages, self.stream)
        return "background" if self.service_tier == "flex" or asks_for_itself else "interactive"


class CompletionBody(_Common):
    """`POST /v1/completions`."""

    # A text, token ids, or a list of either: then the choices of the first prompt come first.
    prompt: RawInputs
    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = _COMPLETION_TOKENS
    # What follows behind the text that is to be written between it and the prompt.
    suffix: str = ""
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=_MAX_LOGPROBS)] | None = None
    # Of so many answers `n` are told, the likeliest; here none is made to be thrown away.
    best_of: Annotated[int, Field(ge=1, le=64)] | None = None

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `PayloadTooLarge`."""
        if self.prompt == "" and not self.suffix:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        at_the_top = self.prompt == ""  # of a file, with the suffix below it
        first, *further = prompts = [""] if at_the_top else raw_inputs(self.prompt, "prompt", _MAX_PROMPTS)
        check_text_bytes(sum(map(size_bytes, (*prompts, self.suffix))), text_bytes)
        self._check_choices(prompts)
        return ChatRequest(
            id=id,
            model=self.model,
            raw_prompt=first,
            further_prompts=tuple(further),
            suffix=self.suffix,
            sampling=self.sampling(),
            max_tokens=self.max_tokens,
            stop=self.stops(),
            n=self.n,
            echo=self.echo,
            logprobs=self.logprobs,
            constraint=the_one(self.constraints()),
            caller=Caller("openai", address=address, user=self.user),
            tells_progress=self.return_progress,
            keep_alive_s=self.keep_alive_s,
        )

    def _check_choices(self, prompts: Sequence[RawPrompt]) -> None:
        if self.best_of not in (None, self.n):
            raise UnsupportedParameter(
                f"best_of is {self.best_of} and n is {self.n}: no answer is made to be thrown away. Leave it out.",
                param="best_of",
            )
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequest("max_tokens may be 0 only together with echo.", param="max_tokens")
        if self.echo and self.logprobs is not None:
            raise InvalidRequest(
                "The prompt's log-probabilities are not known; send echo or logprobs.", param="logprobs"
            )
        if not all(isinstance(prompt, str) for prompt in prompts):
            if self.echo:
                raise InvalidRequest("echo repeats a prompt that came as text; this one came as ids.", param="echo")
            if self.suffix:
                raise InvalidRequest("A suffix stands behind a prompt that came as text, not as ids.", param="suffix")


def models_body(cards: list[ModelCard]) -> dict[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [model_body(card) for card in cards]}


def model_body(card: ModelCard) -> dict[str, Any]:
    """`GET /v1/models/{id}`, with what a model picker wants to know under `edged`."""
    about = card.about
    facts: dict[str, Any] = {
        "context_tokens": card.context_tokens,
        "size_bytes": card.size_bytes,
        "longest_context_tokens": card.longest_context_tokens,
        "resident": card.is_resident,
        "made_for": card.made_for,
        "capabilities": list(card.abilities),
        "quarantine": card.quarantine or None,
        "languages": list(about.languages),
        "architecture": about.architecture or None,
        "parameters": about.parameters,
        "size_label": about.size_label or None,
        "quantization": about.quantization or None,
        "license": about.license or None,
        "base_models": list(about.base_models),
        "problem": card.problem or None,
    }
    return {
        "id": card.name,
        "object": "model",
        "created": card.modified_s,
        "owned_by": "edged",
        "edged": {"origin": card.origin, **facts},
    }
