"""Links of a sampler chain that keep a model from repeating itself, made once and copied for every answer.

Making one compares every word of the vocabulary with every text that breaks repetitions: 28 ms for llama.cpp's four
and 152,000 words, 179 ms for a single unlucky one (x86-64), in which nobody would get a word. A copy takes under 5 ms.
So they are made where prompts are read, beside the decoding, and kept.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from typing import Any

from edged.sampling import Dry
from edged.worker.bindings import lib
from edged.worker.model import Model

# Programs send the same settings with every request; each kept one takes some megabytes at most.
_KEPT = 4


class DryLinks:
    """The links that were asked for last. `prepare` may be called in another thread than `link`."""

    def __init__(self, model: Model, context_tokens: int) -> None:
        self._model = model
        self._context_tokens = context_tokens
        self._made: OrderedDict[Dry, Any] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, dry: Dry) -> None:
        """Have the link for `dry` at hand."""
        with self._lock:
            self._ready(dry)

    def link(self, dry: Dry) -> Any:
        """A link that has seen nothing yet, for one chain, which frees it."""
        with self._lock:
            return lib.llama_sampler_clone(self._ready(dry))

    def _ready(self, dry: Dry) -> Any:
        if dry not in self._made:
            self._made[dry] = self._make(dry)
            if len(self._made) > _KEPT:
                lib.llama_sampler_free(self._made.popitem(last=False)[1])
        self._made.move_to_end(dry)
        return self._made[dry]

    def _make(self, dry: Dry) -> Any:
        breakers = [breaker.encode() for breaker in dry.breakers]
        return lib.llama_sampler_init_dry(
            self._model.vocabulary,
            dry.multiplier,
            dry.base,
            dry.allowed_length,
            self._context_tokens if dry.window_tokens < 0 else dry.window_tokens,
            (ctypes.c_char_p * len(breakers))(*breakers),  # which llama.cpp turns into tokens before it returns
            len(breakers),
        )
