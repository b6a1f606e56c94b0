"""How many layers of a model go onto a GPU that has memory of its own: a pure decision.

llama.cpp fills it from behind: the output first, then layer after layer from the last one on, each with what it keeps
of conversations (`load_tensors` in src/llama-model.cpp, src/llama-kv-cache.cpp). What it computes in is counted as if
all of it were there. Where a layer stays behind, long prompts are still read on the GPU, and weights lent to it for
that (`op_offload` in include/llama.h): no more than a layer's at a time.

A GPU that shares the machine's memory, as a Jetson's does, leaves nothing to choose: there all layers go onto it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from edged.gguf.header import Gguf
from edged.local.needs import Learned, Way, compute_buffers, layer_cells

# What llama.cpp leaves free on each device where it chooses by itself (`fit_params_target` in common/common.h): the
# driver's context and its libraries' working space come out of it, which no account tells.
SPARE_BYTES = 2**30
ALL_LAYERS = -1


@dataclass(frozen=True, slots=True)
class Device:
    """GPUs with memory of their own: what is free on all of them together, and how many they are."""

    free_bytes: int
    count: int = 1


def gpu_layers(header: Gguf, way: Way, learned: Learned, device: Device) -> int:
    """As many as fit `device`, the output counted as one of them; `ALL_LAYERS` where all do."""
    needed = device_bytes(header, way, learned, device.count)
    most = max(layers for layers, size_bytes in enumerate(needed) if size_bytes <= max(0, device.free_bytes))
    return ALL_LAYERS if most == len(needed) - 1 else most


def device_bytes(header: Gguf, way: Way, learned: Learned, devices: int = 1) -> list[int]:
    """What so many layers need on GPUs: none of them, the output, the output and the last layer, and so on to all."""
    tensors = header.tensors
    output_bytes = tensors.output_bytes + (0 if tensors.has_output else tensors.embedding_bytes)
    weights = [tensors.layer_bytes.get(layer, 0) * learned.weights for layer in range(header.build.layers)]
    layers = [size + kept * learned.cells for size, kept in zip(weights, layer_cells(header, way), strict=True)]

    there = accumulate(reversed(layers), initial=output_bytes * learned.weights)
    lent = [max(weights[: len(weights) - count], default=0) for count in range(len(weights) + 1)]
    computing = devices * (compute_buffers(header, way) * learned.compute + SPARE_BYTES)
    # Layers are divided whole, so on each further device a place may be left that is too small for one.
    uneven = (devices - 1) * max(layers, default=0)
    return [0, *(math.ceil(size + more + computing + uneven) for size, more in zip(there, lent, strict=True))]
