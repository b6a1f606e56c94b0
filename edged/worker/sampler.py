"""How the next token is drawn: what the caller, the model's file and llama.cpp say, and the chain that does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edged.chat import Sampling
from edged.worker.bindings import lib
from edged.worker.context import Context

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
_RANDOM_SEED = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: llama.cpp draws one


class ChainSampler:
    """llama.cpp's sampler chain for one answer, in llama.cpp's own order: penalties, truncation, temperature, draw."""

    def __init__(self, context: Context, wanted: Sampling, prompt: Sequence[int]) -> None:
        """Draw as `wanted`; penalties count the end of `prompt` as said, as llama.cpp's own programs do."""
        model = context.model
        sampling = resolve(wanted, model.sampling, DEFAULT_SAMPLING)
        self._context = context
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in _links(sampling, model.vocabulary_tokens):
            lib.llama_sampler_chain_add(self._chain, link)
        for token in prompt[-PENALTY_WINDOW_TOKENS:]:
            lib.llama_sampler_accept(self._chain, token)

    def draw(self, row: int) -> int:
        """The next token from the output of batch row `row`."""
        return self._context.draw(self._chain, row)

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
