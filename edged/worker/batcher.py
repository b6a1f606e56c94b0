"""Continuous batching: every step advances all running sequences in one decode.

    submit ─▶ waiting ─▶ running ─▶ finished      what it leaves in memory is a cached prefix (`memory.py`)
                 ▲          │
                 └── pause ─┘      the youngest gives way when the others cannot grow, the background's first

A step is: admit, clear the way, build the batch, decode, sample, collect. The context is one pool of cells that all
sequences and cached prefixes share. A paused sequence keeps its tokens and its sampler; what others needed of its cells
is computed again later, so its text does not change.

A sequence whose sampler is not ready (a grammar's mask is still being computed) keeps its output and draws from it in a
later step; meanwhile it is in no batch, and delays nobody.

No llama_cpp, no sockets, no clock: the arithmetic is tested without a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from edged.shares import shares
from edged.wire import Failed, Output
from edged.worker.draft import Draft
from edged.worker.drafts import Drafts
from edged.worker.engine import DecodeFailed, Engine, MemoryFull
from edged.worker.job import CannotDraw, Chunks, Job, Sampler, Vocabulary, rows_of
from edged.worker.memory import Memory
from edged.worker.prefixes import Match, common
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.stored import StoredPrefixes

# A sequence is admitted beside others only if each running one can still grow by this much: otherwise the newcomer's
# prompt would be computed, thrown away a few tokens later, and computed again.
GROWTH_RESERVE_TOKENS = 128
# Steps in a row that may fail before the engine is given up: one to try again, one to begin anew.
MOST_FAILURES = 2


class Batcher:
    """Owns every sequence from submission to its last output.

    `admitted` hears of each when it begins to run for the first time, and how many tokens of its prompt it did not have
    to compute. With `drafts`, steps that only decode may check guesses; `draft` is then what the last one did.
    `read_again` says how many of the `known` tokens somebody who is alone had better read again before `pending` more.
    """

    def __init__(
        self,
        engine: Engine,
        vocabulary: Vocabulary,
        admitted: Callable[[Sequence, int], None] = lambda *_: None,
        snapshot_bytes: int = 0,
        stored: StoredPrefixes | None = None,
        drafts: Drafts | None = None,
        read_again: Callable[[int, int], int] = lambda pending, known: 0,
    ) -> None:
        self._engine = engine
        self._read_again = read_again
        self._drafts = drafts
        self.draft: Draft | None = None
        self._vocabulary = vocabulary
        self._admitted = admitted
        self.memory = Memory(engine, snapshot_bytes, stored)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._failed: list[Failed] = []
        self._pinned: list[list[int]] = []
        self._failures = 0
        # Fewer after the engine had no cells although the books had: until somebody ends, more would not fit either.
        self._most_running = engine.sequences

    @property
    def is_idle(self) -> bool:
        """Nothing to do until the next submission."""
        return not self._waiting and not self._running and self._unread() is None

    @property
    def is_stalled(self) -> bool:
        """Something runs, but all of it waits for samplers: there is nothing to decode."""
        return bool(self._running) and all(job.sequence.pending == 0 for job in self._running)

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

    def pin(self, tokens: list[int]) -> bool:
        """Keep a prefix of the owner's in memory for everybody; it is read while nobody asks for anything.

        False where it is refused: all of them together may take half of the cells, the rest is for conversations.
        """
        if 2 * sum(map(len, [*self._pinned, tokens])) > self._engine.context_tokens:
            return False
        self._pinned.append(tokens)
        return True

    def cancel(self, id: int) -> None:
        """Drop a sequence without a further output. Unknown ids have already ended."""
        for job in [*self._running, *self._waiting]:
            if job.sequence.id == id:
                self._retire(job)

    def step(self, prefill_tokens: int) -> tuple[list[Output], int]:
        """Advance everybody by one decode that reads at most `prefill_tokens` prompt tokens.

        Returns the outputs and how many prompt tokens were read.
        """
        self.draft = None
        self._admit()
        late = self._draw_late()
        if self.is_stalled:
            return late, 0
        self._clear_the_way(prefill_tokens)
        while self._running and not (chunks := self._chunks(prefill_tokens)):
            self._pause_one()
            self._clear_the_way(prefill_tokens)
        if not self._running:
            return late, 0
        try:
            self._decode(chunks)
        except MemoryFull:
            if not self.memory.evict_one():
                self._pause_one()
                self._most_running = max(1, len(self._asked()))
            return late + self._collect(self._running), 0
        except DecodeFailed:
            self._recover(chunks)
            return late, 0
        self._failures = 0
        read = sum(count for job, count in chunks if not job.sequence.is_decoding)
        self._advance(chunks)
        return late + self._collect(self._running), read

    def _decode(self, chunks: Chunks) -> None:
        """Compute the step, with drafted tokens where there is room for them: they are the first to give way."""
        if draft := self._drafted(chunks):
            assert draft.job.sampler is not None
            draft.job.sampler.foresee(draft.tokens)
            with suppress(MemoryFull):
                self._engine.decode(rows_of(chunks, draft))
                self.draft = draft
                return
            draft.account.lose(draft.made_steps, draft.job.sequence.generated)
        self._engine.decode(rows_of(chunks))

    def _drafted(self, chunks: Chunks) -> Draft | None:
        """Only while nobody's prompt is read: such a step is as long as it may be already, and measured."""
        if self._drafts is None or self.is_reading or not self._engine.is_cuttable:
            return None
        room = min(self.memory.free_cells, self._engine.batch_tokens) - len(chunks)
        return self._drafts.choose([job for job, _ in chunks], room)

    def take_failed(self) -> list[Failed]:
        """Sequences that ended since the last call because nothing could be drawn for them."""
        taken, self._failed = self._failed, []
        return taken

    def _admit(self) -> None:
        """Let in whoever fits, in order; one whose prompt somebody else is just reading comes when that is read."""
        if not self._waiting and not self._running and (unread := self._unread()):
            marks = (len(unread) - 1,)  # from there it is read again if only its state is left
            sequence = Sequence(-1, unread, len(unread), 1, StopFilter(()), None, marks=marks)
            self._run(Job(sequence, None), self.memory.match(unread, None))
        for job in list(self._waiting):
            if len(self._asked()) >= self._most_running:
                return
            sequence = job.sequence
            match = self.memory.match(sequence.tokens, sequence.partition)
            if self._is_being_read(sequence, match.count):
                continue
            if not self._fits(sequence, match):
                return
            self._waiting.remove(job)
            is_alone = not self._running and self._engine.is_cuttable
            again = self._read_again(len(sequence.tokens) - match.count, match.count) if is_alone else 0
            self._run(job, match, again)
            if not job.is_admitted:
                job.is_admitted = True
                self._admitted(sequence, sequence.in_memory)

    def _run(self, job: Job, match: Match, again: int = 0) -> None:
        sequence = job.sequence
        sequence.place = self.memory.enter(sequence.tokens, sequence.partition, match, sequence.marks, again=again)
        self._running.append(job)

    def _unread(self) -> list[int] | None:
        return next((tokens for tokens in self._pinned if not self.memory.has_pinned(tokens)), None)

    def _asked(self) -> list[Job]:
        """Those that run for somebody."""
        return [job for job in self._running if not job.is_owners]

    def _is_being_read(self, newcomer: Sequence, offered: int) -> bool:
        """Whether a running prompt will soon offer more of the newcomer's than anybody does yet."""
        for leader in (job.sequence for job in self._running):
            if leader.in_memory < leader.prompt_tokens and leader.partition in (None, newcomer.partition):
                shared = common(leader.tokens, newcomer.tokens, min(leader.prompt_tokens, len(newcomer.tokens) - 1))
                if leader.place and leader.place.will_offer(shared) > offered:
                    return True
        return False

    def _fits(self, newcomer: Sequence, match: Match) -> bool:
        running = [job.sequence for job in self._asked()]
        if not running:
            return True
        held = self.memory.held_with(match, [sequence.place for sequence in running if sequence.place])
        promised = sum(sequence.pending + GROWTH_RESERVE_TOKENS for sequence in running)
        return held + promised + len(newcomer.tokens) - match.count < self._engine.context_tokens

    def _clear_the_way(self, prefill_tokens: int) -> None:
        """Let cached prefixes go for the sake of this step; the owner's only before somebody would be paused."""
        decoding = sum(job.sequence.is_decoding for job in self._running)
        pending = sum(job.sequence.readable for job in self._running if not job.sequence.is_decoding)
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
        if not decoding:
            prefill_tokens = max(prefill_tokens, 1)  # the step that was to decode only has nothing to decode any more
        budget = min(prefill_tokens, self._engine.batch_tokens - len(decoding), free - len(decoding))
        counts = shares([job.sequence.readable for job in reading], budget)
        return [(job, 1) for job in decoding] + [
            (job, count) for job, count in zip(reading, counts, strict=True) if count
        ]

    def _pause_one(self) -> None:
        """Somebody gives way to the others; a lone one for which the engine has no cells is at its end."""
        job = max(self._running, key=lambda job: job.gives_way)
        if job.is_owners:
            self._leave(job)  # it is read when nobody asks for anything
            if not self._running:
                self._pinned.remove(job.sequence.tokens)  # not even then: the engine has no cells for it
        elif len(self._running) == 1:
            job.sequence.end("length")
        else:
            self._leave(job)
            self._waiting.appendleft(job)

    def _recover(self, chunks: Chunks) -> None:
        """A decode failed for no reason of ours: nobody hears of it unless it goes on failing.

        First the step is tried again, then everybody in it begins anew with cells that nothing is known to be wrong
        with; where that fails too, so does the engine.
        """
        self._failures += 1
        if self._failures > MOST_FAILURES:
            raise
        if self._failures == 1 and self._engine.is_cuttable:
            return  # llama.cpp took back what it had done
        for job, _ in reversed(chunks):
            assert job.sequence.place is not None
            self._running.remove(job)
            self.memory.drop(job.sequence.place)
            job.sequence.place = None
            if not job.is_owners:
                self._waiting.appendleft(job)

    def _advance(self, chunks: Chunks) -> None:
        row, rows = -1, sum(count for _, count in chunks)
        for job, count in chunks:
            row += count
            assert job.sequence.place is not None
            self.memory.grow(job.sequence.place, count)
            if job.sequence.pending > 0:
                continue
            if job.sampler is None:
                self._leave(job)
            elif self.draft and self.draft.job is job:
                self._draw_along(self.draft, job.sampler, [row, *range(rows, rows + len(self.draft.tokens))])
            elif job.sampler.is_ready:
                self._draw(job, row)
            else:
                job.sampler.keep(row)

    def _draw_along(self, draft: Draft, sampler: Sampler, rows: list[int]) -> None:
        """Draw at each drafted position in order for as long as what is drawn is what was drafted."""
        sequence, place = draft.job.sequence, draft.job.sequence.place
        assert place is not None
        for row in rows:
            if not sampler.is_ready:
                sampler.keep(row)
                break
            token = self._draw(draft.job, row)
            if token is None or row == rows[-1] or not draft.judge(token) or sequence.finish:
                break
            self.memory.grow(place, 1)
            draft.accepted += 1
        self.memory.trim(place)

    def _draw_late(self) -> list[Output]:
        ready = []
        for job in list(self._running):
            if job.sampler is not None and job.sequence.pending == 0 and job.sampler.is_ready:
                ready.append(job)
                self._draw(job, None)
        return self._collect([job for job in ready if job in self._running])

    def _draw(self, job: Job, row: int | None) -> int | None:
        """The token that was drawn; None where none could be, and the sequence has ended."""
        try:
            return job.draw(row, self._vocabulary)
        except CannotDraw as error:
            self._failed.append(Failed(job.sequence.id, error.code, str(error)))
            self._retire(job)
            return None

    def _collect(self, jobs: Iterable[Job]) -> list[Output]:
        outputs = []
        for job, sequence in [(job, job.sequence) for job in jobs]:
            if sequence.has_news:
                outputs.append(sequence.take_news())
            if sequence.finish:
                self._retire(job)
        return outputs

    def _retire(self, job: Job) -> None:
        if job in self._running:
            self._leave(job)
            self._most_running = self._engine.sequences
        else:
            self._waiting.remove(job)
        if job.sampler is not None:
            job.sampler.close()

    def _leave(self, job: Job) -> None:
        assert job.sequence.place is not None
        self._running.remove(job)
        self.memory.keep(job.sequence.place, pinned=job.is_owners and job.sequence.pending == 0)
        job.sequence.place = None
