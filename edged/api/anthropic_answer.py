"""The Anthropic dialect, events to JSON: a message of blocks, whole and streamed.

    message_start · (content_block_start · content_block_delta… · content_block_stop)… · message_delta · message_stop

One block is open at a time and their indexes rise: whatever comes next that is of another kind closes what is open.

Shapes: platform.claude.com/docs/en/build-with-claude/streaming, and the types of the official client (`message.py`,
`usage.py`, `raw_*_event.py` of anthropics/anthropic-sdk-python). Its Python and its JavaScript skip pings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from edged.api.answer import Choice, edged_facts
from edged.api.errors import anthropic_body
from edged.api.tools import compact, finite
from edged.chat import ChatRequest
from edged.completion import CallDelta, Delta, Event, Finish, FinishReason, Progress, Thought, Usage
from edged.errors import EdgedError
from edged.observe import Exchange

# Thoughts carry a signature; programs that look whether there is one keep the thought only then. This one proves
# nothing but who wrote it, and nothing is checked when it comes back.
SIGNATURE = "edged"
_REASONS: dict[FinishReason, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def usage_body(usage: Usage) -> dict[str, Any]:
    """The `usage` object. What was read from memory is not counted among the `input_tokens`, as documented.

    Creating an entry costs nothing beside reading the prompt, so no tokens are counted as that.
    """
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


@dataclass(slots=True)
class AnthropicAnswer:
    """One answer on its way out in Anthropic's shapes; without `shows_thoughts`, thoughts come as empty blocks."""

    request: ChatRequest
    shows_thoughts: bool = True
    content_type: str = field(default="text/event-stream", init=False)
    heartbeat: bytes = field(default=b'event: ping\ndata: {"type":"ping"}\n\n', init=False)
    _open: str = field(default="", init=False)  # the kind of the open block; empty while none is
    _index: int = field(default=-1, init=False)  # of the block that was opened last

    def whole(self, exchange: Exchange, choices: list[Choice]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        (choice,) = choices
        body = self._message(exchange, _content(choice, shows_thoughts=self.shows_thoughts))
        body |= self._end(choice.reason, choice.completion_tokens, choice.stop)
        return body | {"usage": usage_body(exchange.usage), "edged": edged_facts(exchange)}

    def opening(self, exchange: Exchange) -> bytes:
        """The message with nothing in it yet, and what its prompt cost."""
        usage = Usage(exchange.usage.prompt_tokens, cached_tokens=exchange.usage.cached_tokens)
        return _sse("message_start", message=self._message(exchange, []) | {"usage": usage_body(usage)})

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """The next piece, in the block where it belongs, or how the message ended."""
        match event:
            case Thought():
                opened = self._in_block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                shown = self.shows_thoughts
                return opened + (self._delta("thinking_delta", thinking=event.text) if shown else b"")
            case Delta():
                if not event.text:
                    return b""
                opened = self._in_block("text", {"type": "text", "text": ""})
                return opened + self._delta("text_delta", text=event.text)
            case CallDelta():
                call = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
                opened = self._in_block(f"tool_use {event.index}", call)
                return opened + (
                    self._delta("input_json_delta", partial_json=event.arguments) if event.arguments else b""
                )
            case Progress():
                return b""
            case Finish():
                delta = self._end(event.reason, event.completion_tokens, event.stop)
                return self._close() + _sse("message_delta", delta=delta, usage=usage_body(exchange.usage))

    def closing(self, exchange: Exchange) -> bytes:
        """The end mark, with the facts."""
        return _sse("message_stop", edged=edged_facts(exchange))

    def failure(self, error: EdgedError) -> bytes:
        """An error after content: told in the stream, which then ends without its end mark."""
        body = anthropic_body(error, self.request.id)
        body["error"]["partial"] = True
        return b"event: error\ndata: " + compact(body).encode() + b"\n\n"

    def _message(self, exchange: Exchange, content: list[dict[str, Any]]) -> dict[str, Any]:
        assert exchange.admission is not None
        return {
            "id": "msg_" + self.request.id,
            "type": "message",
            "role": "assistant",
            "model": exchange.admission.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _end(self, reason: FinishReason, completion_tokens: int, stop: str) -> dict[str, str | None]:
        """Why the answer ended. Shorter than it was allowed to be, it was the context that had no room for more."""
        name = "stop_sequence" if stop else _REASONS[reason]
        if reason == "length" and self.request.max_tokens is not None and completion_tokens < self.request.max_tokens:
            name = "model_context_window_exceeded"
        return {"stop_reason": name, "stop_sequence": stop or None}

    def _in_block(self, kind: str, empty: dict[str, Any]) -> bytes:
        """What opens a block of this kind, unless it is open; `empty` is the block as it begins."""
        if kind == self._open:
            return b""
        closed = self._close()
        self._open, self._index = kind, self._index + 1
        return closed + _sse("content_block_start", index=self._index, content_block=empty)

    def _delta(self, kind: str, **content: str) -> bytes:
        return _sse("content_block_delta", index=self._index, delta={"type": kind, **content})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        signed = self._delta("signature_delta", signature=SIGNATURE) if self._open == "thinking" else b""
        self._open = ""
        return signed + _sse("content_block_stop", index=self._index)


def _content(choice: Choice, *, shows_thoughts: bool) -> list[dict[str, Any]]:
    """The blocks of a whole answer; one that says nothing has none."""
    thought = {"type": "thinking", "thinking": choice.thought if shows_thoughts else "", "signature": SIGNATURE}
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)} for call in choice.calls
    ]
    said = [{"type": "text", "text": choice.text}] if choice.text else []
    return ([thought] if choice.thought else []) + said + calls


def _input(arguments: str) -> dict[str, Any]:
    """The arguments as the object that they are; none of a call that was cut off, which `stop_reason` tells."""
    try:
        value = json.loads(arguments, parse_float=finite)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _sse(kind: str, **body: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + compact({"type": kind, **body}).encode() + b"\n\n"
