"""When a worker makes vectors: between the steps of its chats, in portions that a running stream hardly notices.

    chats' step ─▶ portion of vectors ─▶ chats' step ─▶ …

Prompts of chats have precedence: after a step that read some, no vectors are made. But not for ever: after
`MOST_PASSED_OVER` such steps the next one reads few prompt tokens, and the rest of its time belongs to vectors.
A model that was made for vectors has no chats, and is served by `serve`.
"""

from __future__ import annotations

from time import perf_counter

from edged.shares import SMALLEST_CHUNK_TOKENS
from edged.wire import Cancel, Embed, Rank, Step, Threads
from edged.worker.embedding import Embedder
from edged.worker.pace import LONGEST_GAP_STEPS, LONGEST_STEP_S
from edged.worker.pipe import Pipe
from edged.worker.vectors import VectorContext

# One step in nine: under a constant stream of long prompts vectors still get about a tenth of the time.
MOST_PASSED_OVER = 8
# The context costs 23 ms to make (0.5B, x86-64), a tenth of a short text's time on the same machine, and tens of
# megabytes to keep. Somebody who sends texts one by one does not pause for a minute; a board has better use for memory.
_KEPT_S = 60.0
# More than any engine reads at once; `Embedder` cuts to what its own takes.
_MOST_TOKENS = 512
_NEWEST_WEIGHT = 0.3


class Allowance:
    """How many tokens a portion may read, judged by those before it."""

    def __init__(self, longest_gap_steps: float = LONGEST_GAP_STEPS) -> None:
        self._portion_steps = longest_gap_steps - 1  # the chats' own step is part of the gap
        self._token_s: float | None = None
        self._chat_step_s: float | None = None

    def observe_chat(self, step_s: float) -> None:
        """A step in which chats only generated took this long."""
        self._chat_step_s = _blend(self._chat_step_s, step_s)

    def observe(self, tokens: int, portion_s: float) -> None:
        """A portion of so many tokens took this long."""
        self._token_s = _blend(self._token_s, portion_s / tokens)

    def tokens(self, *, has_decoding: bool) -> int:
        """For the next portion, at least `SMALLEST_CHUNK_TOKENS`: what keeps the bounds of `worker/pace.py`."""
        if self._token_s is None or (has_decoding and self._chat_step_s is None):
            return SMALLEST_CHUNK_TOKENS
        target_s = LONGEST_STEP_S
        if has_decoding and self._chat_step_s is not None:
            target_s = min(target_s, self._portion_steps * self._chat_step_s)
        return min(max(int(target_s / self._token_s), SMALLEST_CHUNK_TOKENS), _MOST_TOKENS)


class Background:
    """The texts that wait for vectors, and their turns."""

    def __init__(self, pipe: Pipe, engine: VectorContext, longest_gap_steps: float = LONGEST_GAP_STEPS) -> None:
        self._pipe = pipe
        self._engine = engine
        self._embedder = Embedder(engine)
        self._allowance = Allowance(longest_gap_steps)
        self._passed_over = 0
        self._threads = 0  # what the engine began with

    @property
    def is_idle(self) -> bool:
        """No text waits."""
        return self._embedder.is_idle

    @property
    def is_due(self) -> bool:
        """Passed over so often that the next step of the chats must be short."""
        return not self.is_idle and self._passed_over >= MOST_PASSED_OVER

    def tokens_of(self, wanted: Embed | Rank) -> list[int]:
        """The ids of a text or of a pair."""
        return self._engine.tokens_of(wanted)

    def submit(self, wanted: Embed | Rank, tokens: list[int] | None = None) -> None:
        """Queue a text, or refuse it at once; `tokens` are its ids where they are known already."""
        if refusal := self._embedder.submit(wanted, tokens):
            self._pipe.send(refusal)

    def use_threads(self, count: int) -> None:
        """Take at most so many from the next portion on, and at least one."""
        self._threads = max(1, count)
        self._engine.use_threads(self._threads)

    def cancel(self, id: int) -> None:
        """Drop a text. Unknown ids have already ended."""
        self._embedder.cancel(id)

    def rest(self) -> None:
        """Nothing is to be done: return when there is news, and give the memory back if that takes long."""
        if self._engine.prepared_tokens and not self._pipe.has_news(_KEPT_S):
            self._embedder.close()

    def follow(self, prompt_tokens: int, step_s: float, *, has_decoding: bool, is_plain: bool = True) -> None:
        """Take the turn after a step of the chats that read so many prompt tokens, if it is one.

        A step is plain if nobody got more of it than one token.
        """
        if prompt_tokens == 0 and is_plain:
            self._allowance.observe_chat(step_s)
        if self.is_idle:
            self._passed_over = 0
        elif prompt_tokens > SMALLEST_CHUNK_TOKENS and self._passed_over < MOST_PASSED_OVER:
            self._passed_over += 1
        else:
            self.step(has_decoding=has_decoding)

    def step(self, *, has_decoding: bool) -> None:
        """Read a portion and tell what came of it."""
        self._passed_over = 0
        began, decode_s = perf_counter(), self._engine.decode_s
        answers, tokens = self._embedder.step(self._allowance.tokens(has_decoding=has_decoding))
        for answer in answers:
            self._pipe.send(answer)
        step_s = perf_counter() - began
        if tokens:
            self._allowance.observe(tokens, step_s)
        self._pipe.send(
            Step((), tokens, round(step_s, 6), round(self._engine.decode_s - decode_s, 6), 0.0, threads=self._threads)
        )

    def serve(self) -> None:
        """For a model without chats: make vectors until the daemon hangs up (`EOFError`)."""
        while True:
            if self.is_idle:
                self.rest()
            for frame in self._pipe.receive(wait=self.is_idle):
                match frame:
                    case Embed() | Rank():
                        self.submit(frame)
                    case Cancel(id):
                        self.cancel(id)
                    case Threads(count):
                        self.use_threads(count)
                    case _:
                        raise ValueError(f"a worker for vectors does not take {type(frame).__name__}")
            if not self.is_idle:
                self.step(has_decoding=False)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST_WEIGHT * (new - old)
