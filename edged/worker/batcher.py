"""Continuous batching: every step advances all running sequences in one decode.

    submit ─▶ waiting ─▶ running ─▶ finished
                 ▲           │
                 └─ preempt ─┘      the youngest gives up its cells when the others cannot grow

A step is: admit, make room, build the batch, decode, sample, collect. The context is one pool of cells that all
sequences share; a cell holds one token of one sequence. A preempted sequence keeps its tokens and its sampler and is
computed again later, so its text does not change.

No llama_cpp, no sockets, no clock: the arithmetic is tested without a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from edged.wire import Output
from edged.worker.sequence import Sequence

# A sequence is admitted beside others only if each running one can still grow by this much: otherwise the newcomer's
# prompt would be computed, thrown away a few tokens later, and computed again.
GROWTH_RESERVE_TOKENS = 128


class MemoryFull(Exception):
    """The engine found no cells for a batch; its memory is as it was before."""


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a batch: where it belongs, and whether a next token will be drawn from its output."""

    token: int
    position: int
    slot: int
    has_output: bool


class Sampler(Protocol):
    """Draws the next token of one sequence and remembers what it drew."""

    def draw(self, row: int) -> int:
        """The next token from the output of batch row `row`."""
        ...

    def close(self) -> None:
        """Release it; the sequence has ended."""
        ...


class Engine(Protocol):
    """The model's memory, reduced to what batching needs."""

    @property
    def context_tokens(self) -> int:
        """Cells in the pool."""
        ...

    @property
    def sequences(self) -> int:
        """Sequences that may hold cells at once."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Most rows that one decode takes."""
        ...

    def decode(self, rows: Items[Row]) -> None:
        """Compute a batch. Raises `MemoryFull`."""
        ...

    def release(self, slot: int) -> None:
        """Drop every cell of a sequence."""
        ...


class Vocabulary(Protocol):
    """What tokens mean, reduced to what an answer needs."""

    def piece(self, token: int) -> bytes:
        """The token's bytes; empty for control tokens."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        ...


@dataclass(slots=True)
class Job:
    """A sequence and the sampler that draws for it."""

    sequence: Sequence
    sampler: Sampler


Chunks: TypeAlias = list[tuple[Job, int]]


def shares(pending: Items[int], budget: int) -> list[int]:
    """Divide `budget` prompt tokens among prompts with `pending` tokens each: equal shares, leftovers to the longer.

    A short prompt is through in one step even beside a long one, and the long one always moves. The shares sum to
    min(budget, sum(pending)).
    """
    given = [0] * len(pending)
    order = sorted(range(len(pending)), key=lambda index: pending[index])
    for served, index in enumerate(order):
        given[index] = min(pending[index], budget // (len(order) - served))
        budget -= given[index]
    return given


class Batcher:
    """Owns every sequence from submission to its last output."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._free_slots = list(range(engine.sequences))

    @property
    def is_idle(self) -> bool:
        """Nothing to do until the next submission."""
        return not self._waiting and not self._running

    @property
    def decoding(self) -> int:
        """How many are being shown words, and would notice a long step."""
        return sum(job.sequence.is_decoding for job in self._running)

    @property
    def is_reading(self) -> bool:
        """Somebody's prompt is not in memory yet."""
        return bool(self._waiting) or self.decoding < len(self._running)

    @property
    def depth_tokens(self) -> int:
        """How far the deepest of the prompts that are being read stands; 0 while none is."""
        return max((job.sequence.in_memory for job in self._running if not job.sequence.is_decoding), default=0)

    def submit(self, job: Job) -> None:
        """Queue a sequence whose prompt fits the context. It ends with exactly one output that carries `finish`."""
        self._waiting.append(job)

    def cancel(self, id: int) -> None:
        """Drop a sequence without a further output. Unknown ids have already ended."""
        for job in [*self._running, *self._waiting]:
            if job.sequence.id == id:
                self._retire(job)

    def step(self, prefill_tokens: int) -> tuple[list[Output], int]:
        """Advance everybody by one decode that reads at most `prefill_tokens` prompt tokens.

        Returns the outputs and how many prompt tokens were read.
        """
        self._admit()
        while not (chunks := self._chunks(prefill_tokens)):
            self._make_room()
        try:
            self._engine.decode(_rows(chunks))
        except MemoryFull:
            self._make_room()
            return self._collect(self._running), 0
        read = sum(count for job, count in chunks if not job.sequence.is_decoding)
        self._advance(chunks)
        return self._collect(self._running), read

    def _admit(self) -> None:
        while self._waiting and self._free_slots and self._fits(self._waiting[0].sequence):
            job = self._waiting.popleft()
            job.sequence.slot = self._free_slots.pop()
            self._running.append(job)

    def _fits(self, sequence: Sequence) -> bool:
        promised = sum(len(job.sequence.tokens) + GROWTH_RESERVE_TOKENS for job in self._running)
        return not self._running or promised + len(sequence.tokens) < self._engine.context_tokens

    def _chunks(self, prefill_tokens: int) -> Chunks:
        """Who gets how many rows: one for each decoding sequence, the rest for prompts. Empty when cells run short.

        Never empty for a lone sequence: its prompt and its `max_tokens` together fit the context.
        """
        free = self._engine.context_tokens - sum(job.sequence.in_memory for job in self._running)
        decoding = [job for job in self._running if job.sequence.is_decoding]
        reading = [job for job in self._running if not job.sequence.is_decoding]
        if len(decoding) > free:
            return []
        if not decoding:
            prefill_tokens = max(prefill_tokens, 1)  # the step that was to decode only has nothing to decode any more
        budget = min(prefill_tokens, self._engine.batch_tokens - len(decoding), free - len(decoding))
        counts = shares([job.sequence.pending for job in reading], budget)
        return [(job, 1) for job in decoding] + [
            (job, count) for job, count in zip(reading, counts, strict=True) if count
        ]

    def _make_room(self) -> None:
        """Take the cells from the youngest sequence; a lone one for which the engine has none is at its end."""
        youngest = max(self._running, key=lambda job: job.sequence.id)
        if len(self._running) == 1:
            youngest.sequence.end("length")
        else:
            self._leave(youngest)
            self._waiting.appendleft(youngest)

    def _advance(self, chunks: Chunks) -> None:
        row = -1
        for job, count in chunks:
            row += count
            job.sequence.in_memory += count
            if job.sequence.pending == 0:
                token = job.sampler.draw(row)
                job.sequence.accept(token, self._vocabulary.piece(token), is_end=self._vocabulary.is_end(token))

    def _collect(self, jobs: Iterable[Job]) -> list[Output]:
        outputs = []
        for job in list(jobs):
            sequence = job.sequence
            if sequence.said or sequence.finish:
                text, tokens = sequence.take_said()
                outputs.append(Output(sequence.id, text, tokens, sequence.finish, sequence.generated))
            if sequence.finish:
                self._retire(job)
        return outputs

    def _retire(self, job: Job) -> None:
        if job in self._running:
            self._leave(job)
        else:
            self._waiting.remove(job)
        job.sampler.close()

    def _leave(self, job: Job) -> None:
        assert job.sequence.slot is not None
        self._running.remove(job)
        self._engine.release(job.sequence.slot)
        self._free_slots.append(job.sequence.slot)
        job.sequence.forget()


def _rows(chunks: Chunks) -> list[Row]:
    rows = []
    for job, count in chunks:
        sequence = job.sequence
        assert sequence.slot is not None
        first = sequence.in_memory
        for position in range(first, first + count):
            is_last = position + 1 == len(sequence.tokens)
            rows.append(Row(sequence.tokens[position], position, sequence.slot, is_last))
    return rows
