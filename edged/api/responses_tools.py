"""Tools in OpenAI's Responses API: functions, alone or in a namespace, and which of them shall be called.

Shapes: `ToolParam`, `NamespaceToolParam` and `tool_choice` in openai/types/responses/ of the official client. Templates
know no namespaces, so a model knows a function in one by both names in one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag
from pydantic.json_schema import SkipJsonSchema

from edged.api.body import Strict
from edged.api.responses_input import Elsewhere, kind_among, name_in
from edged.api.tools import MAX_TOOLS, ToolName, compact
from edged.chat import Tool, ToolChoice

# So that both names together are no longer than a name may be.
_Short: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.:-]{1,63}$")]


class _Function(Strict):
    type: Literal["function"]
    name: ToolName
    description: str = ""
    parameters: dict[str, Any] | None = None
    # Strict where nothing is said, other than in chats; llama-server has it so too (tools/server/server-chat.cpp).
    strict: bool = True

    def to_tools(self, place: str) -> tuple[Tool, ...]:
        schema = self.parameters or {"type": "object", "properties": {}}
        return (Tool(self.name, self.description, compact(schema), self.strict),)


class _Inner(_Function):
    name: _Short


class Namespace(Strict):
    """Functions that belong together. What is said of all is told the model with each."""

    type: Literal["namespace"]
    name: _Short
    description: str = ""
    tools: Annotated[list[_Inner], Field(max_length=MAX_TOOLS)]

    def to_tools(self, place: str) -> tuple[Tool, ...]:
        """The functions in our words."""
        return tuple(
            replace(
                tool, name=name_in(self.name, tool.name), description=f"{self.description}\n{tool.description}".strip()
            )
            for inner in self.tools
            for tool in inner.to_tools(place)
        )

    def places(self) -> dict[str, tuple[str, str]]:
        """The namespace and the name in it, by the name that the model knows."""
        return {name_in(self.name, tool.name): (self.name, tool.name) for tool in self.tools}


class _SearchWithoutNet(Strict):
    """A search that must not leave OpenAI for the net, of which Codex lets every model make use, unless told not to.

    There is nothing here to search without a net, so the model is not told of it; one that is told may do without it.
    `create_web_search_tool` in codex-rs/tools/src/tool_spec.rs of openai/codex.
    """

    type: Literal["web_search"]
    external_web_access: Literal[False]

    def to_tools(self, place: str) -> tuple[Tool, ...]:
        return ()


class _Other(Elsewhere):
    def to_tools(self, place: str) -> tuple[Tool, ...]:
        raise self.refused(place, "no tool is built in, so send functions, and make the calls yourself")


def _tool_kind(value: Any) -> str:
    if isinstance(value, dict) and value.get("type") == "web_search" and value.get("external_web_access") is False:
        return "search"
    return kind_among("function", "namespace")(value)


AnyTool: TypeAlias = Annotated[
    Annotated[_Function, Tag("function")]
    | Annotated[Namespace, Tag("namespace")]
    | Annotated[_SearchWithoutNet, Tag("search")]
    | Annotated[_Other, Tag("other"), SkipJsonSchema()],
    Discriminator(_tool_kind),
]


class _NamedChoice(Strict):
    type: Literal["function"]
    name: ToolName

    def to_choice(self) -> ToolChoice:
        return ToolChoice("required", self.name)


class _OtherChoice(Elsewhere):
    def to_choice(self) -> ToolChoice:
        raise self.refused("tool_choice", "send auto, none, required or one function")


def _choice_kind(value: Any) -> str:
    return "mode" if isinstance(value, str) else kind_among("function")(value)


AnyChoice: TypeAlias = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("mode")]
    | Annotated[_NamedChoice, Tag("function")]
    | Annotated[_OtherChoice, Tag("other"), SkipJsonSchema()],
    Discriminator(_choice_kind),
]
