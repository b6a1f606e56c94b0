"""Greedy answers of a GGUF model through llama.cpp, many questions at once.

Uses the C interface of llama-cpp-python alone (no daemon, no numpy): the exam judges the file and nothing around it.
"""

import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

SEQUENCES = 32  # answered together: on a small model one step of 32 costs little more than one of 1
CONTEXT_TOKENS = 8_192  # 256 for each: the longest question with its answer is about 150
LONGEST_ANSWER_TOKENS = 120  # the longest answer of the text has 90
_PIECE_BYTES = 256


class Greedy:
    """One loaded model. Questions are put as one user message in ChatML."""

    def __init__(self, path: Path) -> None:
        self.lib: Any = _bindings()
        self._quiet = self.lib.llama_log_callback(lambda *_: None)  # kept: llama.cpp calls it as long as it lives
        self.lib.llama_log_set(self._quiet, ctypes.c_void_p(0))
        self.lib.llama_backend_init()
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp cannot load this file")
        self.vocabulary = self.lib.llama_model_get_vocab(self.model)
        self.context = self.lib.llama_init_from_model(self.model, self._context_params())
        self.greedy = self.lib.llama_sampler_init_greedy()
        self.batch = self.lib.llama_batch_init(CONTEXT_TOKENS, 0, 1)

    def answers(self, questions: Sequence[str]) -> Iterator[str]:
        """The answer to each question, in order."""
        for first in range(0, len(questions), SEQUENCES):
            yield from self._answer_together(questions[first : first + SEQUENCES])

    def tokenize(self, text: str, *, with_control: bool) -> list[int]:
        """Ids of a text; names of control tokens count as such only if asked."""
        data = text.encode()
        ids = (self.lib.llama_token * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocabulary, data, len(data), ids, len(ids), False, with_control)
        return list(ids[:count])

    def _answer_together(self, questions: Sequence[str]) -> list[str]:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        prompts = [self._prompt(question) for question in questions]
        answers: list[bytes] = [b""] * len(prompts)
        lengths = [len(prompt) for prompt in prompts]
        chosen = dict(enumerate(prompts))
        for _ in range(LONGEST_ANSWER_TOKENS):
            chosen = {at: [token] for at, token in self._step(chosen, lengths).items() if not self._is_end(token)}
            if not chosen:
                break
            for at, (token,) in chosen.items():
                answers[at] += self._piece(token)
                lengths[at] += 1
        return [answer.decode("utf-8", "replace") for answer in answers]

    def _step(self, inputs: dict[int, list[int]], lengths: list[int]) -> dict[int, int]:
        """Decode these tokens, each list at the end of its sequence; the likeliest next token of each sequence."""
        outputs, rows = {}, 0
        for sequence, ids in inputs.items():
            for at, token in enumerate(ids):
                self.batch.token[rows] = token
                self.batch.pos[rows] = lengths[sequence] - len(ids) + at
                self.batch.n_seq_id[rows] = 1
                self.batch.seq_id[rows][0] = sequence
                self.batch.logits[rows] = at == len(ids) - 1
                rows += 1
            outputs[sequence] = rows - 1
        self.batch.n_tokens = rows
        status = self.lib.llama_decode(self.context, self.batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status} for {rows} tokens of {len(inputs)} sequences")
        return {at: self.lib.llama_sampler_sample(self.greedy, self.context, row) for at, row in outputs.items()}

    def _prompt(self, question: str) -> list[int]:
        head = self.tokenize("<|im_start|>user\n", with_control=True)
        tail = self.tokenize("<|im_end|>\n<|im_start|>assistant\n", with_control=True)
        return [*head, *self.tokenize(question, with_control=False), *tail]

    def _is_end(self, token: int) -> bool:
        return bool(self.lib.llama_vocab_is_eog(self.vocabulary, token))

    def _piece(self, token: int) -> bytes:
        piece = ctypes.create_string_buffer(_PIECE_BYTES)
        count = self.lib.llama_token_to_piece(self.vocabulary, token, piece, _PIECE_BYTES, 0, False)
        return piece.raw[:count]

    def _context_params(self) -> Any:
        params = self.lib.llama_context_default_params()
        params.n_ctx = params.n_batch = CONTEXT_TOKENS
        params.n_seq_max = params.n_outputs_max = SEQUENCES
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        return params


def _bindings() -> ModuleType:
    """`llama_cpp.llama_cpp` without the package's own `__init__`, which wants numpy and more."""
    package = importlib.util.find_spec("llama_cpp")
    if package is None:
        raise SystemExit(
            "llama-cpp-python is not installed in this environment; run scripts/run --setup and use .venv/bin/python"
        )
    sys.modules.setdefault("llama_cpp", importlib.util.module_from_spec(package))
    return importlib.import_module("llama_cpp.llama_cpp")
