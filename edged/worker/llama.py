"""The only file that touches llama.cpp: one model and one context behind the verbs that batching and prompts need.

`llama_cpp.llama_cpp` is loaded without running the package's own `__init__`, which would pull in numpy, jinja2 and a
cache library: about 20 MiB and 0.2-0.4 s for nothing that is used here (`tests/test_architecture.py` holds it).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from time import perf_counter
from types import ModuleType
from typing import Any

from edged.chat import Sampling
from edged.worker.batcher import MemoryFull, Row
from edged.worker.prompt import Control

# Rows of one llama_decode. Larger batches cost compute-buffer memory and gain nothing on boards, where a step is
# bounded by time anyway (`worker/pace.py`); it is also llama.cpp's own default for the physical batch.
BATCH_TOKENS = 512
# How far back repetition counts; llama.cpp's default (common/common.h, penalty_last_n).
PENALTY_WINDOW_TOKENS = 64
# llama.cpp's sampling defaults (common/common.h, struct common_params_sampling), used where neither the caller nor the
# model's file says anything. OpenAI's (temperature 1, no truncation) make small quantised models ramble.
DEFAULT_SAMPLING = Sampling(
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    min_p=0.05,
    repeat_penalty=1.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
)
# How a cell is stored, in order of preference (GGML_TYPE_Q8_0 and GGML_TYPE_F16 in ggml.h). Eight bits halve the memory
# of a conversation. And they make an answer bit for bit what it is alone: over 16-bit cells llama.cpp's CPU attention
# sums in tiles or in one part per thread (ggml_compute_forward_flash_attn_ext_f16 in ggml-cpu/ops.cpp), so the rounding
# depends on which cells the neighbours hold; over 8-bit cells every row walks its own cells in order. Heads whose size
# is no multiple of 32 cannot be stored so.
_CELL_TYPES = (8, 1)
_MODEL_SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}
_RANDOM_SEED = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: llama.cpp draws one
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR in ggml.h
_CONTINUED_LEVEL = 5  # GGML_LOG_LEVEL_CONT
_LARGEST_TEMPLATE_BYTES = 1024 * 1024
_LARGEST_PIECE_BYTES = 256


class EngineError(Exception):
    """llama.cpp refused or failed; the text is its own last error."""


def _load_bindings() -> ModuleType:
    package = importlib.util.find_spec("llama_cpp")
    if package is None:
        raise EngineError("llama-cpp-python is not installed in this environment; run scripts/run --setup")
    hollow = importlib.util.module_from_spec(package)
    sys.modules.setdefault("llama_cpp", hollow)
    return importlib.import_module("llama_cpp.llama_cpp")


lib: Any = _load_bindings()


class _ErrorLog:
    """llama.cpp's log, reduced to its last errors; everything else it says is of no use to an owner."""

    def __init__(self) -> None:
        self.last = ""
        self._is_error = False
        self.callback = lib.llama_log_callback(self._receive)
        lib.llama_log_set(self.callback, None)

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONTINUED_LEVEL:
            self._is_error = level == _ERROR_LEVEL
        if self._is_error:
            line = text.decode(errors="replace")
            self.last = line.strip() or self.last
            sys.stderr.write(line)


@cache
def _error_log() -> _ErrorLog:
    """The one of this process: llama.cpp keeps the pointer, so it must outlive every model."""
    return _ErrorLog()


class Llama:
    """A loaded model with a context. One thread uses it. Implements the batcher's `Engine` and the `Tokenizer`.

    `decode_s` and `sample_s` add up the seconds spent inside llama.cpp: what is left of a step is ours.
    """

    def __init__(
        self,
        path: str,
        *,
        context_tokens: int,
        sequences: int,
        threads: int,
        gpu_layers: int = 0,
        progress: Callable[[float], None] = lambda fraction: None,
        vocab_only: bool = False,
    ) -> None:
        """Load the model at `path`; `context_tokens` is cut to what the model was trained for.

        `progress` hears fractions while the weights are read. Raises `EngineError`.
        """
        self._errors = _error_log()
        self.decode_s = self.sample_s = 0.0
        self.sequences = sequences
        self.batch_tokens = min(BATCH_TOKENS, context_tokens)
        self._model = self._open(path, gpu_layers, progress, vocab_only=vocab_only)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._pieces: dict[int, bytes] = {}
        self.context_tokens = min(context_tokens, lib.llama_model_n_ctx_train(self._model) or context_tokens)
        if not vocab_only:
            self._context = self._open_context(threads)
            self._memory = lib.llama_get_memory(self._context)
            self._batch = lib.llama_batch_init(self.batch_tokens, 0, 1)

    def _open(self, path: str, gpu_layers: int, progress: Callable[[float], None], *, vocab_only: bool) -> Any:
        def report(fraction: float, _user_data: object) -> bool:
            progress(fraction)
            return True

        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocab_only
        params.progress_callback = callback = lib.llama_progress_callback(report)
        model = lib.llama_model_load_from_file(path.encode(), params)
        del callback  # had to outlive the load
        if not model:
            raise EngineError(self._errors.last or "llama.cpp could not load the file and did not say why")
        return model

    def _open_context(self, threads: int) -> Any:
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
            if context := lib.llama_init_from_model(self._model, params):
                return context
        raise EngineError(self._errors.last or f"no context of {self.context_tokens} tokens could be created")

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
            raise EngineError(f"llama_decode returned {result}: {self._errors.last}")

    def draw(self, chain: Any, row: int) -> int:
        """The next token that `chain` draws from the output of batch row `row`."""
        began = perf_counter()
        token = int(lib.llama_sampler_sample(chain, self._context, row))
        self.sample_s += perf_counter() - began
        return token

    def release(self, slot: int) -> None:
        """Drop every cell of a sequence."""
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def sampler(self, wanted: Sampling, prompt: Sequence[int]) -> ChainSampler:
        """A sampler for one answer; penalties count the end of `prompt` as said, as llama.cpp's own programs do."""
        sampling = resolve(wanted, self.model_sampling, DEFAULT_SAMPLING)
        return ChainSampler(self, _links(sampling, lib.llama_vocab_n_tokens(self._vocab)), prompt)

    @cached_property
    def model_sampling(self) -> Sampling:
        """What the model's file recommends (`general.sampling.*` in GGUF)."""
        found = {name: self._metadata(key) for name, key in _MODEL_SAMPLING_KEYS.items()}
        values: dict[str, Any] = {name: float(text) for name, text in found.items() if text}
        if "top_k" in values:
            values["top_k"] = int(values["top_k"])
        return Sampling(**values)

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Ids of `text`; control tokens in it are recognised only with `parse_special`."""
        data = text.encode()
        # No vocabulary makes more tokens than bytes, but for a space that some put in front.
        most = len(data) + 8
        buffer = (ctypes.c_int32 * most)()
        count = lib.llama_tokenize(self._vocab, data, len(data), buffer, most, False, parse_special)
        if count < 0:
            raise EngineError(f"the tokenizer failed on {len(data)} bytes with {count}")
        return buffer[:count]

    def piece(self, token: int) -> bytes:
        """The token's bytes; empty for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._piece(token, special=False)
        return piece

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def bos(self) -> int | None:
        """The token that every prompt of this model begins with, or None."""
        return lib.llama_vocab_bos(self._vocab) if lib.llama_vocab_get_add_bos(self._vocab) else None

    @cached_property
    def controls(self) -> dict[str, Control]:
        """Control tokens by their text: those that llama.cpp recognises only when asked to."""
        special = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN
        found = {}
        for token in range(lib.llama_vocab_n_tokens(self._vocab)):
            attributes = lib.llama_vocab_get_attr(self._vocab, token)
            if attributes & special:
                text = lib.llama_vocab_get_text(self._vocab, token).decode(errors="replace")
                strips_left = bool(attributes & lib.LLAMA_TOKEN_ATTR_LSTRIP)
                strips_right = bool(attributes & lib.LLAMA_TOKEN_ATTR_RSTRIP)
                found[text] = Control(token, strips_left, strips_right)
        found.pop("", None)
        return found

    @property
    def bos_text(self) -> str:
        """How a template writes the begin token; empty where the model has none."""
        return self._text(lib.llama_vocab_bos(self._vocab))

    @property
    def eos_text(self) -> str:
        """How a template writes the end token; empty where the model has none."""
        return self._text(lib.llama_vocab_eos(self._vocab))

    @property
    def template(self) -> str:
        """The chat template from the file; empty where there is none."""
        return self._metadata("tokenizer.chat_template")

    @property
    def description(self) -> str:
        """Architecture, size and quantisation in llama.cpp's words."""
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self._model, buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    @property
    def model_bytes(self) -> int:
        """Size of all tensors."""
        return int(lib.llama_model_size(self._model))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(lib.llama_model_n_params(self._model))

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(_LARGEST_TEMPLATE_BYTES)
        length = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if length > 0 else ""

    def _text(self, token: int) -> str:
        return self._piece(token, special=True).decode(errors="replace") if token >= 0 else ""

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(_LARGEST_PIECE_BYTES)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:length]


class ChainSampler:
    """llama.cpp's sampler chain for one answer, in llama.cpp's own order: penalties, truncation, temperature, draw."""

    def __init__(self, llama: Llama, links: Sequence[Any], prompt: Sequence[int]) -> None:
        self._llama = llama
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in links:
            lib.llama_sampler_chain_add(self._chain, link)
        for token in prompt[-PENALTY_WINDOW_TOKENS:]:
            lib.llama_sampler_accept(self._chain, token)

    def draw(self, row: int) -> int:
        """The next token from the output of batch row `row`."""
        return self._llama.draw(self._chain, row)

    def close(self) -> None:
        """Free the chain."""
        lib.llama_sampler_free(self._chain)


def _links(sampling: Sampling, vocabulary_tokens: int) -> list[Any]:
    links = []
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        links.append(lib.llama_sampler_init_penalties(vocabulary_tokens, PENALTY_WINDOW_TOKENS, *penalties))
    if sampling.temperature == 0:
        return [*links, lib.llama_sampler_init_greedy()]
    return [
        *links,
        lib.llama_sampler_init_top_k(sampling.top_k),
        lib.llama_sampler_init_top_p(sampling.top_p, 1),
        lib.llama_sampler_init_min_p(sampling.min_p, 1),
        lib.llama_sampler_init_temp(sampling.temperature),
        lib.llama_sampler_init_dist(_RANDOM_SEED if sampling.seed is None else sampling.seed),
    ]


def resolve(*choices: Sampling) -> Sampling:
    """Field by field, the first of `choices` that says anything."""
    names = Sampling.__dataclass_fields__
    return Sampling(
        **{name: next((v for choice in choices if (v := getattr(choice, name)) is not None), None) for name in names}
    )
