"""A loaded GGUF file: its vocabulary, its template, and what else it says of itself. Implements the `Tokenizer`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from edged.load_wire import Infill
from edged.sampling import Sampling
from edged.wire import Pooling
from edged.worker.bindings import EngineError, forget_errors, last_error, lib, listen, offloaded_layers
from edged.worker.prompt import Control
from edged.worker.ranking import PairLayout

_MODEL_SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}
# LLAMA_POOLING_TYPE_* in llama.h; 0, no pooling, is as good as silence.
_POOLINGS: dict[str, Pooling] = {"1": "mean", "2": "cls", "3": "last", "4": "rank"}
_LARGEST_TEMPLATE_BYTES = 1024 * 1024
_LARGEST_PIECE_BYTES = 256


class Model:
    """Weights and vocabulary of one file, or with `vocab_only` the vocabulary alone. Contexts compute on `handle`."""

    def __init__(
        self,
        *paths: str,
        gpu_layers: int = 0,
        maps_file: bool = True,
        repacks: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
        vocab_only: bool = False,
    ) -> None:
        """Load the files at `paths`, a model in one or all its pieces in order. Raises `EngineError`.

        `progress` hears fractions while the weights are read.

        A mapped file costs memory only where it is read, and the kernel may drop it; `repacks` keeps a copy of the
        weights in the order that the processor's matrix kernels like best.
        """
        listen()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.load_mode = lib.LLAMA_LOAD_MODE_AUTO if maps_file else lib.LLAMA_LOAD_MODE_NONE
        params.use_extra_bufts = repacks
        params.vocab_only = vocab_only
        self.handle = _open(paths, params, progress)
        self.offloaded_layers = offloaded_layers()
        self._vocab = lib.llama_model_get_vocab(self.handle)
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        """Free it. Nothing computes on it, and nothing is asked of it any more."""
        lib.llama_model_free(self.handle)

    @property
    def trained_tokens(self) -> int:
        """The longest context that the model was trained for; 0 where the file does not say."""
        return int(lib.llama_model_n_ctx_train(self.handle))

    @cached_property
    def is_cuttable(self) -> bool:
        """Whether a sequence can be cut behind any token: not with sliding windows or recurrent states."""
        has_state = lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        return not has_state and not self.has_window

    @cached_property
    def has_window(self) -> bool:
        """Whether some layers see only the last tokens."""
        return bool(lib.llama_model_n_swa(self.handle) > 0)

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

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        """Ids of `text`; control tokens in it are recognised only with `parse_special`.

        With `add_special` they stand between the tokens that this vocabulary puts around every text.
        """
        data = text.encode()
        # No vocabulary makes more tokens than bytes, but for a space and begin and end tokens that some put around.
        most = len(data) + 8
        buffer = (ctypes.c_int32 * most)()
        count = lib.llama_tokenize(self._vocab, data, len(data), buffer, most, add_special, parse_special)
        if count < 0:
            raise EngineError(f"the tokenizer failed on {len(data)} bytes with {count}")
        return buffer[:count]

    def piece(self, token: int) -> bytes:
        """The token's bytes; empty for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._piece(token, special=False)
        return piece

    def pieces(self) -> list[bytes]:
        """Every token's bytes, by id; a new list at every call."""
        return [self._piece(token, special=False) for token in range(self.vocabulary_tokens)]

    def stored_text(self, token: int) -> bytes:
        """How the file writes the token: quicker than what it means, and as good to compare vocabularies by."""
        return bytes(lib.llama_vocab_get_text(self._vocab, token))

    def control_text(self, token: int) -> bytes:
        """What a control token is called; the same as `piece` for any other."""
        return self._piece(token, special=True)

    @property
    def vocabulary_address(self) -> int:
        """Where llama.cpp keeps the vocabulary, for a library that tokenizes with it."""
        address = ctypes.cast(self._vocab, ctypes.c_void_p).value
        assert address is not None
        return address

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Every token with which the model ends its turn."""
        return tuple(token for token in range(self.vocabulary_tokens) if self.is_end(token))

    @property
    def vocabulary(self) -> Any:
        """llama.cpp's handle of the vocabulary."""
        return self._vocab

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
    def infill(self) -> Infill | None:
        """How a text with a gap is laid out, where it was trained to fill one."""
        vocab, texts = self._vocab, {control.id: text for text, control in self.controls.items()}
        tokens = lib.llama_vocab_fim_pre(vocab), lib.llama_vocab_fim_suf(vocab), lib.llama_vocab_fim_mid(vocab)
        front, behind, gap = (texts.get(token, "") for token in tokens)
        return Infill(front, behind, gap) if front and behind and gap else None

    @property
    def template(self) -> str:
        """The chat template from the file; empty where there is none."""
        return self._metadata("tokenizer.chat_template")

    @property
    def pooling(self) -> Pooling | None:
        """How the vectors of a text's tokens become one, as the file says; None: it was made for words."""
        return _POOLINGS.get(self._metadata(f"{self._metadata('general.architecture')}.pooling_type"))

    @property
    def is_for_vectors(self) -> bool:
        """Whether it was made for vectors or scores and not for words."""
        return self.pooling is not None or not self.is_causal

    @property
    def is_causal(self) -> bool:
        """Whether tokens see only those before them, as the file says; some architectures know better."""
        return self._metadata(f"{self._metadata('general.architecture')}.attention.causal") != "false"

    @property
    def is_recurrent(self) -> bool:
        """Whether each sequence has a state of fixed size, in some blocks or in all."""
        return bool(lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle))

    @property
    def vector_floats(self) -> int:
        """Numbers in the vector of a token."""
        return int(lib.llama_model_n_embd_out(self.handle))

    @property
    def pair_layout(self) -> PairLayout:
        """How a query and a document are shown to it, where it judges pairs."""
        vocab = self._vocab
        end, separator = lib.llama_vocab_eos(vocab), lib.llama_vocab_sep(vocab)
        return PairLayout(
            template=self._metadata("tokenizer.chat_template.rerank"),
            begin=self.bos,
            end=(end if end >= 0 else separator) if lib.llama_vocab_get_add_eos(vocab) else None,
            separator=separator if lib.llama_vocab_get_add_sep(vocab) else None,
        )

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


def _open(paths: Sequence[str], params: Any, progress: Callable[[float], None]) -> Any:
    def report(fraction: float, _user_data: object) -> bool:
        progress(fraction)
        return True

    forget_errors()
    params.progress_callback = callback = lib.llama_progress_callback(report)
    if len(paths) == 1:
        model = lib.llama_model_load_from_file(paths[0].encode(), params)
    else:  # only this one asks for no names like NAME-00001-of-00002.gguf (include/llama.h)
        listed = (ctypes.c_char_p * len(paths))(*(path.encode() for path in paths))
        model = lib.llama_model_load_from_splits(listed, len(paths), params)
    del callback  # had to outlive the load
    if not model:
        raise EngineError(last_error("llama.cpp could not load the file and did not say why"))
    return model
