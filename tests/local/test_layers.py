"""A GPU with memory of its own gets as many layers as fit it: never more, all where all do; the owner's word counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import Engine
from edged.gguf.build import Build, Kept
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
from edged.local.fit import Machine, fit
from edged.local.layers import ALL_LAYERS, SPARE_BYTES, Device, device_bytes, gpu_layers
from edged.local.needs import UNLEARNED, Learned, Way, compute_buffers
from edged.store import ModelFile

GIB, MIB = 2**30, 2**20
ROOM_BYTES = 1000 * GIB


def header(weights: list[int], kept: list[Kept], output_bytes: int, embedding_bytes: int = 0) -> Gguf:
    """A model of these layers; without `output_bytes` its embedding is the output as well."""
    return Gguf(
        "words",
        "qwen2",
        {"qwen2.context_length": 2**17},
        vocabulary_tokens=32_000,
        tensors=Tensors(
            count=9 * len(weights),
            size_bytes=sum(weights) + output_bytes + embedding_bytes,
            embedding=(1024, 32_000),
            embedding_type="q8_0",
            embedding_bytes=embedding_bytes,
            has_output=output_bytes > 0,
            layer_bytes=dict(enumerate(weights)),
            output_bytes=output_bytes,
        ),
        build=Build(
            layers=len(weights),
            width=1024,
            feed_forward=4096,
            token_values=sum(layer.token_values for layer in kept),
            window_values=sum(layer.window_values for layer in kept),
            window_tokens=1024 if any(layer.window_values for layer in kept) else 0,
            state_values=sum(layer.state_values for layer in kept),
            state_layers=sum(layer.state_values > 0 for layer in kept),
            head_values=128,
            kept=tuple(kept),
        ),
    )


SIZES = st.integers(0, 2 * GIB)
LAYER = st.tuples(SIZES, st.builds(Kept, *3 * [st.sampled_from([0, 128, 2048])]))
MODELS = st.builds(
    lambda layers, output_bytes, embedding_bytes: header(
        [size for size, _ in layers], [kept for _, kept in layers], output_bytes, embedding_bytes
    ),
    st.lists(LAYER, min_size=1, max_size=24),
    SIZES,
    SIZES,
)
WAYS = st.builds(Way, st.sampled_from([2048, 8192, 131_072]), st.sampled_from([1, 8]), st.sampled_from(["f16", "q8_0"]))
LEARNED = st.sampled_from([UNLEARNED, Learned(1.1, 0.8, 2.0)])
DEVICES = st.builds(Device, st.integers(0, 80 * GIB), st.integers(1, 3))


def put(model: Gguf, way: Way, learned: Learned, device: Device) -> int:
    """The number chosen, written out."""
    chosen = gpu_layers(model, way, learned, device)
    return model.build.layers + 1 if chosen == ALL_LAYERS else chosen


@given(MODELS, WAYS, LEARNED, DEVICES)
def test_never_more_than_is_free_and_one_more_would_be(model: Gguf, way: Way, learned: Learned, device: Device) -> None:
    layers, needed = put(model, way, learned, device), device_bytes(model, way, learned, device.count)

    assert needed[layers] <= device.free_bytes
    assert all(size_bytes > device.free_bytes for size_bytes in needed[layers + 1 :])


@given(MODELS, WAYS, LEARNED, DEVICES, st.integers(0, 40 * GIB))
def test_more_memory_never_gets_fewer_layers(
    model: Gguf, way: Way, learned: Learned, device: Device, more_bytes: int
) -> None:
    richer = replace(device, free_bytes=device.free_bytes + more_bytes)

    assert put(model, way, learned, device) <= put(model, way, learned, richer)


@given(MODELS, WAYS, LEARNED, st.integers(1, 3))
def test_all_of_them_where_all_fit_and_none_where_nothing_does(
    model: Gguf, way: Way, learned: Learned, count: int
) -> None:
    whole_bytes = device_bytes(model, way, learned, count)[-1]

    assert gpu_layers(model, way, learned, Device(whole_bytes, count)) == ALL_LAYERS
    assert gpu_layers(model, way, learned, Device(whole_bytes - 1, count)) != ALL_LAYERS
    assert gpu_layers(model, way, learned, Device(0, count)) == 0


def test_it_is_filled_from_behind_with_what_layers_weigh_and_keep() -> None:
    model = header([5 * GIB, GIB, 2 * GIB], [Kept(), Kept(), Kept(token_values=1024)], 3 * GIB)
    way = Way(8192, 8)
    of_steps = compute_buffers(model, way) + SPARE_BYTES
    cells_bytes = 8192 * 1024 * 2

    # The largest layer that stays behind is lent while prompts are read.
    output_bytes = 3 * GIB + of_steps
    last_bytes = output_bytes + 2 * GIB + cells_bytes
    assert device_bytes(model, way, UNLEARNED) == [
        0,
        output_bytes + 5 * GIB,
        last_bytes + 5 * GIB,
        last_bytes + GIB + 5 * GIB,
        last_bytes + GIB + 5 * GIB,
    ]


def test_an_embedding_that_is_the_output_as_well_is_there_a_second_time() -> None:
    kept = [Kept(token_values=256)]
    tied, own = header([GIB], kept, 0, 300 * MIB), header([GIB], kept, 300 * MIB)

    assert device_bytes(tied, Way(2048, 1), UNLEARNED) == device_bytes(own, Way(2048, 1), UNLEARNED)


MODEL = header([GIB] * 20, [Kept(token_values=1024)] * 20, GIB)
FILE = ModelFile("large", Path("/large.gguf"), 21 * GIB, 1, "words", MODEL)
SMALL = ModelFile("small", Path("/small.gguf"), 2 * GIB, 1, "words", header([GIB], [Kept(token_values=64)], MIB))


def machine(free_bytes: int | None, *, has_gpu: bool = True) -> Machine:
    return Machine(has_gpu=has_gpu, device=None if free_bytes is None else Device(free_bytes))


def test_a_model_that_does_not_fit_whole_gets_the_layers_that_do() -> None:
    whole = fit(FILE, Engine(), ROOM_BYTES, machine(100 * GIB)).way
    part = fit(FILE, Engine(), ROOM_BYTES, machine(12 * GIB)).way

    assert whole == Way(8192, 8, gpu_layers=ALL_LAYERS)
    assert part == replace(whole, gpu_layers=part.gpu_layers)
    assert 5 < part.gpu_layers < 12


@pytest.mark.parametrize("free_bytes", [None, 0, 100 * GIB])
def test_a_number_is_as_the_owner_says(free_bytes: int | None) -> None:
    for number in (0, 7, 999):
        assert fit(FILE, Engine(gpu_layers=number), ROOM_BYTES, machine(free_bytes)).way.gpu_layers == number


def test_where_a_gpu_shares_the_memory_all_layers_go_there_and_without_one_none() -> None:
    assert fit(FILE, Engine(), ROOM_BYTES, machine(None)).way.gpu_layers == ALL_LAYERS
    assert fit(FILE, Engine(), ROOM_BYTES, machine(None, has_gpu=False)).way.gpu_layers == 0


def test_a_smaller_model_takes_no_place_of_layers() -> None:
    room = machine(device_bytes(MODEL, Way(8192, 8), UNLEARNED)[-1])
    beside = fit(FILE, Engine(), ROOM_BYTES, machine(100 * GIB), drafter=SMALL)
    alone = fit(FILE, Engine(), ROOM_BYTES, room, drafter=SMALL)

    assert beside.way.drafts
    assert alone.way == Way(8192, 8, gpu_layers=ALL_LAYERS)
    assert alone.draft_problem == "small would take the place of layers of large on the GPU."
