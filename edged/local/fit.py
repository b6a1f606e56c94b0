"""How a model is to run so that it fits into memory, or with which numbers it is refused: a pure decision.

The wish is the configuration. Onto a GPU with memory of its own go as many layers as fit it (`layers.py`), unless the
owner has set a number: fewer are slower, and nothing else. What does not fit into memory is given up in this order, the
cheapest first, and nothing is given up that need not be: a later step keeps all earlier things that fit beside it.

    1  the smaller model that guesses ahead         a little slower
    2  rearranged weights, where they are a copy    slower; the file is mapped, and the kernel may drop its pages
    3  sixteen bits of a value for eight            long prompts are read at up to half the speed
    4  sequences, halved down to two                the third person waits
    5  context, halved down to 2,048 tokens         conversations are forgotten sooner: the first loss in what is said
    6  the second sequence                          everybody waits for everybody

What conversations outside of the context may take (`[engine] snapshot_bytes`) is an allowance and not a need: it is cut
to half of what is left, so that a small model finds room beside a large one. What the owner has set in so many words is
never lowered, but for that: then a model is refused, with what would fit. It counts what a worker takes at most, so
what it does not take yet is not room for another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import product

from edged.config import Engine
from edged.errors import ModelTooLarge
from edged.gguf.header import Gguf
from edged.local.layers import ALL_LAYERS, Device, device_bytes, gpu_layers
from edged.local.needs import UNLEARNED, Learned, Needs, Way, beside, context_of, needs_of
from edged.store import ModelFile

_SHORTEST_CONTEXT_TOKENS = 2048
_FEWEST_SEQUENCES = 2
# A head's size must be a multiple of it for values of eight bits (`QK8_0` in ggml/src/ggml-common.h).
_EIGHT_BIT_BLOCK = 32
_NOTHING = Gguf("words", "", {})
_LOWERED = frozenset({"context_tokens", "sequences", "kv_type"})


@dataclass(frozen=True, slots=True)
class Fit:
    """The way in which a model is to run, what it needs, and what that is less than what was wished for, in words."""

    way: Way
    needs: Needs
    snapshot_bytes: int = 0
    lowered: str = ""
    draft_problem: str = ""


class Ease(IntEnum):
    """How well a model fits."""

    NOT_AT_ALL = 0
    LOWERED = 1
    AS_WISHED = 2


@dataclass(frozen=True, slots=True)
class Machine:
    """What the arithmetic asks of a machine. Without a GPU layers stay where they are; `device` is memory of a GPU's
    own, as it is now.
    """

    features: Collection[str] = ()
    has_gpu: bool = False
    device: Device | None = None


def fit(
    file: ModelFile,
    engine: Engine,
    room_bytes: int,
    machine: Machine,
    *,
    learned: Learned = UNLEARNED,
    drafter: ModelFile | None = None,
    snapshot_bytes: int = 0,
    installed: Iterable[ModelFile] = (),
) -> Fit:
    """The first way in the order above that fits `room_bytes`. Raises `ModelTooLarge`, which says what would fit."""
    header = file.header or _NOTHING
    candidates = list(ways(header, engine, machine, can_draft=drafter is not None))
    for candidate in candidates:
        way = placed(header, candidate, machine, learned, drafter)
        if way is None:
            continue
        needs = _needs(file, way, machine, learned, drafter)
        if needs.total_bytes <= room_bytes:
            left_bytes = min(snapshot_bytes, (room_bytes - needs.total_bytes) // 2)
            lowered = _lowered(header, candidates[0], way, needs, room_bytes)
            problem = (
                "" if way.drafts or drafter is None else _too_tight(file, drafter, candidates[0], machine, room_bytes)
            )
            return Fit(way, needs, left_bytes, lowered, problem)
    smallest = candidates[-1]
    needs = _needs(file, smallest, machine, learned, None)
    would = _would_fit(file, engine, room_bytes, machine, learned, installed)
    raise too_large(file.name, smallest, needs, room_bytes, would)


def placed(header: Gguf, way: Way, machine: Machine, learned: Learned, drafter: ModelFile | None) -> Way | None:
    """The same way with as many layers on the GPU as fit there, where the owner left that open.

    None where a smaller model would take the place of layers: it is there to make the larger one quicker.
    """
    device = machine.device
    if device is None or way.gpu_layers != ALL_LAYERS or not header.build.layers:
        return way
    alone = gpu_layers(header, way, learned, device)
    if way.drafts and drafter is not None:
        taken_bytes = device_bytes(drafter.header or _NOTHING, replace(way, sequences=1), UNLEARNED)[-1]
        beside = replace(device, free_bytes=device.free_bytes - taken_bytes)
        if gpu_layers(header, way, learned, beside) != alone:
            return None
    return replace(way, gpu_layers=alone)


def wished(file: ModelFile, engine: Engine, machine: Machine, learned: Learned = UNLEARNED) -> Needs:
    """What `file` needs if it runs as the configuration wishes, without a smaller model."""
    way = next(ways(file.header or _NOTHING, engine, machine, can_draft=False))
    return _needs(file, way, machine, learned, None)


def least(file: ModelFile, engine: Engine, machine: Machine, learned: Learned = UNLEARNED) -> Needs:
    """What `file` needs in the way that takes the least, as far as the configuration leaves a choice."""
    found = ways(file.header or _NOTHING, engine, machine, can_draft=False)
    return min((_needs(file, way, machine, learned, None) for way in found), key=lambda needs: needs.total_bytes)


def ease(file: ModelFile, engine: Engine, room_bytes: int, machine: Machine, learned: Learned = UNLEARNED) -> Ease:
    """How well it fits: as wished, with less, or in no way."""
    candidates = ways(file.header or _NOTHING, engine, machine, can_draft=False)
    first = next(
        (index for index, way in enumerate(candidates) if _total(file, way, machine, learned) <= room_bytes), None
    )
    return Ease.NOT_AT_ALL if first is None else Ease.LOWERED if first else Ease.AS_WISHED


def ways(
    header: Gguf, engine: Engine, machine: Machine, *, can_draft: bool, said: Collection[str] | None = None
) -> Iterator[Way]:
    """In which ways it may run, the best first; what was `said`, else what stands in the configuration, stays."""
    said = engine.model_fields_set if said is None else said
    wish = min(engine.context_tokens, header.context_tokens or engine.context_tokens)
    contexts = [wish] if "context_tokens" in said else _halves(wish, _SHORTEST_CONTEXT_TOKENS)
    crowds = [engine.sequences] if "sequences" in said else _halves(engine.sequences, _FEWEST_SEQUENCES)
    can_store_less = header.build.head_values % _EIGHT_BIT_BLOCK == 0
    kinds = [engine.kv_type]
    if engine.kv_type == "f16" and "kv_type" not in said and can_store_less:
        kinds.append("q8_0")
    places = list(product(contexts, crowds))
    if "sequences" not in said and crowds[-1] > 1:
        places.append((contexts[-1], 1))
    gpu_layers = engine.gpu_layers if machine.has_gpu else 0
    for (context_tokens, sequences), kind, maps_file, drafts in product(
        places, kinds, (False, True), (True, False) if can_draft else (False,)
    ):
        yield Way(context_tokens, sequences, kind, gpu_layers, maps_file, drafts)


def too_large(name: str, way: Way, needs: Needs, room_bytes: int, would: str = "") -> ModelTooLarge:
    """The refusal, with the numbers."""
    return ModelTooLarge(
        f"The model {name} needs {gib(needs.total_bytes)} GiB of memory with a context of {way.context_tokens:,} "
        f"tokens ({parts(needs)}), and {gib(room_bytes)} GiB are available. "
        + (would or "Close other programs, or choose a smaller model."),
        needed_bytes=needs.total_bytes,
        available_bytes=room_bytes,
    )


def parts(needs: Needs) -> str:
    """What the memory is for, in words."""
    named = {
        "weights": needs.weights_bytes + needs.repack_bytes,
        "conversations": needs.cells_bytes,
        "computing": needs.compute_bytes,
        "process": needs.process_bytes + needs.template_bytes,
        "guessing": needs.drafter_bytes,
        "missing when it failed": needs.missing_bytes,
    }
    return ", ".join(f"{name} {gib(size_bytes)}" for name, size_bytes in named.items() if size_bytes)


def gib(size_bytes: int) -> str:
    """In GiB, small things exactly enough."""
    return f"{size_bytes / 2**30:.2f}" if size_bytes < 10 * 2**30 else f"{size_bytes / 2**30:,.1f}"


def _needs(file: ModelFile, way: Way, machine: Machine, learned: Learned, drafter: ModelFile | None) -> Needs:
    needs = needs_of(file.header or _NOTHING, file.size_bytes, way, machine.features, learned)
    if not way.drafts or drafter is None:
        return needs
    more = beside(drafter.header or _NOTHING, drafter.size_bytes, way, machine.features)
    return replace(needs, drafter_bytes=more)


def _halves(wish: int, least: int) -> list[int]:
    """The wish, and its halves as far as `least`."""
    found = [wish]
    while found[-1] > least:
        found.append(max(least, found[-1] // 2))
    return found


def _lowered(header: Gguf, wish: Way, way: Way, needs: Needs, room_bytes: int) -> str:
    """What was given up, in words; empty where nothing was that anybody might miss."""
    changes = []
    if way.context_tokens < wish.context_tokens:
        changes.append(f"context lowered from {context_of(header, wish)} to {context_of(header, way)} tokens")
    if way.sequences < wish.sequences:
        changes.append(f"sequences lowered from {wish.sequences} to {way.sequences}")
    if way.kv_type != wish.kv_type:
        changes.append(f"kv_type {way.kv_type} in place of {wish.kv_type}")
    if way.maps_file != wish.maps_file:
        changes.append("weights used as they are in the file")
    if not changes:
        return ""
    numbers = f"{gib(needs.total_bytes)} GiB are needed so, and {gib(room_bytes)} are available"
    return f"{', '.join(changes)}: {numbers}"


def _too_tight(file: ModelFile, drafter: ModelFile, wish: Way, machine: Machine, room_bytes: int) -> str:
    if placed(file.header or _NOTHING, wish, machine, UNLEARNED, drafter) is None:
        return f"{drafter.name} would take the place of layers of {file.name} on the GPU."
    both = _needs(file, wish, machine, UNLEARNED, drafter).total_bytes
    return f"{file.name} and {drafter.name} together need {gib(both)} GiB of memory, and {gib(room_bytes)} are free."


def _would_fit(
    file: ModelFile,
    engine: Engine,
    room_bytes: int,
    machine: Machine,
    learned: Learned,
    installed: Iterable[ModelFile],
) -> str:
    """What the owner could do instead, as sentences."""
    sentences = []
    if said := sorted(_LOWERED & engine.model_fields_set):
        free = ways(file.header or _NOTHING, engine, machine, can_draft=False, said=())
        way = next((way for way in free if _total(file, way, machine, learned) <= room_bytes), None)
        if way is not None:
            settings = ", ".join(f"{key} = {getattr(way, key)}" for key in said)
            sentences.append(f"What is set is not lowered; [engine] {settings} would fit.")
    smaller = [
        other
        for other in installed
        if other.name != file.name and not other.problem and other.made_for == file.made_for
        if ease(other, engine, room_bytes, machine)
    ]
    if smaller:
        best = max(smaller, key=lambda other: other.size_bytes)
        sentences.append(f"Of the installed models {best.name} would fit.")
    return " ".join(sentences)


def _total(file: ModelFile, way: Way, machine: Machine, learned: Learned) -> int:
    return _needs(file, way, machine, learned, None).total_bytes
