"""Continuous batching: every step advances all running sequences in one decode.

    submit ─▶ waiting ─▶ running ─▶ finished      what it leaves in memory is a cached prefix (`memory.py`)
                 ▲          │
                 └── pause ─┘      the youngest gives way when the others cannot grow, the background's first

A step is: admit, clear the way, build the batch, decode, sample, collect. The context is one pool of cells that all
sequences and cached prefixes share. A paused sequence keeps its tokens and its sampler; what others needed of its cells
is computed again later, so its text does not change.

No llama_cpp, no sockets, no clock: the arithmetic is tested without a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from edged.wire import Output
from edged.worker.memory import Memory, Slots
from edged.worker.prefixes import Match, Prefix, common
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


class Engine(Slots, Protocol):
    """The model's memory, reduced to what batching needs. It has at least one slot more than `sequences`."""

    @property
    def sequences(self) -> int:
        """Sequences that may run at once."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Most rows that one decode takes."""
        ...

    def decode(self, rows: Items[Row]) -> None:
        """Compute a batch. Raises `MemoryFull`."""
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
    is_admitted: bool = False


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


def gives_way(sequence: Sequence) -> tuple[bool, int]:
    """Whoever has the largest is paused first: the youngest in the background, then the youngest of all."""
    return sequence.lane == "background", sequence.id


class Batcher:
    """Owns every sequence from submission to its last output.

    `admitted` hears of each when it begins to run for the first time, and how many tokens of its prompt it did not have
    to compute.
    """

    def __init__(
        self, engine: Engine, vocabulary: Vocabulary, admitted: Callable[[Sequence, int], None] = lambda *_: None
    ) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._admitted = admitted
        self.memory = Memory(engine)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []

    @property
    def is_idle(self) -> bool:
        """Nothing to do until the next submission."""
        return not self._waiting and not self._running

    @property
    def has_decoding(self) -> bool:
        """Somebody is being shown words, and would notice a long step."""
        return any(job.sequence.is_decoding for job in self._running)

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
        self._clear_the_way(prefill_tokens)
        while not (chunks := self._chunks(prefill_tokens)):
            self._pause_one()
            self._clear_the_way(prefill_tokens)
        try:
            self._engine.decode(_rows(chunks))
        except MemoryFull:
            if not self.memory.drop_one():
                self._pause_one()
            return self._collect(self._running), 0
        read = sum(count for job, count in chunks if not job.sequence.is_decoding)
        self._advance(chunks)
        return self._collect(self._running), read

    def _admit(self) -> None:
        """Let in whoever fits, in order; one whose prompt somebody else is just reading comes when that is read."""
        for job in list(self._waiting):
            sequence = job.sequence
            match = self.memory.match(sequence.tokens, sequence.partition)
            if self._is_being_read(sequence, match.count):
                continue
            if len(self._running) == self._engine.sequences or not self._fits(sequence, match):
                return
            self._waiting.remove(job)
            self._running.append(job)
            sequence.place = self.memory.enter(sequence.tokens, sequence.partition, match)
            if not job.is_admitted:
                job.is_admitted = True
                self._admitted(sequence, match.count)

    def _is_being_read(self, newcomer: Sequence, offered: int) -> bool:
        """Whether a running prompt begins like the newcomer's for longer than anybody offers yet."""
        return any(
            common(leader.tokens, newcomer.tokens, min(leader.prompt_tokens, len(newcomer.tokens) - 1)) > offered
            for leader in (job.sequence for job in self._running)
            if leader.in_memory < leader.prompt_tokens and leader.partition in (None, newcomer.partition)
        )

    def _fits(self, newcomer: Sequence, match: Match) -> bool:
        if not self._running:
            return True
        held = self.memory.held_with(match, self._places())
        promised = sum(job.sequence.pending + GROWTH_RESERVE_TOKENS for job in self._running)
        return held + promised + len(newcomer.tokens) - match.count < self._engine.context_tokens

    def _places(self) -> list[Prefix]:
        return [job.sequence.place for job in self._running if job.sequence.place]

    def _clear_the_way(self, prefill_tokens: int) -> None:
        """Let cached prefixes go for the sake of this step; the owner's only before somebody would be paused."""
        decoding = sum(job.sequence.is_decoding for job in self._running)
        pending = sum(job.sequence.pending for job in self._running if not job.sequence.is_decoding)
        reading = min(pending, prefill_tokens, self._engine.batch_tokens - decoding)
        self.memory.free_up(decoding + reading)
        self.memory.free_up(max(decoding + min(reading, 1), 1), pinned=True)

    def _chunks(self, prefill_tokens: int) -> Chunks:
        """Who gets how many rows: one for each decoding sequence, the rest for prompts. Empty when cells run short.

        Never empty for a lone sequence: its prompt and its `max_tokens` together fit the context.
        """
        free = self.memory.free_cells
        decoding = [job for job in self._running if job.sequence.is_decoding]
        reading = [job for job in self._running if not job.sequence.is_decoding]
        if len(decoding) > free:
            return []
        budget = min(prefill_tokens, self._engine.batch_tokens - len(decoding), free - len(decoding))
        counts = shares([job.sequence.pending for job in reading], budget)
        return [(job, 1) for job in decoding] + [
            (job, count) for job, count in zip(reading, counts, strict=True) if count
        ]

    def _pause_one(self) -> None:
        """Somebody gives way to the others; a lone one for which the engine has no cells is at its end."""
        job = max(self._running, key=lambda job: gives_way(job.sequence))
        if len(self._running) == 1:
            job.sequence.end("length")
        else:
            self._leave(job)
            self._waiting.appendleft(job)

    def _advance(self, chunks: Chunks) -> None:
        row = -1
        for job, count in chunks:
            row += count
            assert job.sequence.place is not None
            self.memory.grow(job.sequence.place, count)
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
        assert job.sequence.place is not None
        self._running.remove(job)
        self.memory.keep(job.sequence.place)
        job.sequence.place = None


def _rows(chunks: Chunks) -> list[Row]:
    rows = []
    for job, count in chunks:
        sequence = job.sequence
        assert sequence.place is not None
        first = sequence.in_memory
        for position in range(first, first + count):
            is_last = position + 1 == len(sequence.tokens)
            rows.append(Row(sequence.tokens[position], position, sequence.place.slot, is_last))
    return rows
