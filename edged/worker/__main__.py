"""The decoding child: `python -m edged.worker DESCRIPTOR`, DESCRIPTOR being its end of the socketpair.

One thread, one loop: read frames, advance everybody by one step, say what came of it. While nothing runs, the loop
sleeps in the read. Any exception ends the process: the daemon notices, fails what it owed with a typed error, and
starts another; a half-broken engine must not go on answering.
"""

from __future__ import annotations

import sys
from time import perf_counter

from edged.wire import (
    Accepted,
    Cancel,
    Frame,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Output,
    Pipe,
    Rejected,
    Share,
    Step,
)
from edged.worker.batcher import Batcher, Job
from edged.worker.bindings import EngineError
from edged.worker.confine import confine
from edged.worker.context import Context
from edged.worker.model import Model
from edged.worker.pace import Pace
from edged.worker.prefixes import common
from edged.worker.prompt import marks_of, tokens_of
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter

# How finely loading is reported; a frame per tensor would be noise.
_PROGRESS_STEP = 0.02


class Worker:
    """One loaded model and the sequences that run on it."""

    def __init__(self, pipe: Pipe, context: Context, snapshot_bytes: int) -> None:
        self._pipe = pipe
        self._context = context
        self._batcher = Batcher(context, context.model, self._begun, snapshot_bytes)
        self._pace = Pace()
        self._controls = frozenset(control.id for control in context.model.controls.values())
        self._unaccepted: set[int] = set()

    def run(self) -> None:
        """Serve until the daemon hangs up (`EOFError`)."""
        while True:
            for frame in self._pipe.receive(wait=self._batcher.is_idle):
                self._obey(frame)
            if not self._batcher.is_idle:
                self._step()

    def _obey(self, frame: Frame) -> None:
        match frame:
            case Generate():
                self._admit(frame)
            case Share(one, other):
                self._share(tokens_of(one, self._context.model), tokens_of(other, self._context.model))
            case Cancel(id):
                self._unaccepted.discard(id)
                self._batcher.cancel(id)
            case _:
                raise ValueError(f"a worker does not take {type(frame).__name__}")

    def _admit(self, wanted: Generate) -> None:
        tokens = tokens_of(wanted.prompt, self._context.model)
        room = self._context.context_tokens - len(tokens)
        if room < 1 or not tokens:
            self._pipe.send(Rejected(wanted.id, len(tokens), self._context.context_tokens))
            return
        ids = range(wanted.id, wanted.id + wanted.n)
        most = min(room, wanted.max_tokens)
        if most == 0:  # legal for completions that only echo
            self._pipe.send(Accepted(wanted.id, len(tokens), 0))
            self._pipe.send(Step(tuple(Output(id, "", 0, "length") for id in ids), 0, 0.0, 0.0, 0.0))
            return
        self._unaccepted.add(wanted.id)
        for choice, id in enumerate(ids):
            self._batcher.submit(self._job(id, wanted, choice, tokens, most))

    def _share(self, one: list[int], other: list[int]) -> None:
        shared = one[: common(one, other, min(len(one), len(other)))]
        if shared and not self._batcher.pin(shared):
            sys.stderr.write(f"A shared prompt of {len(shared)} tokens is not kept ready: the context is too small.\n")

    def _job(self, id: int, wanted: Generate, choice: int, tokens: list[int], most: int) -> Job:
        stops = StopFilter(wanted.stop)
        marks = marks_of(tokens, self._controls)
        sequence = Sequence(id, list(tokens), len(tokens), most, stops, wanted.partition, wanted.lane, marks)
        return Job(sequence, ChainSampler(self._context, wanted.sampling.for_choice(choice), tokens))

    def _begun(self, sequence: Sequence, cached_tokens: int) -> None:
        """The first of several answers speaks for all: the others take their prompt over from it."""
        if sequence.id in self._unaccepted:
            self._unaccepted.remove(sequence.id)
            self._pipe.send(Accepted(sequence.id, sequence.prompt_tokens, cached_tokens))

    def _step(self) -> None:
        began, decode_s, sample_s = perf_counter(), self._context.decode_s, self._context.sample_s
        most = self._pace.chunk_tokens(has_decoding=self._batcher.has_decoding, most=self._context.batch_tokens)
        outputs, prompt_tokens = self._batcher.step(most)
        step_s = perf_counter() - began
        self._pace.observe(prompt_tokens, step_s)
        self._pipe.send(
            Step(
                tuple(outputs),
                prompt_tokens,
                round(step_s, 6),
                round(self._context.decode_s - decode_s, 6),
                round(self._context.sample_s - sample_s, 6),
            )
        )


def load(pipe: Pipe, wanted: Load) -> Context:
    """Load the model whose descriptor came beside `wanted`, reporting progress. Raises `EngineError`."""
    reported = -1.0

    def report(fraction: float) -> None:
        nonlocal reported
        if fraction - reported >= _PROGRESS_STEP:
            reported = fraction
            pipe.send(Loading(round(fraction, 3)))

    (descriptor,) = pipe.descriptors
    model = Model(f"/proc/self/fd/{descriptor}", gpu_layers=wanted.gpu_layers, progress=report)
    return Context(model, context_tokens=wanted.context_tokens, sequences=wanted.sequences, threads=wanted.threads)


def introduce(context: Context) -> Loaded:
    """What the daemon should know about the model."""
    model = context.model
    return Loaded(
        context_tokens=context.context_tokens,
        template=model.template,
        bos=model.bos_text,
        eos=model.eos_text,
        controls=tuple(model.controls),
        description=model.description,
        model_bytes=model.model_bytes,
        parameters=model.parameters,
    )


def main() -> int:
    """Load, then serve until the daemon hangs up."""
    confine()
    pipe = Pipe(int(sys.argv[1]))
    try:
        (wanted,) = pipe.receive(wait=True)
        if not isinstance(wanted, Load):
            raise TypeError(f"a worker begins with Load, not {type(wanted).__name__}")
        try:
            context = load(pipe, wanted)
        except EngineError as error:
            pipe.send(LoadFailed(str(error)))
            return 1
        pipe.send(introduce(context))
        Worker(pipe, context, wanted.snapshot_bytes).run()
    except (EOFError, ConnectionError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
