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
    Step,
    Tuned,
)
from edged.worker.batcher import Batcher, Job
from edged.worker.bindings import EngineError
from edged.worker.confine import confine
from edged.worker.context import Context
from edged.worker.devices import gpus
from edged.worker.model import Model
from edged.worker.neighbours import Neighbours
from edged.worker.pace import Pace
from edged.worker.prompt import tokens_of
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.threads import Threads

# How finely loading is reported; a frame per tensor would be noise.
_PROGRESS_STEP = 0.02


class Worker:
    """One loaded model and the sequences that run on it."""

    def __init__(self, pipe: Pipe, context: Context, wanted: Load) -> None:
        self._pipe = pipe
        self._context = context
        self._batcher = Batcher(context, context.model)
        self._pace = Pace(wanted.longest_gap_steps)
        self._threads = Threads(wanted.threads, wanted.decode_threads)
        self._follows_neighbours = wanted.follow_neighbours
        self._neighbours = Neighbours()
        self._is_tuned = self._threads.settled is not None

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
            case Cancel(id):
                self._batcher.cancel(id)
            case _:
                raise ValueError(f"a worker does not take {type(frame).__name__}")

    def _admit(self, wanted: Generate) -> None:
        tokens = tokens_of(wanted.prompt, self._context.model)
        room = self._context.context_tokens - len(tokens)
        if room < 1 or not tokens:
            self._pipe.send(Rejected(wanted.id, len(tokens), self._context.context_tokens))
            return
        self._pipe.send(Accepted(wanted.id, len(tokens)))
        most = min(room, wanted.max_tokens)
        if most == 0:  # legal for completions that only echo
            self._pipe.send(Step((Output(wanted.id, "", 0, "length"),), 0, 0.0, 0.0, 0.0))
            return
        sequence = Sequence(wanted.id, tokens, len(tokens), most, StopFilter(wanted.stop))
        self._batcher.submit(Job(sequence, ChainSampler(self._context, wanted.sampling, tokens)))

    def _step(self) -> None:
        began, decode_s, sample_s = perf_counter(), self._context.decode_s, self._context.sample_s
        decoding, depth_tokens = self._batcher.decoding, self._batcher.depth_tokens
        chunk_tokens = 0
        if self._batcher.is_reading:
            most = self._context.batch_tokens
            chunk_tokens = self._pace.chunk_tokens(decoding=decoding, depth_tokens=depth_tokens, most=most)
        threads = self._threads.reading if chunk_tokens else self._threads.decoding(decoding)
        self._context.use_threads(threads)
        outputs, prompt_tokens = self._batcher.step(chunk_tokens)
        step_s = perf_counter() - began
        self._pace.observe(decoding=decoding, prompt_tokens=prompt_tokens, depth_tokens=depth_tokens, step_s=step_s)
        if self._follows_neighbours:
            self._follow_the_machine(0 if prompt_tokens else decoding, step_s)
        self._pipe.send(
            Step(
                tuple(outputs),
                prompt_tokens,
                round(step_s, 6),
                round(self._context.decode_s - decode_s, 6),
                round(self._context.sample_s - sample_s, 6),
            )
        )

    def _follow_the_machine(self, decoding: int, step_s: float) -> None:
        if (cores := self._neighbours.cores()) is not None:
            self._threads.look_around(cores)
        if decoding:
            self._threads.observe(decoding, step_s)
        if self._threads.settled is not None and not self._is_tuned:
            self._is_tuned = True
            self._pipe.send(Tuned(self._threads.settled))


def load(pipe: Pipe, wanted: Load) -> Context:
    """Load the model whose descriptor came beside `wanted`, reporting progress. Raises `EngineError`."""
    reported = -1.0

    def report(fraction: float) -> None:
        nonlocal reported
        if fraction - reported >= _PROGRESS_STEP:
            reported = fraction
            pipe.send(Loading(round(fraction, 3)))

    (descriptor,) = pipe.descriptors
    model = Model(
        f"/proc/self/fd/{descriptor}",
        gpu_layers=wanted.gpu_layers,
        maps_file=wanted.maps_file,
        repacks=wanted.repacks,
        progress=report,
    )
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
        gpus=gpus(),
        gpu_layers=model.offloaded_layers,
        layers=model.layers,
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
        Worker(pipe, context, wanted).run()
    except (EOFError, ConnectionError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
