"""The Ollama dialect, events to JSON: chats and generations, as one object or as a line of JSON for each piece.

Shapes: docs/api.md of ollama/ollama, `ChatResponse`, `GenerateResponse` and `Metrics` in its api/types.go. A call comes
whole, in one line, its arguments an object; one that the end of the context cut off is no call, and left out.
Durations are nanoseconds as Ollama counts them (`ChatHandler` in its server/routes.go): loading is all until the model
was there for this request, waiting in line included; what was not measured is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from edged.api.answer import Choice, edged_facts
from edged.api.errors import error_body
from edged.api.logprobs import chat_logprobs
from edged.api.ollama_models import rfc3339, tagged
from edged.api.tools import compact, finite
from edged.chat import ChatRequest, ToolCall
from edged.completion import CallDelta, Delta, Event, Finish, FinishReason, Progress, Thought, TokenLogprob
from edged.errors import EdgedError
from edged.observe import Exchange

# A model that wants calls made has stopped, says Ollama.
_REASONS: dict[FinishReason, str] = {"stop": "stop", "length": "length", "tool_calls": "stop"}


@dataclass(slots=True)
class OllamaAnswer:
    """One answer on its way out in Ollama's shapes, for a chat or, with `is_chat` false, a generation."""

    request: ChatRequest
    is_chat: bool
    clock_ns: Callable[[], int] = time.time_ns
    content_type: str = field(default="application/x-ndjson", init=False)
    # There is no line of NDJSON that means nothing.
    heartbeat: bytes = field(default=b"", init=False)
    _call: ToolCall | None = field(default=None, init=False)  # as far as it came
    _index: int = field(default=0, init=False)

    def whole(self, exchange: Exchange, choices: list[Choice]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        (choice,) = choices
        calls = [body for index, call in enumerate(choice.calls) if (body := _call_body(index, call))]
        said = self._said(choice.text, choice.thought, calls)
        return self._body(exchange, said, choice.reason, choice.logprobs)

    def opening(self, exchange: Exchange) -> bytes:
        """Nothing: the first piece says all."""
        return b""

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """A line for each piece, but for those of a call, which wait until it is complete."""
        if isinstance(event, CallDelta) and not event.name and self._call is not None:
            self._call = replace(self._call, arguments=self._call.arguments + event.arguments)
            return b""
        before = self._finished_call(exchange)
        match event:
            case Delta():
                return before + self._line(exchange, self._said(event.text), logprobs=event.logprobs)
            case Thought():
                return before + self._line(exchange, self._said("", event.text))
            case CallDelta():
                self._call, self._index = ToolCall(event.id, event.name, event.arguments), event.index
                return before
            case Progress():
                return before
            case Finish():
                return before + self._line(exchange, self._said(""), event.reason)

    def closing(self, exchange: Exchange) -> bytes:
        """Nothing: the last line said `done`."""
        return b""

    def failure(self, error: EdgedError) -> bytes:
        """An error after content: the last line, without `done`."""
        return _ndjson(error_body(error, "ollama") | {"partial": True})

    def _finished_call(self, exchange: Exchange) -> bytes:
        call, self._call = self._call, None
        body = _call_body(self._index, call) if call else None
        return self._line(exchange, self._said("", "", [body])) if body else b""

    def _said(self, text: str, thought: str = "", calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        beside = ({"thinking": thought} if thought else {}) | ({"tool_calls": list(calls)} if calls else {})
        if self.is_chat:
            return {"message": {"role": "assistant", "content": text} | beside}
        return {"response": text} | beside

    def _line(
        self,
        exchange: Exchange,
        said: dict[str, Any],
        reason: FinishReason | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        return _ndjson(self._body(exchange, said, reason, logprobs))

    def _body(
        self,
        exchange: Exchange,
        said: dict[str, Any],
        reason: FinishReason | None,
        logprobs: Sequence[TokenLogprob],
    ) -> dict[str, Any]:
        body = {"model": self._name(exchange), "created_at": rfc3339(self.clock_ns())} | said
        body |= {"done": False} if reason is None else {"done": True, "done_reason": _REASONS[reason]}
        if self.request.logprobs is not None and logprobs:
            body["logprobs"] = chat_logprobs(logprobs)["content"]
        return body if reason is None else body | _metrics(exchange) | {"edged": edged_facts(exchange)}

    def _name(self, exchange: Exchange) -> str:
        """The model that answers: as the caller wrote it, where that is the one, else as `/api/tags` lists it."""
        assert exchange.admission is not None
        asked, real = self.request.model or "", exchange.admission.model
        return asked if asked.removesuffix(":latest") == real else tagged(real)


def memory_body(name: str, errand: str, *, is_chat: bool, created_ns: int) -> dict[str, Any]:
    """The answer to a request without a prompt, streamed or not: the model was loaded, or unloaded."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    return {"model": name, "created_at": rfc3339(created_ns)} | said | {"done": True, "done_reason": errand}


def nanoseconds(seconds: float) -> int:
    """A duration as Ollama writes it; differences of clock readings are never below nothing."""
    return max(0, round(seconds * 1e9))


def _metrics(exchange: Exchange) -> dict[str, int]:
    assert exchange.admission is not None
    usage, queue_s, first_s = exchange.usage, exchange.admission.queue_s, exchange.first_token_s
    total_s = exchange.age_s if exchange.duration_s is None else exchange.duration_s
    metrics = {
        "total_duration": nanoseconds(total_s),
        "load_duration": nanoseconds(queue_s),
        "prompt_eval_count": usage.prompt_tokens,
    }
    if first_s is not None:
        metrics["prompt_eval_duration"] = nanoseconds(first_s - queue_s)
    metrics["eval_count"] = usage.completion_tokens
    if first_s is not None:
        metrics["eval_duration"] = nanoseconds(total_s - first_s)
    return metrics


def _call_body(index: int, call: ToolCall) -> dict[str, Any] | None:
    """A call in Ollama's shape; None where its arguments are no object, because they were cut off."""
    try:
        arguments = json.loads(call.arguments or "{}", parse_constant=_refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(arguments, dict):
        return None
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}}


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _ndjson(body: dict[str, Any]) -> bytes:
    # Half a surrogate pair, which a model may escape in its arguments, is written as the escape that it was.
    return compact(body).encode(errors="backslashreplace") + b"\n"
