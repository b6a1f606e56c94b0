"""How much memory a model takes, before anything of it is loaded: arithmetic over its header, and what loads taught.

    weights    the tensors' bytes, from the header; of those that are repacked (ggml/src/ggml-cpu/repack.cpp) a file
               that is read leaves no other copy: they are rearranged on their way in. One exception: a model without
               an output matrix uses its embedding for that. A table of rows cannot be repacked, so where its type
               can be, it is there twice (`create_tensor` in src/llama-model-loader.cpp)
    cells      per token `n_embd_k_gqa` + `n_embd_v_gqa` values in every layer that attends (src/llama-kv-cache.cpp), a
               window's layers for its tokens times the sequence numbers (src/llama-kv-cache-iswa.cpp), states per
               sequence number (src/llama-memory-recurrent.cpp); beside them what llama.cpp and the worker note of each
               cell (src/llama-kv-cells.h)
    compute    what is alive at once in the largest step: inside of a feed-forward, or of a layer with a state, or the
               logits; and the mask, a half float for each row and cell. Plus the logits themselves, on their way out
    process    interpreter, libraries, vocabulary; what llguidance and numpy take once somebody asks for a format

The widths of `compute` were read off what llama.cpp reserved for five shapes, the constants of `process` fitted on two
(`benchmarks/fit.py`). What a load has really taken corrects all of it from the next time on: `Learned`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from edged.cells import BATCH_TOKENS, outputs_of, slots_of, vector_cells, vector_rows
from edged.gguf.header import Gguf
from edged.load_wire import Taken
from edged.wire import KvType

_FLOAT, _HALF = 4, 2
# GGML_PAD(n_ctx, 256) in src/llama-context.cpp, and of a window's cells in src/llama-kv-cache-iswa.cpp.
_CELLS_STEP = 256
# Bytes of a value: 34 for 32 in eight bits (`block_q8_0` in ggml/src/ggml-common.h).
_VALUE_BYTES: dict[KvType, float] = {"f16": 2, "q8_0": 34 / 32}
# Position, shift, bit set of sequences, and two nodes of trees per cell (src/llama-kv-cells.h); a token in a list here.
_CELL_NOTES_BYTES = 4 + 4 + 8 + 32 + 2 * 48 + 36
# Vectors that are alive at once for a token, as wide as a feed-forward and as the model.
_FEEDING, _PASSING = 3, 4
_STATE_SPREADS = 3
# What was rounded to eight bits is kept beside what it is multiplied with (`ggml_graph_plan` in ggml-cpu.c).
_ROUNDED = 34 / 32 / _FLOAT
# A graph's nodes are reserved three times (`graph_max_nodes` in src/llama-context.cpp): `ggml_tensor_overhead` and its
# places in a graph (`ggml_graph_nbytes` in ggml/src/ggml.c) for each.
_GRAPHS, _NODE_BYTES, _FEWEST_NODES, _NODES_PER_TENSOR = 3, 368 + 16 + 2 * 12, 1024, 8
_STATE_NODES_PER_ROW, _STATE_NODES_PER_TENSOR = 40, 32

# Fitted on two shapes, nano and qwen2.5-0.5b (benchmarks/LOG.md): with so many texts (tokens and merges) and tokens.
_STARTED_BYTES = 35_900_000
_TEXT_BYTES = 158
_ASKED_BYTES = 18_700_000
_GUIDED_TOKEN_BYTES = 322
# A template process, with the largest of llama.cpp's templates compiled.
TEMPLATE_BYTES = 24 * 2**20

# Which types this processor's matrix kernels want rearranged, by what Linux says of it, where rows divide evenly
# (`ggml_repack_get_optimal_repack_type` in ggml/src/ggml-cpu/repack.cpp).
_REPACKED = (
    ("avx2", ("q4_0", "q4_K", "iq4_nl", "mxfp4")),
    ("avx512f", ("q2_K",)),
    ("asimddp", ("q4_0", "q4_K", "q5_K", "q6_K", "iq4_nl", "mxfp4", "q8_0", "q1_0")),
    ("i8mm", ("q4_0", "q4_K", "q5_K", "q6_K", "q8_0", "q1_0")),
)
_REPACKED_ROWS = 8


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is to run."""

    context_tokens: int
    sequences: int
    kv_type: KvType = "f16"
    gpu_layers: int = 0
    maps_file: bool = False
    drafts: bool = False

    @property
    def repacks(self) -> bool:
        """Weights are rearranged for the processor unless the file is used as it is."""
        return not self.maps_file


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes by what they are for. `repack_bytes` is the second copy of an embedding."""

    weights_bytes: int
    repack_bytes: int
    cells_bytes: int
    compute_bytes: int
    process_bytes: int
    drafter_bytes: int = 0
    template_bytes: int = 0
    missing_bytes: int = 0

    @property
    def worker_bytes(self) -> int:
        """Of the worker alone, without what nobody can name."""
        return self.total_bytes - self.template_bytes - self.missing_bytes

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return (
            self.weights_bytes
            + self.repack_bytes
            + self.cells_bytes
            + self.compute_bytes
            + self.process_bytes
            + self.drafter_bytes
            + self.template_bytes
            + self.missing_bytes
        )


@dataclass(frozen=True, slots=True)
class Learned:
    """What loads of one file taught: how many times the arithmetic each part took, what the process took at first, and
    how much at least was missing where one failed."""

    weights: float = 1.0
    cells: float = 1.0
    compute: float = 1.0
    process_bytes: int | None = None
    missing_bytes: int = 0


UNLEARNED = Learned()


def needs_of(
    header: Gguf, size_bytes: int, way: Way, features: Collection[str] = (), learned: Learned = UNLEARNED
) -> Needs:
    """What a worker needs for a model of `size_bytes` that runs in this way, and its template process."""
    is_for_vectors = header.made_for in ("vectors", "scores")
    cells_bytes, notes_bytes = _cells(header, way)
    buffers_bytes, work_bytes = _vector_compute(header, way) if is_for_vectors else _compute(header, way)
    weights_bytes = round(_weights(header, size_bytes) * learned.weights)
    return Needs(
        weights_bytes=weights_bytes,
        repack_bytes=round(_copied(header, way, features) * learned.weights),
        cells_bytes=round(cells_bytes * learned.cells) + notes_bytes,
        compute_bytes=round(buffers_bytes * learned.compute) + work_bytes,
        process_bytes=(learned.process_bytes or _started(header)) + (0 if is_for_vectors else _asked(header)),
        template_bytes=0 if is_for_vectors else TEMPLATE_BYTES,
        missing_bytes=learned.missing_bytes,
    )


def beside(header: Gguf, size_bytes: int, way: Way, features: Collection[str] = ()) -> int:
    """What a model takes that guesses ahead in another's process: one sequence, nobody asks it for a format."""
    alone = needs_of(header, size_bytes, replace(way, sequences=1), features)
    return alone.worker_bytes - alone.process_bytes + _texts(header) + graphs_bytes(header)


def learn(header: Gguf, size_bytes: int, way: Way, features: Collection[str], taken: Taken) -> Learned:
    """What a load that took so much teaches about the next one of this file."""
    cells_bytes, _ = _cells(header, way)
    buffers_bytes, _ = _compute(header, way)
    has_context = taken.compute_bytes > 0  # a model for vectors makes its context when somebody asks
    weights_bytes = _weights(header, size_bytes) + _copied(header, way, features)
    return Learned(
        weights=_ratio(taken.weights_bytes, weights_bytes),
        cells=_ratio(taken.cells_bytes, cells_bytes) if has_context else 1.0,
        compute=_ratio(taken.compute_bytes, buffers_bytes) if has_context else 1.0,
        process_bytes=taken.process_bytes,
    )


def _ratio(taken_bytes: int, expected_bytes: float) -> float:
    return taken_bytes / expected_bytes if taken_bytes > 0 and expected_bytes > 0 else 1.0


def _weights(header: Gguf, size_bytes: int) -> int:
    """The tensors; of a model in pieces all that is no header."""
    return max(header.tensors.size_bytes, size_bytes - header.tensors.data_offset)


def _copied(header: Gguf, way: Way, features: Collection[str]) -> int:
    """The embedding's second copy, on a processor or a device, where it is the output matrix as well."""
    tensors = header.tensors
    if tensors.has_output or not tensors.embedding or header.architecture in _ENCODERS:
        return 0
    if way.gpu_layers:
        return tensors.embedding_bytes
    types = {type for feature, types in _REPACKED if feature in features for type in types}
    is_repacked = way.repacks and tensors.embedding_type in types and tensors.embedding[-1] % _REPACKED_ROWS == 0
    return tensors.embedding_bytes if is_repacked else 0


# They have no output matrix, and keep nothing of a token (`create_memory` in src/llama-model.cpp).
_ENCODERS = (
    *("bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert"),
    "gemma-embedding",
)


def layer_cells(header: Gguf, way: Way) -> list[float]:
    """What each layer keeps, by llama.cpp's account."""
    of_token, of_window, of_state = _value_costs(header, way)
    return [
        layer.token_values * of_token + layer.window_values * of_window + layer.state_values * of_state
        for layer in header.build.kept
    ]


def _cells(header: Gguf, way: Way) -> tuple[float, int]:
    """Of cells and states by llama.cpp's account, and of what is noted about each."""
    build = header.build
    of_token, of_window, of_state = _value_costs(header, way)
    kept = build.token_values * of_token + build.window_values * of_window + build.state_values * of_state
    cells, window_cells = _cell_counts(header, way)
    has_pool = build.window_values > 0 and header.made_for not in ("vectors", "scores")
    return kept, (cells + (window_cells if has_pool else 0)) * _CELL_NOTES_BYTES


def _value_costs(header: Gguf, way: Way) -> tuple[float, float, float]:
    """What one value costs that is kept of each token, of each in a window, and of each sequence."""
    cells, window_cells = _cell_counts(header, way)
    if header.made_for in ("vectors", "scores"):
        return cells * _HALF, cells * _HALF, 0
    value_bytes = _value_bytes(header, way)
    return cells * value_bytes, window_cells * value_bytes, _slots(header, way) * _FLOAT


def _cell_counts(header: Gguf, way: Way) -> tuple[int, int]:
    """How many cells there are, and how many of a window's."""
    context_tokens = context_of(header, way)
    if header.made_for in ("vectors", "scores"):
        rows = vector_rows(max(1, header.vocabulary_tokens))
        cells = 0 if header.architecture in _ENCODERS else _padded(vector_cells(context_tokens) + rows)
        return cells, cells
    cells = _padded(context_tokens)
    return cells, _window_cells(header, way, cells, min(BATCH_TOKENS, context_tokens))


def compute_buffers(header: Gguf, way: Way) -> float:
    """What llama.cpp computes in, by its account."""
    buffers, _ = (_vector_compute if header.made_for in ("vectors", "scores") else _compute)(header, way)
    return buffers


def _compute(header: Gguf, way: Way) -> tuple[float, int]:
    """Of buffers by llama.cpp's account, and of what it computes products in."""
    build, slots = header.build, _slots(header, way)
    context_tokens = context_of(header, way)
    batch = min(BATCH_TOKENS, context_tokens)
    cells = _padded(context_tokens)
    rows = -(-batch // slots) * slots  # `graph_reserve` in src/llama-context.cpp
    masked = cells + (_window_cells(header, way, cells, batch) if build.window_values else 0)
    mask = rows * masked * _HALF if build.token_values or build.window_values else 0
    feeding = rows * _FLOAT * (_FEEDING * build.feed_forward + _PASSING * build.width * build.experts)
    state = build.state_values // build.state_layers if build.state_layers else 0
    spreading = rows * _FLOAT * _STATE_SPREADS * build.state_width + 2 * slots * _FLOAT * state
    logits = outputs_of(way.sequences, slots, batch) * header.vocabulary_tokens * _FLOAT
    # llama.cpp makes room for one output per sequence number, and for more once a draft is checked.
    out = slots * header.vocabulary_tokens * _FLOAT
    drafted = logits - out
    work = round(rows * build.feed_forward * _FLOAT * _ROUNDED)
    return max(mask + max(feeding, spreading), logits) + out, work + drafted


def _vector_compute(header: Gguf, way: Way) -> tuple[float, int]:
    """The same of the context in which texts become vectors; texts are read at once where tokens see those behind."""
    build, context_tokens = header.build, context_of(header, way)
    vocabulary = max(1, header.vocabulary_tokens)
    cells = vector_cells(context_tokens)
    is_encoder = header.architecture in _ENCODERS
    rows = cells if is_encoder else vector_rows(vocabulary)
    mask = rows * _padded(cells + (0 if is_encoder else rows)) * (_HALF + (_FLOAT if is_encoder else 0))
    feeding = rows * _FLOAT * (_FEEDING * build.feed_forward + _PASSING * build.width)
    logits = 0 if is_encoder else rows * vocabulary * _FLOAT
    return max(mask + feeding, logits) + logits + rows * build.width * _FLOAT, 0


def context_of(header: Gguf, way: Way) -> int:
    """What the worker makes of the wish: no more than the model was trained with."""
    return min(way.context_tokens, header.context_tokens or way.context_tokens)


def _slots(header: Gguf, way: Way) -> int:
    return slots_of(way.sequences, is_cuttable=header.build.is_cuttable)


def _window_cells(header: Gguf, way: Way, cells: int, rows: int) -> int:
    return _padded(min(cells, header.build.window_tokens * _slots(header, way) + rows))


def _value_bytes(header: Gguf, way: Way) -> float:
    """What cannot be stored in eight bits is in sixteen."""
    return _VALUE_BYTES[way.kv_type if header.build.head_values % 32 == 0 else "f16"]


def _started(header: Gguf) -> int:
    return _STARTED_BYTES + _texts(header) + graphs_bytes(header)


def _asked(header: Gguf) -> int:
    return _ASKED_BYTES + _GUIDED_TOKEN_BYTES * header.vocabulary_tokens


def _texts(header: Gguf) -> int:
    return _TEXT_BYTES * (header.vocabulary_tokens + header.build.merges)


def graphs_bytes(header: Gguf) -> int:
    """What llama.cpp plans its steps in."""
    tensors = header.tensors.count
    if header.build.state_values:
        nodes = max(_STATE_NODES_PER_ROW * BATCH_TOKENS, _STATE_NODES_PER_TENSOR * tensors)
    else:
        nodes = max(_FEWEST_NODES, _NODES_PER_TENSOR * tensors)
    return _GRAPHS * _NODE_BYTES * nodes


def _padded(cells: int) -> int:
    return -(-cells // _CELLS_STEP) * _CELLS_STEP
