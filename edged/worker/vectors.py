"""llama.cpp's second context on the same weights, for vectors and scores; a chat's cells are never touched.

It has to be a context of its own: pooling is fixed when it is made, and with `embeddings` every token is an output. It
is made for the longest text at hand and given back when nobody asked for a while (`worker/background.py`).

The mean of a causal model is taken here and not by llama.cpp, which would need the whole text in one step; here a long
text is read in many short ones, and a stream beside it goes on. Models whose tokens see those behind them (BERT) must
read a text at once; they generate nothing, so nobody is held up.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from operator import add
from time import perf_counter
from typing import Any

from edged.cells import vector_cells, vector_rows
from edged.wire import Embed, Pooling, Rank
from edged.worker.bindings import EngineError, last_error, lib
from edged.worker.embedding import NoMemory, Portion
from edged.worker.model import Model
from edged.worker.piecewise import Piecewise
from edged.worker.ranking import pair_tokens

# What a file that was made for words does not say: the mean over all tokens is what most embedding models of this
# family use, and the last token alone knows mostly which word would come next. (llama-server refuses such a model
# unless it is started with --pooling.)
_UNSAID: Pooling = "mean"
_POOLING_TYPES = {"mean": 1, "cls": 2, "last": 3, "rank": 4}  # LLAMA_POOLING_TYPE_* in llama.h
_NO_POOLING = 0
# Texts that share a step. A recurrent state is tens of megabytes per sequence.
_SEQUENCES, _RECURRENT_SEQUENCES = 32, 2
_CELL_TYPE = 1  # GGML_TYPE_F16, llama-server's default: vectors are compared with those that others made


class VectorContext:
    """Implements `VectorEngine`. Takes no memory until it is prepared. `decode_s` adds up time inside llama.cpp."""

    def __init__(self, model: Model, *, context_tokens: int, threads: int) -> None:
        self._model = model
        self._threads = threads
        self.pooling = model.pooling or _UNSAID
        self._layout = model.pair_layout
        self._floats = model.vector_floats
        self._is_causal = model.is_causal
        self._context: Any = None
        self._batch: Any = None
        self.prepared_tokens = 0
        self.decode_s = 0.0
        self._sums: dict[int, list[float]] = {}
        self.longest_tokens = min(context_tokens, model.trained_tokens or context_tokens)
        self._tokenizer = Piecewise(model, self.longest_tokens)
        self.batch_tokens = vector_rows(model.vocabulary_tokens)
        # llama.cpp reserves an output per sequence, and aborts where a batch has fewer (output_reserve).
        self.sequences = min(_RECURRENT_SEQUENCES if model.is_recurrent else _SEQUENCES, self.batch_tokens)

    @property
    def can_split(self) -> bool:
        """Whether a text may be read in several portions: no token sees those behind it, and the result is at hand."""
        return self._is_causal and self.pooling != "cls"

    def tokens_of(self, wanted: Embed | Rank) -> list[int]:
        """The ids of a text or of a pair. Nothing in them is read as a control token."""
        if isinstance(wanted, Rank):
            return pair_tokens(wanted.query, wanted.document, self._layout, self._tokenizer)
        if wanted.text:
            return self._tokenizer.tokenize(wanted.text, parse_special=False, add_special=True)
        return list(wanted.tokens)

    def prepare(self, longest_tokens: int) -> None:
        """Make room for texts of this length. Never shrinks, and forgets what was under way. Raises `NoMemory`."""
        if self._context is not None and longest_tokens <= self.prepared_tokens:
            return
        self.close()
        self.prepared_tokens = vector_cells(longest_tokens)
        self._open()
        if not lib.llama_get_causal_attn(self._context) and self._is_causal:
            # Some architectures are not causal whatever the file says (src/models/gemma-embedding.cpp).
            self._is_causal = False
            lib.llama_free(self._context)
            self._open()
        self._batch = lib.llama_batch_init(self.prepared_tokens, 0, 1)

    def read(self, portions: Items[Portion]) -> list[list[float]]:
        """Compute, and give the results of those portions that are the last of their texts, in order."""
        count = self._fill(portions)
        self._batch.n_tokens = count
        began = perf_counter()
        result = lib.llama_decode(self._context, self._batch)
        self.decode_s += perf_counter() - began
        if result != 0:
            raise EngineError(f"llama_decode returned {result} for {count} tokens: {last_error('no reason given')}")
        if self._sums_here:
            self._add_up(portions)
            return [self._mean(portion) for portion in portions if portion.is_last]
        return [self._pooled(portion.slot) for portion in portions if portion.is_last]

    def use_threads(self, threads: int) -> None:
        """Read on so many threads from now on."""
        self._threads = threads
        if self._context is not None:
            lib.llama_set_n_threads(self._context, threads, threads)

    def forget(self, slot: int) -> None:
        """Drop everything of a sequence."""
        self._sums.pop(slot, None)
        memory = lib.llama_get_memory(self._context)
        if memory:  # BERT and its kin have none
            lib.llama_memory_seq_rm(memory, slot, -1, -1)

    def close(self) -> None:
        """Give the memory back; `prepare` takes it again."""
        if self._batch is not None:
            lib.llama_batch_free(self._batch)
        if self._context is not None:
            lib.llama_free(self._context)
        self._context = self._batch = None
        self.prepared_tokens = 0

    @property
    def _sums_here(self) -> bool:
        return self._is_causal and self.pooling == "mean"

    def _open(self) -> None:
        most_tokens = self.batch_tokens if self.can_split else self.prepared_tokens
        params = lib.llama_context_default_params()
        # Cells for the longest text, and for those that share the step of its end.
        params.n_ctx = self.prepared_tokens + self.batch_tokens
        params.n_batch = params.n_ubatch = most_tokens
        params.n_seq_max = self.sequences
        params.n_threads = params.n_threads_batch = self._threads
        params.embeddings = True
        params.pooling_type = _NO_POOLING if self._sums_here else _POOLING_TYPES[self.pooling]
        params.type_k = params.type_v = _CELL_TYPE
        params.kv_unified = True
        params.swa_full = False
        params.no_perf = True
        self._context = lib.llama_init_from_model(self._model.handle, params)
        if not self._context:
            self._context, self.prepared_tokens = None, 0
            raise NoMemory

    def _fill(self, portions: Items[Portion]) -> int:
        batch, index = self._batch, 0
        token, position, slot_count, slot, output = batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits
        for portion in portions:
            for offset, id in enumerate(portion.tokens):
                token[index] = id
                position[index] = portion.first + offset
                slot_count[index] = 1
                slot[index][0] = portion.slot
                output[index] = True
                index += 1
        return index

    def _add_up(self, portions: Items[Portion]) -> None:
        row = 0
        for portion in portions:
            total = self._sums.get(portion.slot, [0.0] * self._floats)
            for _ in portion.tokens:
                total = list(map(add, total, lib.llama_get_embeddings_ith(self._context, row)[: self._floats]))
                row += 1
            self._sums[portion.slot] = total

    def _mean(self, portion: Portion) -> list[float]:
        tokens = portion.first + len(portion.tokens)
        return [total / tokens for total in self._sums[portion.slot]]

    def _pooled(self, slot: int) -> list[float]:
        numbers = lib.llama_get_embeddings_seq(self._context, slot)
        floats = 1 if self.pooling == "rank" else self._floats
        return list(numbers[:floats])
