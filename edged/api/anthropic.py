"""The Anthropic dialect, JSON to `ChatRequest`: messages, and the counting of their tokens.

Every field that is accepted is honoured; a documented field that is not is refused by name. The headers
`anthropic-version` and `anthropic-beta` are not needed and change nothing: there is one version, with all that it has.

Shapes: platform.claude.com/docs/en/api/messages, and the types of the official client (`message_create_params.py` and
`message_count_tokens_params.py` of anthropics/anthropic-sdk-python, 0.121 to 2.12; the beta's `context_management`,
which Claude Code sends, from `types/beta` there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, StringConstraints

from edged.api.anthropic_message import (
    MessageBody,
    System,
    conversation,
    forgetting_thoughts,
)
from edged.api.body import Strict, check_texts, one_of, texts_of
from edged.api.constraint import of_schema, the_one
from edged.api.fields import LARGEST_COUNT, MAX_STOPS, CacheControl, Stop, effort_of
from edged.api.keep_alive import KeepAliveField
from edged.api.tools import MAX_TOOLS, ToolName, check_choice, check_results, compact
from edged.api.wishes import is_housekeeping
from edged.chat import Caller, ChatRequest, Lane, Message, Tool, ToolChoice
from edged.completion import Counted
from edged.errors import InvalidRequest
from edged.sampling import Sampling

# Anthropic's own least.
_LEAST_BUDGET_TOKENS = 1024
_MAX_EXAMPLES = 64


class _Tool(Strict):
    """One of `tools` that the caller describes."""

    type: Literal["custom"] = "custom"
    name: ToolName
    description: str = ""
    input_schema: dict[str, Any]
    strict: bool = False
    input_examples: Annotated[list[dict[str, Any]], Field(max_length=_MAX_EXAMPLES, default_factory=list)]
    cache_control: CacheControl | None = None
    # Accepted where they ask for what happens anyway.
    allowed_callers: Annotated[list[Literal["direct"]], Field(max_length=1, default_factory=list)]
    defer_loading: Literal[False] = False
    eager_input_streaming: Literal[True] = True

    def to_tool(self) -> Tool:
        """The tool in our words; examples stand in the schema, where JSON Schema has a word for them."""
        schema = self.input_schema | ({"examples": self.input_examples} if self.input_examples else {})
        return Tool(self.name, self.description, compact(schema or {"type": "object"}), self.strict)


_AnyTool: TypeAlias = Annotated[
    _Tool,
    one_of(
        {"custom": _Tool}, "A tool that Anthropic defines is unknown here; describe it by an input_schema", "custom"
    ),
]


class _Auto(Strict):
    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool = False

    def choice(self) -> ToolChoice:
        return ToolChoice("auto" if self.type == "auto" else "required")


class _Named(Strict):
    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool = False

    def choice(self) -> ToolChoice:
        return ToolChoice("required", self.name)


class _None(Strict):
    type: Literal["none"]
    disable_parallel_tool_use: Literal[False] = False

    def choice(self) -> ToolChoice:
        return ToolChoice("none")


_Choice: TypeAlias = Annotated[
    _Auto | _Named | _None,
    one_of({"auto": _Auto, "any": _Auto, "tool": _Named, "none": _None}, "It may be auto, any, tool or none"),
]


class _Enabled(Strict):
    """Thinking, for so many tokens at most."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=_LEAST_BUDGET_TOKENS, le=LARGEST_COUNT)]
    display: Literal["summarized", "omitted"] = "summarized"


class _Adaptive(Strict):
    """Thinking, as much as the model finds right."""

    type: Literal["adaptive"]
    display: Literal["summarized", "omitted"] = "summarized"


class _Disabled(Strict):
    type: Literal["disabled"]


_Thinking: TypeAlias = Annotated[
    _Enabled | _Adaptive | _Disabled,
    one_of(
        {"enabled": _Enabled, "adaptive": _Adaptive, "disabled": _Disabled}, "It may be enabled, adaptive or disabled"
    ),
]


class _Format(Strict):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _OutputConfig(Strict):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _Format | None = None


class _LastTurns(Strict):
    type: Literal["thinking_turns"]
    value: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]


class _AllTurns(Strict):
    type: Literal["all"]

    @property
    def value(self) -> int:
        return LARGEST_COUNT


_Keep: TypeAlias = Annotated[
    _LastTurns | _AllTurns,
    one_of({"thinking_turns": _LastTurns, "all": _AllTurns}, "It may be thinking_turns or all"),
]


def _as_keep(value: Any) -> Any:
    return {"type": "all"} if value == "all" else value


class _ClearThinking(Strict):
    """Forget what was thought earlier; without `keep`, all but the last turn's, as Anthropic does."""

    type: Literal["clear_thinking_20251015"]
    keep: Annotated[_Keep, BeforeValidator(_as_keep, json_schema_input_type=Literal["all"] | _Keep)] = _LastTurns(
        type="thinking_turns", value=1
    )


_Edit: TypeAlias = Annotated[
    _ClearThinking, one_of({"clear_thinking_20251015": _ClearThinking}, "Only thoughts can be cleared here")
]


class _ContextManagement(Strict):
    edits: Annotated[list[_Edit], Field(max_length=4, default_factory=list)]

    def apply(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation as the edits leave it."""
        for edit in self.edits:
            messages = forgetting_thoughts(messages, edit.keep.value)
        return messages


class _Metadata(Strict):
    """Who asks divides its caller's share. Claude Code's are about 200 characters."""

    user_id: Annotated[str, StringConstraints(max_length=512)] = ""


class _Prompt(Strict):
    """All that decides what a model will read."""

    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=4096)]
    system: System = Field(default_factory=list)
    tools: Annotated[list[_AnyTool], Field(max_length=MAX_TOOLS, default_factory=list)]
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig = _OutputConfig()
    context_management: _ContextManagement = Field(default_factory=lambda: _ContextManagement(edits=[]))
    cache_control: CacheControl | None = None
    # Accepted where it asks for what happens anyway.
    speed: Literal["standard"] = "standard"

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `RequestError`."""
        tools = tuple(tool.to_tool() for tool in self.tools)
        choice = self.tool_choice.choice() if self.tool_choice else ToolChoice()
        check_choice(tools, choice)
        messages = self.context_management.apply(conversation(self.system, self.messages))
        check_texts(texts_of(messages, tools), text_bytes)
        check_results(messages, "messages")
        wanted = self.output_config.format
        # Anthropic promises that the answer matches, and refuses what it cannot promise.
        constraint = None if wanted is None else of_schema(wanted.schema_, is_lenient=False)
        return ChatRequest(
            id=id,
            model=self.model,
            messages=messages,
            constraint=the_one({"output_config.format.schema": constraint}),
            caller=Caller("anthropic", address=address),
            tools=tools,
            tool_choice=choice,
            parallel_calls=not (self.tool_choice and self.tool_choice.disable_parallel_tool_use),
            thinks=None if self.thinking is None else not isinstance(self.thinking, _Disabled),
            thought_tokens=self.thinking.budget_tokens if isinstance(self.thinking, _Enabled) else None,
            effort=effort_of(self.output_config.effort),
        )


class CountBody(_Prompt):
    """`POST /v1/messages/count_tokens`."""


class MessagesBody(_Prompt, KeepAliveField):
    """`POST /v1/messages`."""

    max_tokens: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    stream: bool = False
    stop_sequences: Annotated[list[Stop], Field(max_length=MAX_STOPS, default_factory=list)]
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    metadata: _Metadata = _Metadata()
    # There is one capacity: either asks for what happens anyway.
    service_tier: Literal["auto", "standard_only"] = "auto"

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `RequestError`."""
        if isinstance(self.thinking, _Enabled) and self.thinking.budget_tokens >= self.max_tokens:
            raise InvalidRequest(
                f"thinking.budget_tokens is {self.thinking.budget_tokens} and must be less than max_tokens, which is "
                f"{self.max_tokens}.",
                param="thinking.budget_tokens",
            )
        prompt = super().to_request(id, address, text_bytes)
        return replace(
            prompt,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k),
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences),
            caller=replace(prompt.caller, user=self.metadata.user_id),
            lane=self._lane(prompt.messages),
            keep_alive_s=self.keep_alive_s,
        )

    @property
    def shows_thoughts(self) -> bool:
        """Whether the caller wants to read what was thought; otherwise only that something was."""
        return not isinstance(self.thinking, _Enabled | _Adaptive) or self.thinking.display == "summarized"

    def _lane(self, messages: Sequence[Message]) -> Lane:
        """A system message at the end is an instruction to answer by; only a user's asks for a title."""
        asks_for_itself = self.messages[-1].role == "user" and is_housekeeping(messages, self.stream)
        return "background" if asks_for_itself else "interactive"


def count_body(counted: Counted) -> dict[str, Any]:
    """The answer to `POST /v1/messages/count_tokens`."""
    admission = counted.admission
    facts = {"served_by": admission.served_by, "model": admission.model, "route": admission.route}
    return {"input_tokens": counted.tokens, "edged": facts | {"reusable_tokens": counted.reusable_tokens}}
