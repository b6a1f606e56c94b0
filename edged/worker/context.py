"""One context of llama.cpp: the cells that sequences share, and the step that advances them all."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from edged.worker.batcher import MemoryFull, Row
from edged.worker.bindings import EngineError, last_error, lib
from edged.worker.model import Model

# Rows of one llama_decode. Larger batches cost compute-buffer memory and gain nothing on boards, where a step is
# bounded by time anyway (`worker/pace.py`); it is also llama.cpp's own default for the physical batch.
BATCH_TOKENS = 512
# How a cell is stored, in order of preference (GGML_TYPE_Q8_0 and GGML_TYPE_F16 in ggml.h). Eight bits halve the memory
# of a conversation. And they make an answer bit for bit what it is alone: over 16-bit cells llama.cpp's CPU attention
# sums in tiles or in one part per thread (ggml_compute_forward_flash_attn_ext_f16 in ggml-cpu/ops.cpp), so the rounding
# depends on which cells the neighbours hold; over 8-bit cells every row walks its own cells in order. Heads whose size
# is no multiple of 32 cannot be stored so.
_CELL_TYPES = (8, 1)


class Context:
    """The memory of a model's sequences. One thread uses it. Implements the batcher's `Engine`.

    `decode_s` and `sample_s` add up the seconds spent inside llama.cpp: what is left of a step is ours.
    """

    def __init__(self, model: Model, *, context_tokens: int, sequences: int, threads: int) -> None:
        """Make room for `context_tokens`, cut to what the model was trained for. Raises `EngineError`."""
        self.model = model
        self.decode_s = self.sample_s = 0.0
        self.sequences = sequences
        self.context_tokens = min(context_tokens, model.trained_tokens or context_tokens)
        self.batch_tokens = min(BATCH_TOKENS, context_tokens)
        self._context = self._open(threads)
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(self.batch_tokens, 0, 1)

    def _open(self, threads: int) -> Any:
        params = lib.llama_context_default_params()
        params.n_ctx = self.context_tokens
        params.n_batch = params.n_ubatch = self.batch_tokens
        params.n_seq_max = self.sequences
        # One output row per sequence: the default reserves logits for a whole batch, 300 MiB on a 0.5B model.
        params.n_outputs_max = self.sequences
        params.n_threads = params.n_threads_batch = threads
        # One pool of cells for all: a lone conversation may use the whole context.
        params.kv_unified = True
        params.swa_full = False
        params.no_perf = True
        for params.type_k in _CELL_TYPES:
            params.type_v = params.type_k
            if context := lib.llama_init_from_model(self.model.handle, params):
                return context
        raise EngineError(last_error(f"no context of {self.context_tokens} tokens could be created"))

    def use_threads(self, threads: int) -> None:
        """Run the next steps on so many threads."""
        # llama.cpp keeps two numbers: one for steps of one row, one for all others, be they prompts or answers.
        lib.llama_set_n_threads(self._context, threads, threads)

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch. Raises `MemoryFull` with the memory as it was, `EngineError` when nothing can be trusted."""
        batch = self._batch
        token, position, slot_count, slot, output = batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits
        for index, row in enumerate(rows):
            token[index] = row.token
            position[index] = row.position
            slot_count[index] = 1
            slot[index][0] = row.slot
            output[index] = row.has_output
        batch.n_tokens = len(rows)
        began = perf_counter()
        result = lib.llama_decode(self._context, batch)
        self.decode_s += perf_counter() - began
        if result == 1:
            raise MemoryFull
        if result != 0:
            raise EngineError(f"llama_decode returned {result}: {last_error('no reason given')}")

    def draw(self, chain: Any, row: int) -> int:
        """The next token that `chain` draws from the output of batch row `row`."""
        began = perf_counter()
        token = int(lib.llama_sampler_sample(chain, self._context, row))
        self.sample_s += perf_counter() - began
        return token

    def release(self, slot: int) -> None:
        """Drop every cell of a sequence."""
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
