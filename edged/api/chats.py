"""The handlers of everything that writes words, in every dialect, and of reading them on and stopping them."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field

from edged.api import body, stream, wishes
from edged.api.answer import Answer
from edged.api.anthropic import MessagesBody
from edged.api.anthropic_answer import AnthropicAnswer
from edged.api.body import Strict
from edged.api.exposed import NDJSON, REQUEST_ID, SSE, Exposed, Route, Told
from edged.api.ollama import ChatBody as OllamaChatBody
from edged.api.ollama import GenerateBody
from edged.api.ollama_answer import OllamaAnswer, memory_body
from edged.api.ollama_models import tagged
from edged.api.openai import ChatBody, CompletionBody
from edged.api.openai_answer import OpenAIAnswer
from edged.api.replay import CONVERSATION, Tape, conversation_of
from edged.api.responses import ResponsesBody
from edged.api.responses_answer import ResponsesAnswer
from edged.api.visitor import account_of, caller_of, owned
from edged.chat import Caller, ChatRequest
from edged.errors import InvalidRequest

# More conversations than anybody has open.
_MOST_LOOKED_UP = 256


class LookupBody(Strict):
    """`POST /v1/streams/lookup`: only who knows a conversation's name hears of it."""

    conversation_ids: Annotated[list[str], Field(max_length=_MOST_LOOKED_UP)]


def _writes(shape: str, body: type[BaseModel], example: dict[str, Any], streams: str = SSE) -> Told:
    """What is told of a route that answers in words."""
    params = (wishes.LANE, wishes.OVERFLOW, wishes.DEADLINE, CONVERSATION)
    return Told({200: shape}, body, example, params, streams=streams, asks=True)


_ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Who are you?"}]}
_CHAT = _writes("ChatCompletion", ChatBody, _ASKED)
_COMPLETION = _writes("Completion", CompletionBody, {"prompt": "Once upon a time", "max_tokens": 32})
_RESPONSE = _writes("Response", ResponsesBody, {"input": "Who are you?"})
_MESSAGE = _writes("Message", MessagesBody, {**_ASKED, "max_tokens": 256})
_OLLAMA_CHAT = _writes("OllamaChat", OllamaChatBody, {**_ASKED, "stream": False}, NDJSON)
_OLLAMA_TEXT = _writes("OllamaText", GenerateBody, {"prompt": "Who are you?", "stream": False}, NDJSON)
_LOOK_UP = Told({200: "Streams"}, LookupBody, {"conversation_ids": ["mine"]})
_READ_ON = Told({200: "Stream"}, params=("conv_id", "from"), content_type=SSE, streams=NDJSON, asks=True)


class Chats:
    """The handlers. Each reads a body in its dialect; the rest is the same for all."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> list[Route]:
        """Where they are found."""
        return [
            Route("POST", "/v1/chat/completions", "chat", self.chat, _CHAT),
            Route("POST", "/v1/completions", "chat", self.completion, _COMPLETION),
            Route("POST", "/v1/responses", "chat", self.response, _RESPONSE),
            Route("POST", "/v1/messages", "chat", self.message, _MESSAGE),
            Route("POST", "/openai/deployments/{model}/chat/completions", "chat", self.chat, _CHAT),
            Route("POST", "/openai/deployments/{model}/completions", "chat", self.completion, _COMPLETION),
            Route("POST", "/openai/responses", "chat", self.response, _RESPONSE),
            Route("POST", "/openai/v1/chat/completions", "chat", self.chat, _CHAT),
            Route("POST", "/openai/v1/completions", "chat", self.completion, _COMPLETION),
            Route("POST", "/openai/v1/responses", "chat", self.response, _RESPONSE),
            Route("POST", "/api/chat", "chat", self.ollama_chat, _OLLAMA_CHAT),
            Route("POST", "/api/generate", "chat", self.ollama_generate, _OLLAMA_TEXT),
            Route("GET", "/v1/stream", "chat", self.read_on, _READ_ON),
            Route("DELETE", "/v1/stream", "chat", self.stop_stream, Told({204: ""}, params=("conv_id",))),
            Route("POST", "/v1/streams/lookup", "chat", self.look_up, _LOOK_UP),
            Route("DELETE", "/edged/v1/requests/{id}", "chat", self.stop, Told({204: ""})),
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's chat completions; Azure names the model in the path."""
        asked = await body.read(request, ChatBody)
        wanted = self._wanted(request, asked)
        answer = OpenAIAnswer(wanted, True, asked.stream_options.include_usage, asked.timings_per_token)
        return await self._answer(request, wanted, answer, is_streamed=asked.stream)

    async def completion(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's older completions."""
        asked = await body.read(request, CompletionBody)
        wanted = self._wanted(request, asked)
        answer = OpenAIAnswer(wanted, False, asked.stream_options.include_usage, asked.timings_per_token)
        return await self._answer(request, wanted, answer, is_streamed=asked.stream)

    async def response(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's responses, without their memory."""
        asked = await body.read(request, ResponsesBody)
        wanted = self._wanted(request, asked)
        answer = ResponsesAnswer(wanted, asked.settings(), asked.sums_up, asked.carries_thoughts, asked.namespaces)
        return await self._answer(request, wanted, answer, is_streamed=asked.stream)

    async def message(self, request: web.Request) -> web.StreamResponse:
        """Anthropic's messages."""
        asked = await body.read(request, MessagesBody)
        wanted = self._wanted(request, asked)
        return await self._answer(
            request, wanted, AnthropicAnswer(wanted, asked.shows_thoughts), is_streamed=asked.stream
        )

    async def ollama_chat(self, request: web.Request) -> web.StreamResponse:
        """Ollama's chat."""
        return await self._ollama(request, await body.read(request, OllamaChatBody), is_chat=True)

    async def ollama_generate(self, request: web.Request) -> web.StreamResponse:
        """Ollama's generate."""
        return await self._ollama(request, await body.read(request, GenerateBody), is_chat=False)

    async def _ollama(
        self, request: web.Request, asked: OllamaChatBody | GenerateBody, *, is_chat: bool
    ) -> web.StreamResponse:
        """An answer, or where there is nothing to answer: the model into memory, or out of it."""
        if asked.errand == "answer":
            wanted = self._wanted(request, asked)
            return await self._answer(request, wanted, OllamaAnswer(wanted, is_chat), is_streamed=asked.stream)
        wishes.apply(request.headers, ChatRequest(request[REQUEST_ID]))  # a header that says nothing known is told so
        if asked.errand == "load":
            model = (await self._exposed.router.route(asked.model)).model
            caller = caller_of(request, Caller("ollama", address=request.remote or ""))
            await self._exposed.local.load(model, caller, asked.keep_alive_s)
        else:
            model = await self._exposed.let_go(asked.model)
        told = memory_body(asked.model or tagged(model), asked.errand, is_chat=is_chat, created_ns=time.time_ns())
        return web.json_response(told)

    async def read_on(self, request: web.Request) -> web.StreamResponse:
        """An answer that is or was written in a conversation, from byte `from` on."""
        offset = request.query.get("from", "0")
        if not offset.isdecimal() or len(offset) > 12:
            raise InvalidRequest(f"from is {offset[:80]!r}; it is a number of bytes.", param="from")
        tape = self._exposed.tapes.find(self._conversation(request))
        return await stream.read_on(request, tape, int(offset), self._exposed.config.http.hold_status_s)

    async def stop_stream(self, request: web.Request) -> web.StreamResponse:
        """Stop a conversation's answer; where there is none, nothing is to be done."""
        self._exposed.tapes.stop(self._conversation(request))
        return web.Response(status=204)

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        """What there is to be read of some conversations."""
        asked = await body.read(request, LookupBody)
        return web.json_response(self._exposed.tapes.status(account_of(request), asked.conversation_ids))

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """Stop an answer by the id of its request; whoever reads it is told."""
        self._exposed.stops.stop(request.match_info["id"], account_of(request))
        return web.Response(status=204)

    def _conversation(self, request: web.Request) -> tuple[str, str]:
        id = request.query.get("conv_id")
        if not id:
            raise InvalidRequest("Which conversation? Say conv_id=….", param="conv_id")
        return account_of(request), id

    def _wanted(
        self,
        request: web.Request,
        asked: ChatBody | CompletionBody | ResponsesBody | MessagesBody | OllamaChatBody | GenerateBody,
    ) -> ChatRequest:
        """What is wanted, in no dialect."""
        config = self._exposed.config
        plain = asked.to_request(request[REQUEST_ID], request.remote or "", config.limits.text_bytes)
        wanted = wishes.apply(request.headers, owned(request, plain))
        if wanted.n > config.engine.sequences:
            raise InvalidRequest(
                f"n is {wanted.n}, and {config.engine.sequences} answers can advance at once ([engine] sequences).",
                param="n",
            )
        return wanted

    async def _answer(
        self, request: web.Request, wanted: ChatRequest, answer: Answer, *, is_streamed: bool
    ) -> web.StreamResponse:
        exposed, hold_status_s = self._exposed, self._exposed.config.http.hold_status_s
        if not is_streamed:
            return await stream.respond(exposed.backend, wanted, answer, exposed.stops)
        conversation = conversation_of(request.headers)
        if conversation is None:
            return await stream.stream(request, exposed.backend, wanted, answer, exposed.stops, hold_status_s)
        tape = Tape(wanted.id, answer.content_type, answer.failure)
        perform = partial(stream.record, backend=exposed.backend, wanted=wanted, answer=answer, stops=exposed.stops)
        exposed.tapes.record((wanted.caller.account, conversation), tape, perform)
        return await stream.read_on(request, tape, 0, hold_status_s)
