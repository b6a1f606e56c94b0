"""A loaded GGUF file: its vocabulary, its template, and what else it says of itself. Implements the `Tokenizer`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property
from typing import Any

from edged.chat import Sampling
from edged.worker.bindings import EngineError, last_error, lib, listen, offloaded_layers
from edged.worker.prompt import Control

_MODEL_SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}
_LARGEST_TEMPLATE_BYTES = 1024 * 1024
_LARGEST_PIECE_BYTES = 256


class Model:
    """Weights and vocabulary of one file, or with `vocab_only` the vocabulary alone. Contexts compute on `handle`."""

    def __init__(
        self,
        path: str,
        *,
        gpu_layers: int = 0,
        maps_file: bool = True,
        repacks: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
        vocab_only: bool = False,
    ) -> None:
        """Load the file at `path`; `progress` hears fractions while the weights are read. Raises `EngineError`.

        A mapped file costs memory only where it is read, and the kernel may drop it; `repacks` keeps a copy of the
        weights in the order that the processor's matrix kernels like best.
        """
        listen()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.load_mode = lib.LLAMA_LOAD_MODE_AUTO if maps_file else lib.LLAMA_LOAD_MODE_NONE
        params.use_extra_bufts = repacks
        params.vocab_only = vocab_only
        self.handle = _open(path, params, progress)
        self.offloaded_layers = offloaded_layers()
        self._vocab = lib.llama_model_get_vocab(self.handle)
        self._pieces: dict[int, bytes] = {}

    @property
    def trained_tokens(self) -> int:
        """The longest context that the model was trained for; 0 where the file does not say."""
        return int(lib.llama_model_n_ctx_train(self.handle))

    @cached_property
    def vocabulary_tokens(self) -> int:
        """How many tokens there are."""
        return int(lib.llama_vocab_n_tokens(self._vocab))

    @cached_property
    def sampling(self) -> Sampling:
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
        for token in range(self.vocabulary_tokens):
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
        lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    @property
    def model_bytes(self) -> int:
        """Size of all tensors."""
        return int(lib.llama_model_size(self.handle))

    @property
    def layers(self) -> int:
        """Its layers, counted as llama.cpp counts them for a GPU: the output is one more."""
        return int(lib.llama_model_n_layer(self.handle)) + 1

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(lib.llama_model_n_params(self.handle))

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(_LARGEST_TEMPLATE_BYTES)
        length = lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
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


def _open(path: str, params: Any, progress: Callable[[float], None]) -> Any:
    def report(fraction: float, _user_data: object) -> bool:
        progress(fraction)
        return True

    params.progress_callback = callback = lib.llama_progress_callback(report)
    model = lib.llama_model_load_from_file(path.encode(), params)
    del callback  # had to outlive the load
    if not model:
        raise EngineError(last_error("llama.cpp could not load the file and did not say why"))
    return model
