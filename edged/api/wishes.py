"""How a request wishes to be treated, beyond what it asks: its lane, its patience, and what to do when it is too long.

A header says it for every dialect and wins over the dialect's own field. Without either, two kinds of request that chat
programs send on their own are recognised, because nobody waits for them: titles and summaries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast, get_args

from edged.chat import ChatRequest, Lane, Message, Overflow
from edged.errors import InvalidRequest

LANE = "X-Edged-Lane"
OVERFLOW = "X-Edged-Overflow"
DEADLINE = "X-Edged-Deadline-Ms"
# An hour, as [limits] first_token_s; longer than any client keeps a silent connection.
_LONGEST_DEADLINE_MS = 3_600_000
# What NextChat asks for a title with (`Store.Prompt.Topic` in its app/locales/en.ts and cn.ts): a title, of a
# conversation, without punctuation; in Chinese a topic without punctuation. All of it must be there. Its further
# languages are not recognised and stay interactive.
_TITLE = re.compile(
    r"(?is)(?=.*\b(?:title|topic)\b)(?=.*\b(?:conversation|chat|discussion|dialogue)\b)(?=.*\bpunctuation\b)"
    r"|(?=.*(?:主题|标题))(?=.*标点)"
)
_LONGEST_TITLE_REQUEST = 500  # characters; the English one has 204


def apply(headers: Mapping[str, str], request: ChatRequest) -> ChatRequest:
    """`request` as its headers want it treated. Raises `InvalidRequest` where a value is none of the known."""
    return replace(
        request,
        lane=cast("Lane", _one_of(headers, LANE, get_args(Lane), request.lane)),
        overflow=cast("Overflow", _one_of(headers, OVERFLOW, get_args(Overflow), request.overflow)),
        deadline_s=_seconds(headers, request.deadline_s),
    )


def is_housekeeping(messages: Sequence[Message], is_streamed: bool) -> bool:
    """Whether a chat program asks for itself: for the title or the summary of a conversation.

    A summary is asked for by a system message behind a conversation that has both sides; whoever waits for an answer
    has the last word as a user. A title is asked for at once, not streamed, in so many words. When in doubt it is a
    person: a wrong "no" costs others a little time, a wrong "yes" makes a person wait behind everybody.
    """
    if len(messages) < 2 or not {"user", "assistant"} <= {message.role for message in messages[:-1]}:
        return False
    last = messages[-1]
    if last.role == "system":
        return True
    return not is_streamed and len(last.text) <= _LONGEST_TITLE_REQUEST and _TITLE.match(last.text) is not None


def _one_of(headers: Mapping[str, str], name: str, known: Sequence[str], default: str) -> str:
    value = headers.get(name, default)
    if value not in known:
        raise InvalidRequest(f"{name} is {value[:80]!r}; it may be {' or '.join(known)}.", param=name)
    return value


def _seconds(headers: Mapping[str, str], default: float | None) -> float | None:
    value = headers.get(DEADLINE)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= _LONGEST_DEADLINE_MS:
        raise InvalidRequest(
            f"{DEADLINE} is {value[:80]!r}; it is a whole number of milliseconds, from 1 to {_LONGEST_DEADLINE_MS}.",
            param=DEADLINE,
        )
    return int(value) / 1000
