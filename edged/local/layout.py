"""A request as the text that one model reads: laid out by its template, or as it came, and shortened where asked."""

from __future__ import annotations

from edged.chat import ChatRequest, Message, TextPart
from edged.errors import CapabilityMissing
from edged.local.able import check_ids
from edged.local.manner import begun_answer, parted
from edged.local.overflow import is_too_long, to_drop, turns_of, with_marks
from edged.local.resident import Lease
from edged.template_wire import Span, Turn
from edged.wire import Loaded


async def fitting_prompt(request: ChatRequest, lease: Lease) -> tuple[tuple[Span, ...], int]:
    """The prompt, and how many messages were left out of it because the caller asked for that and it was too long."""
    prompt, card = await prompt_of(request, request.messages, lease), lease.card
    if request.overflow == "refuse" or request.raw_prompt is not None:
        return prompt, 0
    # No vocabulary has more tokens than bytes in a text, but for the begin token: most prompts need no counting.
    if not is_too_long(sum(len(span.text.encode()) for span in prompt) + 1, card.context_tokens):
        return prompt, 0
    (tokens,) = await lease.process.count((prompt,))
    if not is_too_long(tokens, card.context_tokens):
        return prompt, 0
    turns = turns_of(request.messages)
    counted = await lease.process.count(tuple((Span(message.text),) for message in request.messages))
    dropped = to_drop(turns, with_marks(counted, tokens), card.context_tokens)
    while True:
        prompt = await prompt_of(request, turns.without(request.messages, dropped), lease)
        (tokens,) = await lease.process.count((prompt,))
        if dropped >= turns.most or not is_too_long(tokens, card.context_tokens):
            return prompt, turns.messages_in(dropped)
        dropped += 1


async def prompt_of(request: ChatRequest, messages: tuple[Message, ...], lease: Lease) -> tuple[Span, ...]:
    """The prompt, with `messages` in place of the request's; none where it came as token ids. Raises `RequestError`."""
    if isinstance(request.raw_prompt, str):
        return _around_gap(request, lease.card) if request.suffix else (Span(request.raw_prompt),)
    if request.raw_prompt is not None:
        check_ids("The prompt", request.raw_prompt, request.model, lease.card, param="prompt")
        return ()  # the ids go as they are
    if not lease.card.template:
        raise CapabilityMissing(
            f"The model {request.model} has no chat template: it completes text, it was not made for conversations. "
            "Use /v1/completions, or another model.",
            param="model",
        )
    tools = () if request.tool_choice.kind == "none" else request.tools
    messages, begun = parted(messages)
    thinks = False if begun else request.thinks
    prompt = await lease.renderer.render(_turns(messages), tools, thinks, request.effort)
    if not begun:
        return prompt
    return prompt + begun_answer(begun, lease.card.template, lease.renderer.capabilities, prompt)


def _around_gap(request: ChatRequest, card: Loaded) -> tuple[Span, ...]:
    """The order that llama-server's `/infill` uses too: front, rest, gap."""
    assert isinstance(request.raw_prompt, str)
    if card.infill is None:
        raise CapabilityMissing(
            f"The model {request.model} was not trained to fill a gap in a text. Leave out suffix, or use a model that "
            "was, for example one made for code.",
            param="suffix",
        )
    marks, text, rest = card.infill, Span(request.raw_prompt, literal=True), Span(request.suffix, literal=True)
    return (Span(marks.front), text, Span(marks.behind), rest, Span(marks.gap))


def _turns(messages: tuple[Message, ...]) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            message.role,
            tuple(part for part in message.parts if isinstance(part, TextPart)),
            message.thought,
            message.calls,
            message.call_id,
            message.tool,
        )
        for message in messages
    )
