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
_KEPT = 16


class DryLinks:
    """The links that were asked for last. `prepare` may be called in another thread than `link`."""

    def __init__(self, model: Model, context_tokens: int) -> None:
        self._model = model
        self._context_tokens = context_tokens
        self._made: OrderedDict[Dry, Any] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, dry: Dry) -> None:
        """Have the link for `dry` at hand; while it is made, `link` does not wait."""
        with self._lock:
            if dry in self._made:
                return
        made = self._make(dry)
        with self._lock:
            self._keep(dry, made)

    def link(self, dry: Dry) -> Any:
        """A link that has seen nothing yet, for one chain, which frees it."""
        with self._lock:
            if dry not in self._made:  # so many others were prepared since that it is gone
                self._keep(dry, self._make(dry))
            self._made.move_to_end(dry)
            return lib.llama_sampler_clone(self._made[dry])

    def _keep(self, dry: Dry, made: Any) -> None:
        if twin := self._made.pop(dry, None):  # the other thread was quicker
            lib.llama_sampler_free(twin)
        self._made[dry] = made
        if len(self._made) > _KEPT:
            lib.llama_sampler_free(self._made.popitem(last=False)[1])

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
