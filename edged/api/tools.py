"""Tools in OpenAI's shape: what may be called, whether it must be, and what was.

Shapes: platform.openai.com/docs/guides/function-calling and the API reference, `tools`, `tool_choice`, `tool_calls`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import StringConstraints

from edged.api.body import Strict
from edged.chat import Message, Tool, ToolCall, ToolChoice
from edged.completion import CallDelta
from edged.errors import InvalidRequest

# OpenAI takes 64 letters, digits, underscores and dashes; programs made for others use dots and longer names too.
ToolName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")]
CallId: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256)]
# OpenAI's own bound.
MAX_TOOLS = 128
_EMPTY = '{"type":"object","properties":{}}'


class _Function(Strict):
    name: ToolName
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool = False


class ToolBody(Strict):
    """One of `tools`."""

    type: Literal["function"]
    function: _Function

    def to_tool(self) -> Tool:
        """The tool in our words."""
        return Tool(
            self.function.name,
            self.function.description,
            compact(self.function.parameters) if self.function.parameters else _EMPTY,
            self.function.strict,
        )


class _Named(Strict):
    name: ToolName


class _NamedChoice(Strict):
    type: Literal["function"]
    function: _Named


ToolChoiceBody: TypeAlias = Literal["none", "auto", "required"] | _NamedChoice


def to_choice(body: ToolChoiceBody | None) -> ToolChoice:
    """`tool_choice` in our words; without one the model decides."""
    if isinstance(body, _NamedChoice):
        return ToolChoice("required", body.function.name)
    return ToolChoice(body or "auto")


class _CalledFunction(Strict):
    name: ToolName
    arguments: str


class ToolCallBody(Strict):
    """One of an assistant message's `tool_calls`, as the client echoes it back."""

    id: CallId
    type: Literal["function"] = "function"
    function: _CalledFunction
    # What the official client echoes of a streamed answer.
    index: int | None = None

    def to_call(self, place: str) -> ToolCall:
        """The call in our words; `place` is where it stands in the request. Raises `InvalidRequest`."""
        return ToolCall(self.id, self.function.name, checked_arguments(self.function.arguments, place))


def checked_arguments(text: str, place: str) -> str:
    """The arguments of a call that was made: JSON of an object, or nothing at all. Raises `InvalidRequest`."""
    try:
        value = json.loads(text or "{}")
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        written.encode()  # half a surrogate pair, escaped, gets this far
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The arguments are not JSON: {error}.", param=place) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The arguments must be a JSON object.", param=place)
    return written


def check_results(messages: Iterable[Message], param: str) -> None:
    """Raises `InvalidRequest` where a tool's result answers a call that nobody made before.

    OpenAI and Anthropic refuse it too. To a model it would be the answer to a question that it cannot see, and what was
    lost on the way is the caller's to find.
    """
    made: set[str] = set()
    for message in messages:
        if message.role == "tool" and message.call_id not in made:
            raise InvalidRequest(
                f"A tool's result answers the call {message.call_id[:80]!r}, and nothing before it makes that call.",
                param=param,
            )
        made.update(call.id for call in message.calls)


def check_choice(tools: Sequence[Tool], choice: ToolChoice, param: str = "tool_choice") -> None:
    """Raises `InvalidRequest` where the choice means a tool that is not there, or two tools have one name."""
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"Two tools are named {twice!r}.", param="tools")
    if choice.kind == "required" and not tools:
        raise InvalidRequest(f"{param} asks for a call, and there are no tools.", param=param)
    if choice.name is not None and choice.name not in names:
        raise InvalidRequest(f"{param} names {choice.name!r}; the tools are {', '.join(names)}.", param=param)


def call_body(call: ToolCall) -> dict[str, Any]:
    """A call in an answer that is not streamed."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def call_delta_body(delta: CallDelta) -> dict[str, Any]:
    """A piece of a call in a stream: the first names it."""
    if not delta.name:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    return {"index": delta.index} | call_body(ToolCall(delta.id, delta.name, delta.arguments))


def compact(value: Any) -> str:
    """`value` as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def finite(text: str) -> float:
    """A number as JSON can say it again: 1e999 is JSON, and what Python makes of it is not."""
    return min(max(float(text), -sys.float_info.max), sys.float_info.max)
