"""Grammars, followed beside the decoding: a thread works out which tokens may come next while the model computes.

    draw ─▶ follow(token) ─▶ thread: advance the grammar, compute the mask ─▶ is_ready ─▶ restrict(logits) ─▶ draw

llguidance does the work and lets go of the interpreter meanwhile, so nobody else waits. Each answer has a thread of its
own: a grammar that is slow or hostile holds up itself only, and after five seconds it ends with an error. A computation
cannot be interrupted; one that nobody waits for any more is given the lowest priority and ends when it ends.

Where tokens were drafted, the thread looks along them before they are drawn: each that comes as foreseen finds its mask
there. It does so on a copy, so that a guess that was wrong leaves no trace.

llguidance and numpy are loaded at the first use, and the vocabulary is prepared then (a second per 100,000 tokens).
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from edged.sampling import Constraint
from edged.worker.bindings import lib
from edged.worker.call_grammar import to_lark as calls_to_lark
from edged.worker.context import Logits
from edged.worker.followable import modern, relaxed
from edged.worker.gbnf import to_lark
from edged.worker.job import CannotDraw
from edged.worker.model import Model
from edged.worker.schema import MOST_COMBINED_PATTERNS, check

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# What one mask, or reading the grammar, may take. llguidance's own masks take 0.05-1.5 ms (its README).
PATIENCE_S = 5.0
# Computations that go on though nobody waits for them: mostly for a millisecond, of hostile grammars for minutes. At
# the lowest priority they leave the processors to the decoding, but each may hold memory.
_MOST_LEFT = 4
# Less than llguidance's own 250,000: a state takes 1-2 kB (llguidance, ParserLimits), and 64 KiB of text need few.
_LEXER_STATES = 20_000
# White space between JSON's tokens as llama.cpp's own schemas allow it (`SPACE_RULE` in json-schema-to-grammar.cpp):
# one space, or a line break or two and an indentation. Small models otherwise go on with blank lines for ever.
_WHITE_SPACE = r" |\n{1,2}[ \t]{0,20}"
# A schema's own options for llguidance: patterns that would stand between all values, counted by nobody.
_OWN_OPTIONS = "x-guidance"
_SPECIAL = b"\xff"  # in front of a token that is no text (toktrie's SPECIAL_TOKEN_MARKER)
_LONGEST_COMPLAINT = 300
_LOWEST_PRIORITY = 19


class Grammars:
    """One model's vocabulary as grammars see it, and the guards that follow them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._left: list[Guard] = []

    @property
    def controls(self) -> dict[str, int]:
        """Control tokens by their text."""
        return {text: control.id for text, control in self._model.controls.items()}

    def guard(self, wanted: Constraint) -> Guard:
        """Start to follow a grammar. Raises `CannotDraw` while too much work is left of others."""
        self._left = [guard for guard in self._left if guard.is_working]
        if len(self._left) >= _MOST_LEFT:
            raise CannotDraw("Earlier grammars are still being worked on; try again later.", code="queue_full")
        return Guard(self, wanted)

    def wait(self, longest_s: float) -> None:
        """Return when a guard may have become ready, or after `longest_s`."""
        self._news.wait(longest_s)
        self._news.clear()

    def tell(self) -> None:
        """A guard has become ready."""
        self._news.set()

    def leave(self, guard: Guard) -> None:
        """Nobody waits for this one any more, and it is still computing."""
        self._left.append(guard)

    def tokenizer(self) -> LLTokenizer:
        """The vocabulary, prepared at the first call. Raises `CannotDraw` where it cannot be."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._model)
            return self._tokenizer


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A token to go on with; one that `is_foreseen` has its mask already."""

    token: int
    is_foreseen: bool


@dataclass(frozen=True, slots=True)
class _Drafted:
    """Tokens to look along, for as long as nothing else was drawn or drafted meanwhile (`guess` is still the last)."""

    tokens: tuple[int, ...]
    guess: int


class Guard:
    """Keeps one answer inside its grammar. The decoding thread calls it; a thread of its own computes."""

    def __init__(self, grammars: Grammars, wanted: Constraint) -> None:
        self._grammars = grammars
        self._wanted = wanted
        self._news: SimpleQueue[_Drawn | _Drafted | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ahead: deque[tuple[int, bytes]] = deque()  # foreseen tokens, each with the mask of what follows it
        self._guess = 0
        self._is_looking_ahead = False
        self._mask: bytes | None = None
        self._error: CannotDraw | None = None
        self._since_s: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether `restrict` can be called: the mask is there, or will not come."""
        return self._mask is not None or self._error is not None or self._is_overdue

    @property
    def is_working(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def restrict(self, logits: Logits) -> None:
        """Make every token impossible that may not come next. Raises `CannotDraw`."""
        import numpy as np

        if self._error is not None:
            raise self._error
        if self._mask is None:
            raise CannotDraw(f"It was not clear within {PATIENCE_S:.0f} s what the grammar allows; simplify it.")
        bits = np.unpackbits(np.frombuffer(self._mask, np.uint8), count=len(logits), bitorder="little")
        np.copyto(logits, -np.inf, where=bits == 0)

    def follow(self, token: int) -> None:
        """Go on with `token`; `is_ready` is false until it is clear what may come then."""
        with self._lock:
            is_foreseen = bool(self._ahead) and self._ahead[0][0] == token
            if is_foreseen:
                self._mask = self._ahead.popleft()[1]
            else:
                self._mask, self._since_s = None, monotonic()
                self._forget_ahead()
        self._news.put(_Drawn(token, is_foreseen))

    def foresee(self, tokens: Iterable[int]) -> None:
        """These may be drawn next, in this order: their masks may as well be computed meanwhile."""
        with self._lock:
            self._forget_ahead()
            self._news.put(_Drafted(tuple(tokens), self._guess))

    def _forget_ahead(self) -> None:
        self._ahead.clear()
        self._guess += 1

    def close(self) -> None:
        """Stop following; a computation under way is left to end by itself."""
        with self._lock:
            self._forget_ahead()
        self._news.put(None)
        if (self._mask is None or self._is_looking_ahead) and self.is_working:
            self._grammars.leave(self)
            with suppress(ProcessLookupError):  # it has just ended
                # To Linux a thread has a process id of its own (setpriority(2), "C library/kernel differences").
                os.setpriority(os.PRIO_PROCESS, self._thread.native_id or 0, _LOWEST_PRIORITY)

    @property
    def _is_overdue(self) -> bool:
        if self._mask is not None:
            return False
        since_s = self._since_s
        return not self.is_working or (since_s is not None and monotonic() - since_s > PATIENCE_S)

    def _run(self) -> None:
        try:
            tokenizer = self._grammars.tokenizer()
            self._since_s = monotonic()
            self._follow(_matcher(tokenizer, self._wanted, self._grammars.controls))
        except CannotDraw as error:
            self._error = error
        finally:
            self._grammars.tell()

    def _follow(self, matcher: LLMatcher) -> None:
        is_foreseen = False
        while True:
            if not is_foreseen:
                mask = matcher.compute_bitmask()
                _check(matcher)
                self._mask = mask
                self._grammars.tell()
            while isinstance(news := self._news.get(), _Drafted):
                self._look_along(matcher, news)
            if news is None:
                return
            matcher.consume_token(news.token)
            _check(matcher)
            is_foreseen = news.is_foreseen

    def _look_along(self, matcher: LLMatcher, drafted: _Drafted) -> None:
        self._is_looking_ahead = True
        for foreseen in _foreseen(matcher, drafted.tokens):
            with self._lock:
                if self._guess != drafted.guess:
                    break
                self._ahead.append(foreseen)
        self._is_looking_ahead = False
        self._grammars.tell()


def _foreseen(matcher: LLMatcher, tokens: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
    """The tokens that the grammar allows one after another, each with the mask of what may follow it."""
    ahead = matcher.deep_copy()
    for token in tokens[: ahead.validate_tokens(list(tokens))]:
        if not ahead.consume_token(token) or ahead.is_stopped():
            return
        mask = ahead.compute_bitmask()
        if ahead.is_error():
            return
        yield token, mask


def _tokenizer(model: Model) -> LLTokenizer:
    from llguidance import LLTokenizer

    pieces = model.pieces()
    ends = [token for token in range(len(pieces)) if model.is_end(token)]
    for token in {*ends, *(token for token, piece in enumerate(pieces) if not piece)}:
        pieces[token] = _SPECIAL + model.control_text(token)
    if not ends:
        raise CannotDraw(
            "This model has no end token: an answer inside a grammar could never end.", code="capability_missing"
        )
    function = ctypes.cast(lib.llama_tokenize, ctypes.c_void_p).value
    build: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]  # as llguidance.llamacpp does it
    try:
        tokenizer: LLTokenizer = build(
            tokens=pieces, vocab_ptr=model.vocabulary_address, tokenize_fptr=function, eos_token=ends
        )
    except ValueError as error:
        raise CannotDraw(
            f"This model's vocabulary cannot be constrained: {error}.", code="capability_missing"
        ) from error
    return tokenizer


def _matcher(tokenizer: LLTokenizer, wanted: Constraint, controls: Mapping[str, int]) -> LLMatcher:
    from llguidance import LLMatcher, LLParserLimits

    try:
        grammar = _grammar(wanted, controls)
    except (ValueError, RecursionError) as error:
        raise CannotDraw(_complaint(str(error))) from error
    limits = LLParserLimits(max_lexer_states=_LEXER_STATES, verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    _check(matcher)
    return matcher


def _grammar(wanted: Constraint, controls: Mapping[str, int]) -> str:
    from llguidance import LLMatcher

    match wanted.kind:
        case "json_schema":
            return _json_grammar(wanted)
        case "regex":
            return LLMatcher.grammar_from_regex(wanted.text)
        case "gbnf":
            return LLMatcher.grammar_from_lark(to_lark(wanted.text))
        case "lark":
            return LLMatcher.grammar_from_lark(_simple(wanted.text))
        case "calls":
            return LLMatcher.grammar_from_lark(calls_to_lark(wanted.text, controls, _WHITE_SPACE, _takes))


def _json_grammar(wanted: Constraint) -> str:
    from llguidance import LLMatcher

    schema = json.loads(wanted.text)
    if isinstance(schema, dict) and _OWN_OPTIONS in schema:
        raise ValueError(f"{_OWN_OPTIONS} is not taken; white space and separators are given")
    check(schema)
    schema = relaxed(modern(schema), _takes) if wanted.is_lenient else modern(schema)
    options: Any = {"whitespace_pattern": _WHITE_SPACE, "lenient": wanted.is_lenient}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema, ensure_ascii=False), options)


def _takes(schema: dict[str, Any]) -> bool:
    """Whether llguidance can follow this schema; it only reads it, and counts nothing."""
    from llguidance import LLMatcher

    return not LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema)))


def _simple(lark: str) -> str:
    """`lark`, unless it holds what can intersect any number of patterns (see `worker/schema.py`)."""
    if "%json" in lark:
        raise ValueError("%json is not taken inside a grammar; send the schema as json_schema")
    if lark.count("&") > MOST_COMBINED_PATTERNS:
        raise ValueError(f"the grammar holds more than {MOST_COMBINED_PATTERNS} '&'")
    return lark


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise CannotDraw(_complaint(matcher.get_error()))


def _complaint(reason: str) -> str:
    reason = reason.replace("<non-verbose/>", "").strip()
    if reason.startswith("NoExtension"):
        reason = "nothing can follow that it describes"
    if len(reason) > _LONGEST_COMPLAINT:
        reason = reason[:_LONGEST_COMPLAINT] + "…"
    return f"The grammar cannot be used: {reason}."
