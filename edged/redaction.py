"""Texts as they may be shown: without what is a secret, or looks like one.

Two nets, one behind the other. What was made a `Secret` is left out wherever it turns up, because a server that is
asked with a token may repeat it in its refusal. And what looks like a proof of somebody's identity is left out although
nobody here has made it a `Secret`: keys, device tokens and sessions of ours, and what usually stands in URLs and
headers. Each expression reads a text once, whatever is in it (`tests/attacks/test_expressions.py`).
"""

from __future__ import annotations

import logging
import re
import sys
from types import TracebackType
from typing import TypeAlias
from urllib.parse import quote

from edged import secret
from edged.plain import MOST_LINE_CHARACTERS, lines, plain
from edged.secret import SHOWN

_Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

log = logging.getLogger(__name__)

# Shorter ones would take ordinary words out of ordinary sentences.
_LEAST_CHARACTERS = 8
# edk_ID_SECRET and its like, whole, cut off or mistyped. The id is none, and tells an owner whose it is.
_OURS = re.compile(r"\b(ed[kts]_)(?:([0-9a-f]{16})(_[\w-]*)?(?![\w-])|[\w-]+)", re.ASCII)
_COOKIE = re.compile(r"(\bedged_session=)[^\s;,\"']+")
_BEARER = re.compile(r"(\bbearer[ +])[\w.~+/=-]{8,}", re.ASCII | re.IGNORECASE)
_HEADER = re.compile(
    r"(\b(?:authorization|(?:x-)?api-key)[\"']?[:=] ?[\"']?(?:basic )?)[\w.~+/=-]{8,}", re.ASCII | re.IGNORECASE
)
# A path that is its own proof: of a request, or behind a host.
_PATH = re.compile(r"((?:\A|[\s\"'(=`]|://[^\s/\"'<>]{1,255})/k/)[^\s/?#\"'`)]+")
_QUERY = re.compile(
    r"([?&](?:key|token|secret|password|auth|api[-_]?key|access[-_]?token|sig|signature|x-amz-[\w-]{1,40})=)[^&#\s\"'`]+",
    re.ASCII | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """`text` with `<secret>` in the place of each."""
    for one in secret.known():
        value = one.reveal()
        if len(value) >= _LEAST_CHARACTERS:
            text = text.replace(value, SHOWN).replace(quote(value, safe=""), SHOWN)
    text = _OURS.sub(_without_tail, text)
    for expression in (_COOKIE, _BEARER, _HEADER, _PATH, _QUERY):
        text = expression.sub(rf"\1{SHOWN}", text)
    return text


class LogFormatter(logging.Formatter):
    """A log without secrets, in which every record is one line, but for the stack of an error.

    What a filter would see is not yet what will stand there. Secrets go first: one that is cut off is not recognised.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        return plain(redacted(super().formatMessage(record)), MOST_LINE_CHARACTERS)

    def formatException(self, ei: _Raised) -> str:
        """The stack."""
        return lines(redacted(super().formatException(ei)))


def start_logging(level: int) -> None:
    """From now on all from `level` on, and what ends the process, goes to standard error, without secrets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = _log_the_end


def _without_tail(found: re.Match[str]) -> str:
    kind, id, tail = found.groups()
    return found[0] if id and tail in (None, "_") else f"{kind}{f'{id}_' if id else ''}{SHOWN}"


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by a defect", exc_info=(kind, error, trace))
