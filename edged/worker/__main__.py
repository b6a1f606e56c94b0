"""The decoding child: `python -m edged.worker DESCRIPTOR`, DESCRIPTOR being its end of the socketpair.

It is told what to load, loads it, introduces it, and serves until the daemon hangs up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from edged.wire import (
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Pooling,
)
from edged.worker.background import Background
from edged.worker.bindings import EngineError, buffers, has_starved
from edged.worker.build import build_of
from edged.worker.confine import confine, limit_files
from edged.worker.context import Context
from edged.worker.devices import gpus
from edged.worker.drafter import Drafter, unfit, unguessable
from edged.worker.model import Model
from edged.worker.pipe import Pipe
from edged.worker.serving import Worker
from edged.worker.taken import resident_bytes, taken
from edged.worker.vectors import VectorContext

# How finely loading is reported; a frame per tensor would be noise.
_PROGRESS_STEP = 0.02


def load(pipe: Pipe, wanted: Load) -> Model:
    """Load the model whose descriptors came beside `wanted`, reporting progress. Raises `EngineError`."""
    reported = -1.0

    def report(fraction: float) -> None:
        nonlocal reported
        if fraction - reported >= _PROGRESS_STEP:
            reported = fraction
            pipe.send(Loading(round(fraction, 3)))

    return _model(pipe, wanted, wanted.pieces, report)


def load_drafter(pipe: Pipe, wanted: Load, model: Model) -> tuple[Drafter | None, str]:
    """The smaller model that came behind `model`, or why it is of no use; that costs nothing but its guesses."""
    if reason := unguessable(model):
        return None, f"{wanted.drafter} is not used: {reason}."
    try:
        smaller = _model(pipe, wanted, len(pipe.descriptors))
    except EngineError as error:
        return None, f"{wanted.drafter} cannot be loaded: {error}."
    reason = unfit(model, smaller)
    if not reason:
        try:
            return Drafter(_context(smaller, wanted, sequences=1), model.vocabulary_tokens), ""
        except EngineError as error:
            reason = str(error)
    smaller.close()
    return None, f"{wanted.drafter} is not used: {reason}."


def _model(pipe: Pipe, wanted: Load, pieces: int, report: Callable[[float], None] = lambda fraction: None) -> Model:
    return Model(
        *[f"/proc/self/fd/{pipe.take_descriptor()}" for _ in range(pieces)],
        gpu_layers=wanted.gpu_layers,
        maps_file=wanted.maps_file,
        repacks=wanted.repacks,
        progress=report,
    )


def _context(model: Model, wanted: Load, *, sequences: int) -> Context:
    return Context(
        model,
        context_tokens=wanted.context_tokens,
        sequences=sequences,
        threads=wanted.threads,
        kv_type=wanted.kv_type,
    )


def introduce(model: Model, context_tokens: int, pooling: Pooling | None, build: str = "") -> Loaded:
    """What the daemon should know about the model."""
    return Loaded(
        context_tokens=context_tokens,
        template="" if pooling else model.template,
        bos=model.bos_text,
        eos=model.eos_text,
        controls=tuple(model.controls),
        description=model.description,
        model_bytes=model.model_bytes,
        parameters=model.parameters,
        vocabulary_tokens=model.vocabulary_tokens,
        vector_floats=model.vector_floats,
        pooling=pooling,
        gpus=gpus(),
        gpu_layers=model.offloaded_layers,
        layers=model.layers,
        build=build,
        infill=model.infill,
    )


def prepare(pipe: Pipe, wanted: Load) -> Callable[[], None]:
    """Load, tell the daemon, and give what serves until it hangs up (`EOFError`). Raises `EngineError`.

    A model that was made for vectors gets no cells for chats: they would take more memory than all the rest.
    """
    if wanted.prefix_bytes:
        limit_files(wanted.prefix_bytes)
    model = load(pipe, wanted)
    vectors = VectorContext(model, context_tokens=wanted.context_tokens, threads=wanted.threads)
    background = Background(pipe, vectors, wanted.longest_gap_steps)
    if model.is_for_vectors:
        card = introduce(model, vectors.longest_tokens, vectors.pooling)
        pipe.send(replace(card, taken=taken(buffers(), resident_bytes())))
        return background.serve
    context = _context(model, wanted, sequences=wanted.sequences)
    account = taken(buffers(), resident_bytes())
    drafter, problem = load_drafter(pipe, wanted, model) if wanted.drafter else (None, "")
    card = introduce(model, context.context_tokens, None, build_of(context))
    pipe.send(replace(card, drafter=wanted.drafter if drafter else "", draft_problem=problem, taken=account))
    return Worker(pipe, context, background, wanted, drafter).run


def main() -> int:
    """Load, then serve until the daemon hangs up."""
    confine()
    pipe = Pipe(int(sys.argv[1]))
    try:
        (wanted,) = pipe.receive(wait=True)
        if not isinstance(wanted, Load):
            raise TypeError(f"a worker begins with Load, not {type(wanted).__name__}")
        try:
            serve = prepare(pipe, wanted)
        except EngineError as error:
            pipe.send(LoadFailed(str(error), has_starved()))
            return 1
        except MemoryError:
            pipe.send(LoadFailed("no memory was left to load it", is_starved=True))
            return 1
        serve()
    except (EOFError, ConnectionError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
