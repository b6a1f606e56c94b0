"""One loop in one thread: read frames, advance everybody by one step, say what came of it.

While nothing runs, the loop tidies up, measures and writes, as long as nobody asks, and then sleeps in the read. Any
exception ends the process: the daemon notices, fails what it owed with a typed error, and starts another; a half-broken
engine must not go on answering.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from time import perf_counter

from edged.prefix_wire import Denied, Forget, Granted, Offer, PutAway
from edged.shares import SMALLEST_CHUNK_TOKENS
from edged.token_wire import Count, Counted, Detokenize, Detokenized, Tokenize, Tokenized
from edged.wire import (
    Accepted,
    Cancel,
    DrafterLost,
    Embed,
    Failed,
    Frame,
    Generate,
    Load,
    Output,
    Rank,
    Rejected,
    Share,
    Step,
    ThoughtMarks,
    Threads,
    Tuned,
)
from edged.worker.background import Background
from edged.worker.batcher import Batcher
from edged.worker.build import build_of
from edged.worker.constraint import Grammars
from edged.worker.context import Context
from edged.worker.draft import guesses_for
from edged.worker.drafter import Drafter
from edged.worker.drafts import Drafts
from edged.worker.dry import DryLinks
from edged.worker.job import CannotDraw, Job
from edged.worker.neighbours import Neighbours
from edged.worker.pace import Pace
from edged.worker.piecewise import Piecewise
from edged.worker.pipe import Pipe
from edged.worker.prefix_file import identity_of
from edged.worker.prefixes import common
from edged.worker.prompt import marks_of, tokens_of
from edged.worker.reading import Read, Readable, Reading, Tokens
from edged.worker.rehearsal import Rehearsal
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.stored import StoredPrefixes
from edged.worker.storing import Storing
from edged.worker.thinking import Thinking
from edged.worker.threads import Ceilings
from edged.worker.worth import QUIET_S

# How long to sleep at most while everybody waits for a thread: new requests and cancellations are seen then.
_THREAD_WAIT_S = 0.02


class Worker:
    """One loaded model, the sequences that run on it, and the vectors that are made between their steps."""

    def __init__(
        self, pipe: Pipe, context: Context, background: Background, wanted: Load, drafter: Drafter | None = None
    ) -> None:
        self._pipe = pipe
        self._context = context
        stored = StoredPrefixes(identity_of(wanted.model_key, build_of(context)), context.context_tokens, pipe.send)
        self._drafter, self._drafter_name, self._looks_up = drafter, wanted.drafter, wanted.lookup
        has_drafts = context.is_cuttable and (wanted.lookup or drafter)
        self._drafts = Drafts(drafter, wanted.longest_gap_steps) if has_drafts else None
        self._pace = Pace(wanted.longest_gap_steps)
        self._batcher = Batcher(
            context, context.model, self._begun, wanted.snapshot_bytes, stored, self._drafts, self._pace.read_again
        )
        self._storing = Storing(pipe, self._batcher.memory, wanted.prefix_bytes)
        self._rehearsal = Rehearsal(context, self._batcher.memory, context.model.vocabulary_tokens)
        self._grammars = Grammars(context.model)
        self._dry_links = DryLinks(context.model, context.context_tokens)
        self._background = background
        self._tokenizer = Piecewise(context.model, context.context_tokens)
        self._reading = Reading(self._tokens_of, self._grammars.tell)
        self._controls = frozenset(control.id for control in context.model.controls.values())
        self._unaccepted: set[int] = set()
        self._tuned = wanted.tuned
        self._calibrate(wanted.tuned)
        self._ceilings = Ceilings(wanted.threads, wanted.tuned.decode_threads)
        self._follows_neighbours = wanted.follow_neighbours
        self._neighbours = Neighbours()

    @property
    def _is_idle(self) -> bool:
        return self._computes_nothing and self._reading.is_idle

    @property
    def _computes_nothing(self) -> bool:
        return self._batcher.is_idle and self._background.is_idle

    def run(self) -> None:
        """Serve until the daemon hangs up (`EOFError`)."""
        while True:
            if self._is_idle:
                self._batcher.memory.clear_ahead(self._context.sequences)  # first: resting ends when somebody asks
                self._rehearse()
                self._storing.rest()
                self._background.rest()
            was_idle = self._is_idle
            for frame in self._pipe.receive(wait=was_idle):
                self._obey(frame)
            if was_idle and self._follows_neighbours:
                self._neighbours.begin()
            for read in self._reading.finished():
                self._take(read)
            if self._batcher.is_stalled or (self._computes_nothing and not self._reading.is_idle):
                self._grammars.wait(_THREAD_WAIT_S)
            if not self._batcher.is_idle:
                self._step()
            elif not self._background.is_idle:
                self._background.step(has_decoding=False)

    def _rehearse(self) -> None:
        """Find out what steps cost, if that is not known: once nobody has wanted anything for a while."""
        is_known = self._tuned.rows or self._rehearsal.is_over
        if is_known or not self._ceilings.is_free or self._storing.is_urgent or self._pipe.has_news(QUIET_S):
            return
        while not self._rehearsal.is_over and not self._pipe.has_news(0):
            self._context.use_threads(self._ceilings.now.now, self._ceilings.now.reading)
            self._rehearsal.step()
        self._rehearsal.rest()
        if found := self._rehearsal.found:
            self._calibrate(found)
            self._tell(replace(found, decode_threads=self._tuned.decode_threads))

    def _calibrate(self, tuned: Tuned) -> None:
        if tuned.rows:
            flat_s = dict(zip(tuned.rows, tuned.rows_s, strict=True))
            deep_s = dict(zip(tuned.rows, tuned.deep_rows_s, strict=False))
            self._pace.costs.calibrate(flat_s, deep_s, tuned.depth_tokens)
            if self._drafts:
                self._drafts.calibrate(flat_s)

    def _obey(self, frame: Frame) -> None:
        match frame:
            case Generate() | Count() | Embed() | Rank() | Tokenize():
                if read := self._reading.read(frame):
                    self._take(read)
            case Threads(count, siblings):
                self._ceilings.allow(count)
                self._background.use_threads(count)
                self._neighbours.ignore(siblings)
            case Share(one, other):
                self._share(tokens_of(one, self._context.model), tokens_of(other, self._context.model))
            case Offer() | Forget() | Granted() | Denied() | PutAway():
                self._storing.obey(frame)
            case Detokenize(id, tokens):
                self._pipe.send(Detokenized(id, b"".join(map(self._context.model.control_text, tokens))))
            case Cancel(id):
                self._unaccepted.discard(id)
                self._reading.cancel(id)
                self._batcher.cancel(id)
                self._background.cancel(id)
            case _:
                raise ValueError(f"a worker does not take {type(frame).__name__}")

    def _tokens_of(self, frame: Readable) -> Tokens:
        """Called beside the decoding too: changes nothing there."""
        match frame:
            case Generate():
                if frame.sampling.dry:
                    self._dry_links.prepare(frame.sampling.dry)
                expected = frame.prediction if self._drafts and self._looks_up else ""
                most_expected = self._context.context_tokens
                return [
                    list(frame.tokens) or tokens_of(frame.prompt, self._tokenizer),
                    self._context.model.tokenize(expected, parse_special=False)[:most_expected],
                ]
            case Count():
                return [tokens_of(prompt, self._tokenizer) for prompt in frame.prompts]
            case Tokenize():
                how = {"parse_special": frame.parses_special, "add_special": frame.adds_special}
                return [self._context.model.tokenize(frame.text, **how)]
            case Embed() | Rank():
                return [self._background.tokens_of(frame)]

    def _take(self, read: Read) -> None:
        match read.frame:
            case Generate():
                self._admit(read.frame, *read.tokens)
            case Count(id):
                self._pipe.send(Counted(id, tuple(map(len, read.tokens))))
            case Tokenize(id):
                (tokens,) = read.tokens
                pieces = map(self._context.model.control_text, tokens) if read.frame.with_pieces else ()
                self._pipe.send(Tokenized(id, tuple(tokens), tuple(pieces)))
            case Embed() | Rank():
                self._background.submit(read.frame, *read.tokens)

    def _admit(self, wanted: Generate, tokens: list[int], expected: list[int]) -> None:
        room = self._context.context_tokens - len(tokens)
        if room < 1 or not tokens:
            self._pipe.send(Rejected(wanted.id, len(tokens), self._context.context_tokens))
            return
        samplers: list[ChainSampler] = []
        try:
            for choice in range(wanted.n):
                samplers.append(self._sampler(wanted, choice, tokens))
        except CannotDraw as error:
            for sampler in samplers:
                sampler.close()
            self._pipe.send(Failed(wanted.id, error.code, str(error)))
            return
        most = min(room, wanted.max_tokens)
        if most == 0:  # legal for completions that only echo
            for sampler in samplers:
                sampler.close()
            ids = range(wanted.id, wanted.id + wanted.n)
            self._pipe.send(Accepted(wanted.id, len(tokens), 0))
            self._pipe.send(Step(tuple(Output(id, "", 0, "length") for id in ids), 0, 0.0, 0.0, 0.0))
            return
        self._unaccepted.add(wanted.id)
        marks = marks_of(tokens, self._controls)
        controls = self._context.model.controls
        shown = {controls[text].id: text.encode() for text in wanted.markers if text in controls}
        for id, sampler in enumerate(samplers, start=wanted.id):
            stops, own = StopFilter(wanted.stop), list(tokens)
            sequence = Sequence(id, own, len(own), most, stops, wanted.partition, wanted.lane, marks, shown)
            sequence.tells_progress = wanted.tells_progress
            sequence.thinking = self._thinking(wanted.thoughts)
            guesses = guesses_for(own, expected, looks_up=self._looks_up) if self._drafts else None
            self._batcher.submit(Job(sequence, sampler, guesses))

    def _thinking(self, marks: ThoughtMarks | None) -> Thinking | None:
        if marks is None:
            return None
        return Thinking(marks, self._context.model.tokenize(marks.ending, parse_special=True))

    def _sampler(self, wanted: Generate, choice: int, prompt: list[int]) -> ChainSampler:
        known = self._context.model.vocabulary_tokens
        for bias in wanted.sampling.logit_bias or ():
            if not 0 <= bias.token < known:
                message = f"logit_bias names token {bias.token}; this model's tokens run from 0 to {known - 1}."
                raise CannotDraw(message, code="invalid_request")
        guard = None if wanted.constraint is None else self._grammars.guard(wanted.constraint)
        sampling = wanted.sampling.for_choice(choice)
        dry_link = self._dry_links.link(sampling.dry) if sampling.dry else None
        return ChainSampler(self._context, sampling, prompt, logprobs=wanted.logprobs, guard=guard, dry_link=dry_link)

    def _share(self, one: list[int], other: list[int]) -> None:
        shared = one[: common(one, other, min(len(one), len(other)))]
        if shared and not self._batcher.pin(shared):
            sys.stderr.write(f"A shared prompt of {len(shared)} tokens is not kept ready: the context is too small.\n")

    def _begun(self, sequence: Sequence, cached_tokens: int) -> None:
        """The first of several answers speaks for all: the others take their prompt over from it."""
        if sequence.id in self._unaccepted:
            self._unaccepted.remove(sequence.id)
            self._pipe.send(Accepted(sequence.id, sequence.prompt_tokens, cached_tokens))

    def _step(self) -> None:
        began, decode_s, sample_s = perf_counter(), self._context.decode_s, self._context.sample_s
        decoding, depth_tokens = self._batcher.decoding, self._batcher.depth_tokens
        chunk_tokens = 0
        if self._batcher.is_reading:
            most = self._context.batch_tokens
            chunk_tokens = self._pace.chunk_tokens(decoding=decoding, depth_tokens=depth_tokens, most=most)
            if self._background.is_due:
                chunk_tokens = min(chunk_tokens, SMALLEST_CHUNK_TOKENS)
        choice = self._ceilings.now
        threads = choice.reading if chunk_tokens else choice.decoding(decoding)
        of_several_rows = threads if chunk_tokens else choice.decoding(max(decoding, 2))
        self._context.use_threads(threads, of_several_rows)
        if self._drafter:
            self._drafter.use_threads(threads, choice.reading)
        guessed_s = self._guessing_s
        if self._drafts:
            self._drafts.are_wanted = self._background.is_idle  # what it reads fills the gap between steps already
        outputs, prompt_tokens = self._batcher.step(chunk_tokens)
        self._storing.note_work()
        for failed in self._batcher.take_failed():
            self._unaccepted.discard(failed.id)
            self._pipe.send(failed)
        if self._context.decode_s == decode_s and not outputs:
            return  # everybody waits for a grammar
        step_s, guessing_s = perf_counter() - began, self._guessing_s - guessed_s
        own_s, draft = step_s - guessing_s, self._batcher.draft
        if draft is None:  # all who measure undisturbed steps mean those in which nobody gets more than a token
            self._pace.observe(decoding=decoding, prompt_tokens=prompt_tokens, depth_tokens=depth_tokens, step_s=own_s)
        if self._drafts and decoding and not prompt_tokens:
            self._drafts.observe(decoding, own_s, draft)
        if self._follows_neighbours:
            self._follow_the_machine(0 if prompt_tokens or draft else decoding, own_s)
        self._pipe.send(
            Step(
                tuple(outputs),
                prompt_tokens,
                round(step_s, 6),
                round(self._context.decode_s - decode_s, 6),
                round(self._context.sample_s - sample_s, 6),
                decoding=decoding,
                chunk_tokens=chunk_tokens,
                drafted=len(draft.tokens) if draft else 0,
                accepted=draft.accepted if draft else 0,
                guessing_s=round(guessing_s, 6),
                threads=max(threads, of_several_rows),
            )
        )
        self._look_after_drafter()
        self._background.follow(prompt_tokens, own_s, has_decoding=self._batcher.decoding > 0, is_plain=not draft)

    def _look_after_drafter(self) -> None:
        """Where it has failed the daemon should know: nothing else shows it."""
        if self._drafter and self._drafter.failure:
            self._pipe.send(DrafterLost(f"{self._drafter_name} is not used any more: {self._drafter.failure}."))
            self._drafter = None  # `Drafts` sees that it has no room for any text

    @property
    def _guessing_s(self) -> float:
        return self._drafter.spent_s if self._drafter else 0.0

    def _follow_the_machine(self, decoding: int, step_s: float) -> None:
        if (cores := self._neighbours.cores()) is not None:
            self._ceilings.now.look_around(cores)
        if decoding:
            self._ceilings.now.observe(decoding, step_s)
        if self._ceilings.whole.settled != self._tuned.decode_threads:
            self._tell(replace(self._tuned, decode_threads=self._ceilings.whole.settled))

    def _tell(self, tuned: Tuned) -> None:
        self._tuned = tuned
        self._pipe.send(tuned)
