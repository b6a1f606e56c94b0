"""OpenAI's Responses API, events to JSON: an answer as a list of items, streamed and whole.

    response.created, response.in_progress
      output_item.added
        part.added, delta*, done, part.done        a thought or a text
        function_call_arguments.delta*, done       a call
      output_item.done
    response.completed | response.incomplete | response.failed

Shapes: `Response` and the `Response…Event` types in openai/types/responses/ of the official client. One item is open at
a time. A thought is told as what it is, `reasoning_text`; where a summary was asked for, in that one's place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from edged.api.answer import Choice, edged_facts
from edged.api.errors import openai_body
from edged.api.logprobs import chat_logprobs
from edged.api.responses_input import wrapped
from edged.api.tools import compact
from edged.chat import ChatRequest
from edged.completion import CallDelta, Delta, Event, Finish, FinishReason, Progress, Thought, TokenLogprob, Usage
from edged.errors import EdgedError, RateLimited, RequestError
from edged.observe import Exchange

_Status: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the protocol calls an item of one kind, its one part, and the events of both."""

    type: str
    id: str
    text_event: str
    text_field: str = "text"
    part: str = ""
    part_event: str = ""
    index_field: str = ""


_THOUGHT = _Kind(
    "reasoning", "rs", "response.reasoning_text", "text", "reasoning_text", "response.content_part", "content_index"
)
_SUMMARY = _Kind(
    "reasoning",
    "rs",
    "response.reasoning_summary_text",
    "text",
    "summary_text",
    "response.reasoning_summary_part",
    "summary_index",
)
_TEXT = _Kind("message", "msg", "response.output_text", "text", "output_text", "response.content_part", "content_index")
_CALL = _Kind("function_call", "fc", "response.function_call_arguments", "arguments")


@dataclass(slots=True)
class _Item:
    """One item of the answer, as far as it has come. `call` is the call's number, id and name."""

    kind: _Kind
    index: int
    id: str
    call: tuple[int, str, str] = (0, "", "")
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    status: _Status = "in_progress"

    def is_part_of(self, kind: _Kind, call: tuple[int, str, str]) -> bool:
        """Whether a piece of this kind and call belongs here."""
        return self.kind is kind and self.call[0] == call[0]

    @property
    def place(self) -> dict[str, Any]:
        """Where a piece belongs, as events say it."""
        return {"item_id": self.id, "output_index": self.index} | {name: 0 for name in (self.kind.index_field,) if name}

    @property
    def scores(self) -> dict[str, Any]:
        """What events about a text have beside it."""
        return {"logprobs": self.logprobs} if self.kind is _TEXT else {}

    def part(self) -> dict[str, Any]:
        """The item's one part."""
        extra = {"annotations": [], "logprobs": self.logprobs} if self.kind is _TEXT else {}
        return {"type": self.kind.part, "text": self.text} | extra

    def body(self, *, carries_thoughts: bool) -> dict[str, Any]:
        """The item; its part is told by events of its own while it is in progress."""
        body: dict[str, Any] = {"id": self.id, "type": self.kind.type, "status": self.status}
        parts = [] if self.status == "in_progress" else [self.part()]
        if self.kind is _CALL:
            _, id, name = self.call
            return body | {"call_id": id, "name": name, "arguments": self.text}
        if self.kind is _TEXT:
            return body | {"role": "assistant", "content": parts}
        told, other = ("summary", "content") if self.kind is _SUMMARY else ("content", "summary")
        carried = {"encrypted_content": wrapped(self.text)} if parts and carries_thoughts else {}
        return body | {told: parts, other: []} | carried


@dataclass(slots=True)
class ResponsesAnswer:
    """One answer on its way out. `settings` is what of the request it repeats.

    With `sums_up` thoughts are told as summaries; with `carries_thoughts` also in `encrypted_content`. `namespaces` has
    the namespace and the name in it of the functions that are in one, by the names that the model knows.
    """

    request: ChatRequest
    settings: dict[str, Any]
    sums_up: bool = False
    carries_thoughts: bool = False
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    created_s: int = field(default_factory=lambda: int(time.time()))
    content_type: str = field(default="text/event-stream", init=False)
    heartbeat: bytes = field(default=b": still working\n\n", init=False)
    _items: list[_Item] = field(default_factory=list, init=False)
    _status: _Status = field(default="in_progress", init=False)
    _told: int = field(default=0, init=False)  # events
    _exchange: Exchange | None = field(default=None, init=False)  # once the stream is open

    def whole(self, exchange: Exchange, choices: list[Choice]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        (choice,) = choices
        if choice.thought:
            self._begin(self._thought_kind, text=choice.thought)
        if choice.text or not (choice.thought or choice.calls):
            self._begin(_TEXT, text=choice.text, logprobs=self._logprobs(choice.logprobs))
        for number, call in enumerate(choice.calls):
            self._begin(_CALL, (number, call.id, call.name), call.arguments)
        for item in self._items:
            item.status = "completed"
        self._status = self._items[-1].status = _status_of(choice.reason)
        return self._final(exchange)

    def opening(self, exchange: Exchange) -> bytes:
        """The response before it has any items."""
        self._exchange = exchange
        body = self._response(exchange)
        return self._sse("response.created", response=body) + self._sse("response.in_progress", response=body)

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """A piece of an item, with what opens it and what closes the one before; or the end of the last."""
        match event:
            case Thought():
                return self._add(self._thought_kind, event.text)
            case Delta():
                return self._add(_TEXT, event.text, scores=event.logprobs)
            case CallDelta():
                return self._add(_CALL, event.arguments, (event.index, event.id, event.name))
            case Progress():
                return b""
            case Finish():
                silent = b"" if self._items else self._open(self._begin(_TEXT))
                self._status = _status_of(event.reason)
                return silent + self._close(self._status)

    def closing(self, exchange: Exchange) -> bytes:
        """The whole response, with what it cost and the facts."""
        return self._sse(f"response.{self._status}", response=self._final(exchange))

    def failure(self, error: EdgedError) -> bytes:
        """After content the response as far as it has come; where not even the first event was sent, the error alone.

        The official client raises for an event with an `error` of its own, and hands a failed response to its caller.
        """
        told = openai_body(error)["error"]
        if self._exchange is None:
            return self._sse("error", code=told["code"], message=told["message"], param=told["param"], error=told)
        if self._items and self._items[-1].status == "in_progress":
            self._items[-1].status = "incomplete"
        self._status = "failed"
        body = self._final(self._exchange)
        body["error"] = {"code": _failure_code(error), "message": told["message"]}
        body["edged"]["error"] = told
        return self._sse("response.failed", response=body)

    @property
    def _thought_kind(self) -> _Kind:
        return _SUMMARY if self.sums_up else _THOUGHT

    def _begin(
        self,
        kind: _Kind,
        call: tuple[int, str, str] = (0, "", ""),
        text: str = "",
        logprobs: list[dict[str, Any]] | None = None,
    ) -> _Item:
        index = len(self._items)
        item = _Item(kind, index, f"{kind.id}_{self.request.id}_{index}", call, text, logprobs or [])
        self._items.append(item)
        return item

    def _add(
        self,
        kind: _Kind,
        text: str,
        call: tuple[int, str, str] = (0, "", ""),
        scores: Sequence[TokenLogprob] = (),
    ) -> bytes:
        """`text` for the open item, or for a new one where that is of another kind, or another call."""
        sent = b""
        if not self._items or not self._items[-1].is_part_of(kind, call):
            sent = self._close("completed") + self._open(self._begin(kind, call))
        item, logprobs = self._items[-1], self._logprobs(scores)
        item.text += text
        item.logprobs += logprobs
        if not text and not logprobs:
            return sent  # a call's name comes before its arguments
        extra = {"logprobs": logprobs} if kind is _TEXT else {}
        return sent + self._sse(f"{kind.text_event}.delta", **item.place, delta=text, **extra)

    def _open(self, item: _Item) -> bytes:
        added = self._sse("response.output_item.added", output_index=item.index, item=self._body(item))
        if not item.kind.part:
            return added
        return added + self._sse(f"{item.kind.part_event}.added", **item.place, part=item.part())

    def _close(self, status: _Status) -> bytes:
        """The end of the open item, if there is one."""
        if not self._items:
            return b""
        item = self._items[-1]
        item.status = status
        done = self._sse(
            f"{item.kind.text_event}.done", **item.place, **{item.kind.text_field: item.text}, **item.scores
        )
        if item.kind.part:
            done += self._sse(f"{item.kind.part_event}.done", **item.place, part=item.part())
        return done + self._sse("response.output_item.done", output_index=item.index, item=self._body(item))

    def _body(self, item: _Item) -> dict[str, Any]:
        body = item.body(carries_thoughts=self.carries_thoughts)
        if item.kind is _CALL and item.call[2] in self.namespaces:
            body["namespace"], body["name"] = self.namespaces[item.call[2]]
        return body

    def _logprobs(self, scores: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        """An empty list where they were not asked for, as OpenAI has it."""
        told: list[dict[str, Any]] = [] if self.request.logprobs is None else chat_logprobs(scores)["content"]
        return told

    def _final(self, exchange: Exchange) -> dict[str, Any]:
        """The response with all that is only known at its end."""
        body = self._response(exchange)
        body["usage"] = _usage_body(exchange.usage)
        if self._status == "incomplete":
            body["incomplete_details"] = {"reason": "max_output_tokens"}
        if self._status == "completed" and exchange.duration_s is not None:
            body["completed_at"] = self.created_s + int(exchange.duration_s)
        return body | {"edged": edged_facts(exchange)}

    def _response(self, exchange: Exchange) -> dict[str, Any]:
        assert exchange.admission is not None
        return {
            "id": f"resp_{self.request.id}",
            "object": "response",
            "created_at": self.created_s,
            "completed_at": None,
            "status": self._status,
            "error": None,
            "incomplete_details": None,
            "model": exchange.admission.model,
            "output": [self._body(item) for item in self._items],
            "usage": None,
            "service_tier": "flex" if exchange.lane == "background" else "default",
        } | self.settings

    def _sse(self, kind: str, **fields: Any) -> bytes:
        body = compact({"type": kind, "sequence_number": self._told} | fields)
        self._told += 1
        return f"event: {kind}\ndata: {body}\n\n".encode()


def _status_of(reason: FinishReason) -> _Status:
    return "incomplete" if reason == "length" else "completed"


def _failure_code(error: EdgedError) -> str:
    """The nearest of the few codes that a failed response may have (`ResponseError` in the official client)."""
    if isinstance(error, RateLimited):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, RequestError) else "server_error"


def _usage_body(usage: Usage) -> dict[str, Any]:
    """Whatever of a prompt was not in memory is there afterwards."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
