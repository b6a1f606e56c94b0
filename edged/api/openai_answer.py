"""The OpenAI dialect, events to JSON: chats and completions, streamed and whole.

Shapes: platform.openai.com/docs/api-reference/chat and /completions; `reasoning_content` is DeepSeek's, which
llama-server and most clients share.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edged.api.answer import Choice, edged_facts
from edged.api.errors import openai_body
from edged.api.logprobs import characters, chat_logprobs, completion_logprobs
from edged.api.tools import call_body, call_delta_body, compact
from edged.chat import ChatRequest
from edged.completion import CallDelta, Delta, Event, Finish, Progress, Thought, TokenLogprob, Usage
from edged.errors import EdgedError
from edged.observe import Exchange

DONE = b"data: [DONE]\n\n"


def timings_body(exchange: Exchange) -> dict[str, float | int]:
    """llama-server's `timings`: how long reading and writing took, from the first turn on the worker.

    The speed of writing is that between the first and the last word; of a single one there is none.
    """
    usage = exchange.usage
    assert exchange.admission is not None
    first_s, last_s = exchange.first_token_s or 0.0, exchange.last_token_s or 0.0
    read, written = usage.prompt_tokens - usage.cached_tokens, usage.completion_tokens
    return {
        "cache_n": usage.cached_tokens,
        **_pace("prompt", read, max(0.0, first_s - exchange.admission.queue_s), read),
        **_pace("predicted", written, max(0.0, last_s - first_s), written - 1),
    }


def _pace(what: str, tokens: int, took_s: float, timed: int) -> dict[str, float | int]:
    """So many tokens, `timed` of them in `took_s`."""
    return {
        f"{what}_n": tokens,
        f"{what}_ms": round(took_s * 1000, 3),
        f"{what}_per_token_ms": round(took_s * 1000 / timed, 3) if timed > 0 else 0.0,
        f"{what}_per_second": round(timed / took_s, 3) if took_s > 0 and timed > 0 else 0.0,
    }


def usage_body(usage: Usage) -> dict[str, Any]:
    """The `usage` object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


@dataclass(slots=True)
class OpenAIAnswer:
    """One answer on its way out in OpenAI's shapes, for a chat or, with `is_chat` false, a completion."""

    request: ChatRequest
    is_chat: bool
    include_usage: bool
    with_timings: bool = False
    created_s: int = field(default_factory=lambda: int(time.time()))
    content_type: str = field(default="text/event-stream", init=False)
    heartbeat: bytes = field(default=b": still working\n\n", init=False)
    _told: dict[int, int] = field(default_factory=dict)  # characters whose tokens were told, by choice

    def whole(self, exchange: Exchange, choices: list[Choice]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        bodies = [
            {"index": index, "finish_reason": choice.reason, "logprobs": self._logprobs(index, choice.logprobs)}
            | ({"message": _message_body(choice)} if self.is_chat else {"text": self._echo(index) + choice.text})
            for index, choice in enumerate(choices)
        ]
        usage = usage_body(exchange.usage)
        facts = {"usage": usage, "timings": timings_body(exchange), "edged": edged_facts(exchange)}
        return self._envelope(exchange, bodies, streamed=False) | facts

    def opening(self, exchange: Exchange) -> bytes:
        """What goes in front of the first word: the role of each chat choice, or the echoed prompt."""
        if self.is_chat:
            return b"".join(
                self._chunk(exchange, index, {"role": "assistant", "content": ""}) for index in range(self.request.n)
            )
        if not self.request.echo:
            return b""
        return b"".join(self._chunk(exchange, index, self._echo(index)) for index in range(self.request.choices))

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """A piece or a finish; the last chunk of all carries the facts."""
        match event:
            case Delta():
                content: dict[str, Any] | str = {"content": event.text} if self.is_chat else event.text
                logprobs = self._logprobs(event.choice, event.logprobs)
                return self._chunk(exchange, event.choice, content, logprobs=logprobs)
            case Thought():
                return self._chunk(exchange, event.choice, {"reasoning_content": event.text})
            case CallDelta():
                return self._chunk(exchange, event.choice, {"tool_calls": [call_delta_body(event)]})
            case Progress():
                read_s = exchange.age_s - (exchange.admission.queue_s if exchange.admission else 0.0)
                return self._chunk(exchange, event.choice, {}, extra={"prompt_progress": _progress_body(event, read_s)})
            case Finish():
                extra = _truth(exchange) if is_last and not self.include_usage else {}
                return self._chunk(exchange, event.choice, {} if self.is_chat else "", event.reason, extra)

    def closing(self, exchange: Exchange) -> bytes:
        """The usage chunk, where it was asked for, and the end mark."""
        if not self.include_usage:
            return DONE
        body = self._envelope(exchange, [], streamed=True)
        return _sse(body | {"usage": usage_body(exchange.usage)} | _truth(exchange)) + DONE

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

    def _echo(self, choice: int) -> str:
        """The prompt of a choice, where it is to be repeated: then it is text."""
        if not self.request.echo:
            return ""
        prompt = (self.request.raw_prompt, *self.request.further_prompts)[choice // self.request.n]
        return prompt if isinstance(prompt, str) else ""

    def _chunk(
        self,
        exchange: Exchange,
        index: int,
        content: dict[str, Any] | str,
        reason: str | None = None,
        extra: dict[str, Any] | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta" if self.is_chat else "text": content, "finish_reason": reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        timings = {"timings": timings_body(exchange)} if self.with_timings else {}
        return _sse(self._envelope(exchange, [choice], streamed=True) | timings | (extra or {}))

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


def _progress_body(progress: Progress, read_s: float) -> dict[str, int]:
    """llama-server's `prompt_progress`."""
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.processed,
        "time_ms": round(max(0.0, read_s) * 1000),
    }


def _truth(exchange: Exchange) -> dict[str, Any]:
    """What the last chunk of all carries."""
    return {"timings": timings_body(exchange), "edged": edged_facts(exchange)}


def _message_body(choice: Choice) -> dict[str, Any]:
    """The message of a whole chat choice; what it does not have is left out, but for the content that all have."""
    thought = {"reasoning_content": choice.thought} if choice.thought else {}
    calls = {"tool_calls": [call_body(call) for call in choice.calls]} if choice.calls else {}
    content = choice.text or (None if choice.calls else "")
    return {"role": "assistant", "content": content, "refusal": None} | thought | calls


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + compact(body).encode() + b"\n\n"
