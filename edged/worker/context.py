"""One context of llama.cpp: the cells that sequences share, and the step that advances them all."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from edged.cells import BATCH_TOKENS, outputs_of, slots_of
from edged.wire import KvType
from edged.worker.bindings import EngineError, forget_errors, last_error, lib
from edged.worker.engine import DecodeFailed, MemoryFull, Row
from edged.worker.model import Model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Logits: TypeAlias = "npt.NDArray[np.float32]"

# How a cell is stored (GGML_TYPE_F16 and GGML_TYPE_Q8_0 in ggml.h). Over 16-bit cells llama.cpp's CPU attention sums
# in tiles or in one part per thread (ggml_compute_forward_flash_attn_ext_f16 in ggml-cpu/ops.cpp). That reads 2,048
# tokens nearly twice as fast (`benchmarks/LOG.md`), but the rounding depends on which cells the neighbours hold; over
# 8-bit cells every row walks its own cells in order. Heads whose size is no multiple of 32 cannot be stored in 8 bits.
# Cells of 32 bits or bfloat16 read no faster (`benchmarks/LOG.md`). Flash attention is llama.cpp's own choice, which is
# to use it: without it a step looks at every cell of the pool, and took twice as long where others held 4,000.
_CELL_TYPES: dict[KvType, tuple[int, ...]] = {"f16": (1,), "q8_0": (8, 1)}


class Context:
    """The memory of a model's sequences. One thread uses it. Implements the batcher's `Engine`.

    `decode_s` and `sample_s` add up the seconds spent inside llama.cpp: what is left of a step is ours.
    """

    def __init__(
        self, model: Model, *, context_tokens: int, sequences: int, threads: int, kv_type: KvType = "f16"
    ) -> None:
        """Make room for `context_tokens`, cut to what the model was trained for. Raises `EngineError`."""
        self.model = model
        self.decode_s = self.sample_s = 0.0
        self.sequences = sequences
        self.is_cuttable = model.is_cuttable
        self._has_window = model.has_window
        self.slots = slots_of(sequences, is_cuttable=model.is_cuttable)
        self.context_tokens = min(context_tokens, model.trained_tokens or context_tokens)
        self.batch_tokens = min(BATCH_TOKENS, context_tokens)
        self._context, self.cell_type = self._open(threads, _CELL_TYPES[kv_type])
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(self.batch_tokens, 0, 1)

    def _open(self, threads: int, cell_types: Sequence[int]) -> tuple[Any, int]:
        params = lib.llama_context_default_params()
        params.n_ctx = self.context_tokens
        params.n_batch = params.n_ubatch = self.batch_tokens
        params.n_seq_max = self.slots
        params.n_outputs_max = outputs_of(self.sequences, self.slots, self.batch_tokens)
        params.n_threads = params.n_threads_batch = threads
        # One pool of cells for all: a lone conversation may use the whole context.
        params.kv_unified = True
        params.swa_full = False
        params.no_perf = True
        forget_errors()
        for params.type_k in cell_types:
            params.type_v = params.type_k
            if context := lib.llama_init_from_model(self.model.handle, params):
                return context, int(params.type_k)
        raise EngineError(last_error(f"no context of {self.context_tokens} tokens could be created"))

    def use_threads(self, threads: int, of_several_rows: int | None = None) -> None:
        """Run the next steps on so many threads; those of several rows, where that is given, on another number."""
        # llama.cpp keeps two numbers: one for steps of one row, one for all others, be they prompts or answers.
        lib.llama_set_n_threads(self._context, threads, of_several_rows or threads)

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch. Raises `MemoryFull` with the memory as it was, `DecodeFailed`."""
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
            raise DecodeFailed(f"llama_decode returned {result}: {last_error('no reason given')}")

    def draw(self, chain: Any, row: int) -> int:
        """The next token that `chain` draws from the output of batch row `row`."""
        began = perf_counter()
        token = int(lib.llama_sampler_sample(chain, self._context, row))
        self.sample_s += perf_counter() - began
        return token

    def logits(self, row: int) -> Logits:
        """The output of batch row `row` in place, valid until the next decode: writing to it changes what is drawn."""
        import numpy as np  # 20 MiB and 0.1 s that most workers never need

        address = ctypes.cast(lib.llama_get_logits_ith(self._context, row), ctypes.c_void_p).value
        assert address is not None
        output = (ctypes.c_float * self.model.vocabulary_tokens).from_address(address)
        return np.frombuffer(memoryview(output).cast("B"), np.float32)

    def draw_from(self, chain: Any, logits: Logits) -> int:
        """The next token that `chain` draws from `logits`: `llama_sampler_sample` without the context."""
        import numpy as np

        began = perf_counter()
        data = np.zeros(len(logits), [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        data["id"], data["logit"] = np.arange(len(logits)), logits
        pointer = ctypes.cast(data.ctypes.data, ctypes.POINTER(lib.llama_token_data))
        candidates = lib.llama_token_data_array(pointer, len(logits), -1, False)
        lib.llama_sampler_apply(chain, ctypes.byref(candidates))
        token = int(candidates.data[candidates.selected].id)
        lib.llama_sampler_accept(chain, token)
        self.sample_s += perf_counter() - began
        return token

    def copy(self, source: int, target: int, count: int) -> None:
        """Have the empty slot `target` share `count` cells of `source`; what cannot be cut is shared whole."""
        window = self.checkpoint(source) if self._has_window else None
        lib.llama_memory_seq_cp(self._memory, source, target, 0, count)
        if window is not None:
            # In cells of its own: llama.cpp reuses those that fell out of a window only while one sequence holds them
            # (`find_slot` in llama-kv-cache.cpp), and shared ones would fill the window's small pool for good.
            self.resume(target, window)

    def release(self, slot: int) -> None:
        """Let go of every cell of a slot."""
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cut(self, slot: int, count: int) -> None:
        """Let go of all but the first `count` cells of a slot. Raises `EngineError` where it cannot be cut there."""
        if not lib.llama_memory_seq_rm(self._memory, slot, count, -1):
            raise EngineError(f"the memory of sequence {slot} cannot be cut at {count} tokens")

    def checkpoint(self, slot: int) -> bytes:
        """The part of a slot's state that cannot be cut, as it is now."""
        return self._state(slot, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def checkpoint_bytes(self, slot: int) -> int:
        """How long `checkpoint` would be."""
        return self._state_bytes(slot, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def resume(self, slot: int, checkpoint: bytes) -> None:
        """Put that part back as it was. Raises `EngineError` where llama.cpp does not take it."""
        if not self._set_state(slot, checkpoint, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY):
            raise EngineError(f"a checkpoint of {len(checkpoint)} bytes did not fit sequence {slot}")

    def save(self, slot: int) -> bytes:
        """The whole state of a slot."""
        return self._state(slot, lib.LLAMA_STATE_SEQ_FLAGS_NONE)

    def save_bytes(self, slot: int) -> int:
        """How long `save` would be."""
        return self._state_bytes(slot, lib.LLAMA_STATE_SEQ_FLAGS_NONE)

    def load(self, slot: int, state: bytes) -> bool:
        """Fill the empty slot with a saved state; False, and still empty, where llama.cpp does not take it."""
        if self._set_state(slot, state, lib.LLAMA_STATE_SEQ_FLAGS_NONE):
            return True
        self.release(slot)
        return False

    def _state(self, slot: int, flags: int) -> bytes:
        # Written in place while nobody else has seen it: a copy would double the memory, and most of the time.
        state = bytes(self._state_bytes(slot, flags))
        written = lib.llama_state_seq_get_data_ext(self._context, _in_place(state), len(state), slot, flags)
        return state if written == len(state) else state[:written]

    def _state_bytes(self, slot: int, flags: int) -> int:
        return int(lib.llama_state_seq_get_size_ext(self._context, slot, flags))

    def _set_state(self, slot: int, state: bytes, flags: int) -> bool:
        read = lib.llama_state_seq_set_data_ext(self._context, _in_place(state), len(state), slot, flags)
        return bool(read == len(state))


def _in_place(state: bytes) -> Any:
    """The bytes themselves, which the caller keeps alive, as llama.cpp takes them."""
    return ctypes.cast(ctypes.c_char_p(state), ctypes.POINTER(ctypes.c_uint8))
