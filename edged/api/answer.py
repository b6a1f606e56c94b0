"""An answer on its way out: what a dialect has to say of it, and what a whole one consists of.

A dialect is two pure halves: JSON to `ChatRequest`, and the events of a `Completion` to JSON. The second half is an
`Answer`; `stream.py` carries it to a socket and knows no dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from edged.chat import ChatRequest, ToolCall
from edged.completion import CallDelta, Delta, Event, Finish, FinishReason, Thought, TokenLogprob
from edged.errors import EdgedError
from edged.observe import Exchange


@dataclass(slots=True)
class Choice:
    """One whole answer of the `n` that were asked for."""

    text: str = ""
    thought: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = "stop"
    completion_tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    stop: str = ""

    def add(self, event: Event) -> None:
        """Take in the next event of this choice."""
        match event:
            case Delta():
                self.text += event.text
                self.logprobs.extend(event.logprobs)
            case Thought():
                self.thought += event.text
            case CallDelta() if event.index == len(self.calls):
                self.calls.append(ToolCall(event.id, event.name, event.arguments))
            case CallDelta():
                call = self.calls[event.index]
                self.calls[event.index] = replace(call, arguments=call.arguments + event.arguments)
            case Finish():
                self.reason, self.stop, self.completion_tokens = event.reason, event.stop, event.completion_tokens


def edged_facts(exchange: Exchange) -> dict[str, Any]:
    """The truth about an answer, at its end: who gave it, why, and how long what took."""
    admission = exchange.admission
    assert admission is not None
    return {
        "served_by": admission.served_by,
        "model": admission.model,
        "route": admission.route,
        "lane": exchange.lane,
        "attempts": admission.attempts,
        "queue_ms": round(admission.queue_s * 1000, 1),
        "ttft_ms": _ms(exchange.first_token_s),
        "ttft_predicted_ms": _ms(admission.first_token_predicted_s),
        "cached_tokens": admission.cached_tokens,
        "dropped_messages": admission.dropped_messages,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


class Answer(Protocol):
    """One answer in one dialect. `heartbeat` is what may be written between two events; nothing where nothing may."""

    request: ChatRequest
    content_type: str
    heartbeat: bytes

    def whole(self, exchange: Exchange, choices: list[Choice]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        ...

    def opening(self, exchange: Exchange) -> bytes:
        """What goes in front of the first event."""
        ...

    def event(self, exchange: Exchange, event: Event, *, is_last: bool) -> bytes:
        """The next event; empty where the dialect has nothing to say of it. `is_last`: no other follows."""
        ...

    def closing(self, exchange: Exchange) -> bytes:
        """What goes behind the last event."""
        ...

    def failure(self, error: EdgedError) -> bytes:
        """An error after content: told in the stream, which ends with it."""
        ...
