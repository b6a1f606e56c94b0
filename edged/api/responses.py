"""OpenAI's Responses API without its memory, JSON to `ChatRequest`; the way back is `responses_answer.py`.

Shapes: `ResponseCreateParams` in openai/types/responses/response_create_params.py of the official client. OpenAI stores
answers unless `store` is false and lets later requests refer to them; here nothing is stored, whatever is absent, and
what refers to something stored is refused. So is everything else that is documented there and not honoured.

What Codex sends beyond that: `ResponsesApiRequest` in codex-rs/codex-api/src/common.rs of openai/codex.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from edged.api.body import Strict, check_texts, texts_of
from edged.api.constraint import ANY_TEXT, TextFormat, the_one
from edged.api.fields import LARGEST_COUNT, effort_of
from edged.api.keep_alive import KeepAliveField
from edged.api.responses_input import Elsewhere, Item, as_items, is_developers, messages_of
from edged.api.responses_tools import AnyChoice, AnyTool, Namespace
from edged.api.thinking import Effort, thinks_by
from edged.api.tools import MAX_TOOLS, check_choice, check_results
from edged.api.wishes import is_housekeeping
from edged.chat import Caller, ChatRequest, Lane, Message, TextPart, Tool, ToolChoice
from edged.errors import InvalidRequest, UnsupportedParameter
from edged.sampling import Sampling

_Short: TypeAlias = Annotated[str, StringConstraints(max_length=256)]
_LOGPROBS: Literal["message.output_text.logprobs"] = "message.output_text.logprobs"
_CARRIED: Literal["reasoning.encrypted_content"] = "reasoning.encrypted_content"
# OpenAI's own bounds (`metadata` there).
_MetadataKey: TypeAlias = Annotated[str, StringConstraints(max_length=64)]
_MetadataValue: TypeAlias = Annotated[str, StringConstraints(max_length=512)]

# What is refused in words of its own, as a schema says it.
_ONLY_FALSE = WithJsonSchema({"const": False})
_NotHere: TypeAlias = Annotated[Any, WithJsonSchema({"type": "null"})]


class _Reasoning(Strict):
    effort: Effort | None = None
    # The thought itself is told where a summary is asked for: nothing here could make a concise one.
    summary: Literal["auto", "detailed"] | None = None
    context: Literal["auto"] = "auto"
    mode: Literal["standard"] = "standard"


class _Text(Strict):
    format: TextFormat = ANY_TEXT


class _StreamOptions(Strict):
    include_obfuscation: Literal[False] = False


class ResponsesBody(KeepAliveField):
    """`POST /v1/responses`."""

    input: Annotated[
        list[Item],
        Field(min_length=1, max_length=4096),
        BeforeValidator(
            as_items, json_schema_input_type=str | Annotated[list[Item], Field(min_length=1, max_length=4096)]
        ),
    ]
    instructions: str = ""
    model: _Short | None = None
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    max_output_tokens: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    include: Annotated[
        list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]],
        Field(max_length=16, default_factory=list),
    ]
    text: _Text = _Text()
    reasoning: _Reasoning = _Reasoning()
    tools: Annotated[list[AnyTool], Field(max_length=MAX_TOOLS, default_factory=list)]
    tool_choice: AnyChoice = "auto"
    parallel_tool_calls: bool = True
    # Counts calls to built-in tools only, of which there are none.
    max_tool_calls: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    service_tier: Literal["auto", "default", "flex"] = "auto"
    user: _Short = ""
    safety_identifier: _Short = ""
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16, default_factory=dict)]
    # Codex's: which installation asks, which divides its caller's share, and lately where and why.
    client_metadata: Annotated[dict[_MetadataKey, str], Field(max_length=16, default_factory=dict)]
    # Callers who say the same here want their prompts' common beginnings kept: they are, whatever they say.
    prompt_cache_key: _Short = ""
    # What only an API with a memory can do. They are here to be refused in words of their own.
    store: Annotated[bool, _ONLY_FALSE] = False
    background: Annotated[bool, _ONLY_FALSE] = False
    previous_response_id: _NotHere = None
    conversation: _NotHere = None
    prompt: _NotHere = None

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `UnsupportedParameter`, `PayloadTooLarge`."""
        self._check_memory()
        messages, tools, choice = self._messages(), self._tools(), self._choice()
        check_choice(tools, choice)
        check_texts(texts_of(messages, tools), text_bytes)
        check_results(messages, "input")
        return ChatRequest(
            id=id,
            model=self.model,
            messages=messages,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p),
            max_tokens=self.max_output_tokens,
            logprobs=self._logprobs(),
            constraint=the_one({"text.format": self.text.format.constraint()}),
            caller=Caller("openai", address=address, user=self._user()),
            lane=self._lane(messages),
            overflow="drop" if self.truncation == "auto" else "refuse",
            tools=tools,
            tool_choice=choice,
            parallel_calls=self.parallel_tool_calls,
            thinks=thinks_by(self.reasoning.effort),
            effort=effort_of(self.reasoning.effort),
            keep_alive_s=self.keep_alive_s,
        )

    @property
    def sums_up(self) -> bool:
        """Whether thoughts go where OpenAI puts summaries of them."""
        return self.reasoning.summary is not None

    @property
    def carries_thoughts(self) -> bool:
        """Whether thoughts shall also come in the form in which clients send them back unseen."""
        return _CARRIED in self.include

    @property
    def namespaces(self) -> dict[str, tuple[str, str]]:
        """Which tools stand in a namespace: it and the name there, by the name that the model knows."""
        return {
            name: place for tool in self.tools if isinstance(tool, Namespace) for name, place in tool.places().items()
        }

    def settings(self) -> dict[str, Any]:
        """What the request says, as the answer repeats it."""
        return {
            "instructions": self.instructions or None,
            "metadata": self.metadata,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": self.max_tool_calls,
            "parallel_tool_calls": self.parallel_tool_calls,
            "previous_response_id": None,
            "prompt_cache_key": self.prompt_cache_key or None,
            "reasoning": {"effort": self.reasoning.effort, "summary": self.reasoning.summary},
            "safety_identifier": self.safety_identifier or None,
            "store": False,
            "background": False,
            "temperature": self.temperature,
            "text": {"format": _as_sent(self.text.format)},
            "tool_choice": self.tool_choice if isinstance(self.tool_choice, str) else _as_sent(self.tool_choice),
            "tools": [tool.model_dump() for tool in self.tools],
            "top_logprobs": self.top_logprobs,
            "top_p": self.top_p,
            "truncation": self.truncation,
            "user": self.user or None,
        }

    def _check_memory(self) -> None:
        for field in ("previous_response_id", "conversation", "prompt"):
            if getattr(self, field) is not None:
                raise UnsupportedParameter(
                    f"{field} names something stored, and nothing is stored here; send the whole conversation.",
                    param=field,
                )
        for field in ("store", "background"):
            if getattr(self, field):
                raise UnsupportedParameter(
                    f"{field} asks for an answer that can be fetched later, and nothing is stored here. Leave it out.",
                    param=field,
                )

    def _messages(self) -> tuple[Message, ...]:
        instructions = (Message("system", (TextPart(self.instructions),)),) if self.instructions else ()
        return instructions + messages_of(self.input)

    def _tools(self) -> tuple[Tool, ...]:
        return tuple(tool for index, sent in enumerate(self.tools) for tool in sent.to_tools(f"tools.{index}"))

    def _choice(self) -> ToolChoice:
        return ToolChoice(self.tool_choice) if isinstance(self.tool_choice, str) else self.tool_choice.to_choice()

    def _logprobs(self) -> int | None:
        if self.top_logprobs and _LOGPROBS not in self.include:
            raise InvalidRequest(f"top_logprobs needs {_LOGPROBS} in include.", param="top_logprobs")
        return self.top_logprobs if _LOGPROBS in self.include else None

    def _user(self) -> str:
        installation = self.client_metadata.get("x-codex-installation-id", "")
        return self.safety_identifier or self.user or self.metadata.get("user_id", "") or installation

    def _lane(self, messages: tuple[Message, ...]) -> Lane:
        """As for a chat: a developer's message at the end is an instruction to answer by."""
        asks_for_itself = not is_developers(self.input[-1]) and is_housekeeping(messages, self.stream)
        return "background" if self.service_tier == "flex" or asks_for_itself else "interactive"


def _as_sent(value: Strict | Elsewhere) -> dict[str, Any]:
    return value.model_dump(by_alias=True, exclude_unset=True)
