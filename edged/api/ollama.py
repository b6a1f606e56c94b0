"""The Ollama dialect, JSON to `ChatRequest`. Knows neither sockets nor models; the way back is `ollama_answer.py`.

Every field that is accepted is honoured; a documented field that is not is refused by name.
Shapes: docs/api.md of ollama/ollama, `ChatRequest` and `GenerateRequest` in its api/types.go, and what its
server/routes.go makes of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from edged.api.body import check_text_bytes, check_texts, texts_of
from edged.api.constraint import the_one
from edged.api.fields import LARGEST_COUNT
from edged.api.keep_alive import KeepAliveField
from edged.api.ollama_message import MAX_IMAGES, MessageBody, conversation, images
from edged.api.ollama_options import WHOLE, Format, OptionsBody, Think
from edged.api.ollama_options import constraint as constraint_of
from edged.api.ollama_options import effort as effort_of
from edged.api.ollama_options import thinks as thinks_of
from edged.api.tools import MAX_TOOLS, ToolBody, check_choice
from edged.api.wishes import is_housekeeping
from edged.chat import Caller, ChatRequest, Lane, Message, TextPart, ToolChoice
from edged.errors import InvalidRequest, UnsupportedParameter
from edged.sampling import Sampling

_MAX_LOGPROBS = 20
# What a request comes to: words, or only a model that comes into memory or leaves it.
Errand: TypeAlias = Literal["answer", "load", "unload"]

# Whatever its length, it is refused in words; but not a million wrong ones, each in words.
_MAX_CONTEXT = 131_072


class _Common(KeepAliveField):
    model: Annotated[str, StringConstraints(max_length=256)] | None = None
    stream: bool = True
    format: Format = None
    options: OptionsBody = OptionsBody()
    think: Think = None
    # Whether the oldest messages may be left out of a conversation that outgrew the context.
    truncate: bool = True
    # Whether an answer that fills the context goes on without its beginning: it ends here, as with false.
    shift: bool = False
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=_MAX_LOGPROBS), WHOLE] = 0

    def _request(self, id: str, address: str) -> ChatRequest:
        """All but the text."""
        self.options.check()
        if self.shift:
            raise UnsupportedParameter("shift is not supported: an answer ends where the context does.", param="shift")
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
        return ChatRequest(
            id=id,
            model=self.model or None,
            sampling=self.options.sampling(),
            max_tokens=self.options.most_tokens(),
            stop=self.options.stops(),
            logprobs=self.top_logprobs if self.logprobs else None,
            constraint=the_one({"format": constraint_of(self.format)}),
            caller=Caller("ollama", address=address),
            overflow="drop" if self.truncate else "refuse",
            thinks=thinks_of(self.think),
            effort=effort_of(self.think),
            keep_alive_s=self.keep_alive_s,
        )

    def _memory_errand(self) -> Errand:
        return "unload" if self.keep_alive_s == 0 else "load"


class ChatBody(_Common):
    """`POST /api/chat`. Without messages it only loads the model, or unloads it."""

    messages: Annotated[list[MessageBody], Field(max_length=4096, default_factory=list)]
    tools: Annotated[list[ToolBody], Field(max_length=MAX_TOOLS, default_factory=list)]
    # What Ollama itself has no word for, or has among its options: the AI SDK's provider (ollama-ai-provider-v2) sends
    # the first with all tools, and the others where its callers say them.
    tool_choice: Literal["auto", "none", "required"] = "auto"
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=LARGEST_COUNT), WHOLE] | None = None

    @property
    def errand(self) -> Errand:
        """What it comes to. Raises `InvalidRequest`."""
        return "answer" if self.messages else self._memory_errand()

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `UnsupportedParameter`, `PayloadTooLarge`."""
        messages = conversation(self.messages)
        tools = tuple(tool.to_tool() for tool in self.tools)
        choice = ToolChoice(self.tool_choice)
        check_choice(tools, choice)
        check_texts(texts_of(messages, tools), text_bytes)
        lane: Lane = "background" if is_housekeeping(messages, self.stream) else "interactive"
        request = self._request(id, address)
        return replace(
            request,
            messages=messages,
            tools=tools,
            tool_choice=choice,
            lane=lane,
            sampling=self._drawn(request.sampling),
            max_tokens=request.max_tokens if self.max_output_tokens is None else self.max_output_tokens,
        )

    def _drawn(self, sampling: Sampling) -> Sampling:
        """What the options say of drawing tokens, and what is said beside them, which is nearer to the caller."""
        return replace(
            sampling,
            temperature=sampling.temperature if self.temperature is None else self.temperature,
            top_p=sampling.top_p if self.top_p is None else self.top_p,
        )


class GenerateBody(_Common):
    """`POST /api/generate`: a chat of one turn; with `raw` a text to go on with, with `suffix` one to fill.

    Without a prompt as `ChatBody`.
    """

    prompt: str = ""
    system: str = ""
    raw: bool = False
    images: Annotated[list[str], Field(max_length=MAX_IMAGES, default_factory=list)]
    # What follows behind the text that is to be written between it and the prompt.
    suffix: str = ""
    # Accepted where they are empty: the official client sends them with every request.
    template: str = ""
    context: Annotated[list[int], Field(max_length=_MAX_CONTEXT, default_factory=list)]

    @property
    def errand(self) -> Errand:
        """What it comes to. Raises `InvalidRequest`."""
        return "answer" if self.prompt or self.suffix else self._memory_errand()

    def to_request(self, id: str, address: str, text_bytes: int) -> ChatRequest:
        """What is wanted, in no dialect. Raises `InvalidRequest`, `UnsupportedParameter`, `PayloadTooLarge`."""
        self._check()
        check_text_bytes(sum(len(text.encode()) for text in (self.system, self.prompt, self.suffix)), text_bytes)
        request = self._request(id, address)
        if self.raw or self.suffix:
            return replace(request, raw_prompt=self.prompt, suffix=self.suffix)
        system = (Message("system", (TextPart(self.system),)),) if self.system else ()
        user = Message("user", (*images(self.images, "images"), TextPart(self.prompt)))
        return replace(request, messages=(*system, user))

    def _check(self) -> None:
        if self.template:
            raise UnsupportedParameter(
                "template is not supported: a model is asked with its own. Leave it out, or send raw: true with a "
                "prompt that is laid out already.",
                param="template",
            )
        if self.context:
            raise UnsupportedParameter(
                "context is not supported: send the conversation's messages to /api/chat instead.", param="context"
            )
        if (self.raw or self.suffix) and (self.system or self.images):
            what, param = ("A raw prompt", "raw") if self.raw else ("A text with a gap", "suffix")
            raise InvalidRequest(f"{what} has no system and no images beside it.", param=param)
