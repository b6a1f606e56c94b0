"""How the next token is drawn: what the caller, the model's file and llama.cpp say, and the chain that does it.

    raw logits ─▶ score ─▶ grammar's mask ─▶ bias ─▶ penalties ─▶ truncation ─▶ temperature ─▶ draw

The score of a token (its log-probability) is taken from the raw logits: what the model thinks, not what was left of it.
A sampler without grammar and scores never leaves llama.cpp, and a worker that needs neither loads no numpy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from edged.completion import Candidate, TokenLogprob
from edged.sampling import Bias, Sampling
from edged.worker.bindings import lib
from edged.worker.constraint import Guard
from edged.worker.context import Context, Logits
from edged.worker.model import Model

# How far back repetition counts; llama.cpp's default (common/common.h, penalty_last_n).
PENALTY_WINDOW_TOKENS = 64
# In how many tokens the first Mirostat estimates its surprise; llama.cpp's own number (common/sampling.cpp).
_MIROSTAT_TOKENS = 100
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
    typical_p=1.0,
    top_n_sigma=-1.0,
    temperature_range=0.0,
    temperature_exponent=1.0,
    repeat_window_tokens=PENALTY_WINDOW_TOKENS,
)
_RANDOM_SEED = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: llama.cpp draws one
# What OpenAI's interface says of a token that is all but impossible (API reference, chat object, logprobs).
_IMPOSSIBLE = -9999.0


class ChainSampler:
    """llama.cpp's sampler chain for one answer, in llama.cpp's own order, under the eyes of a grammar."""

    def __init__(
        self,
        context: Context,
        wanted: Sampling,
        prompt: Sequence[int],
        *,
        logprobs: int | None = None,
        guard: Guard | None = None,
        dry_link: Any = None,
    ) -> None:
        """Draw as `wanted`; penalties count the end of `prompt` as said, as llama.cpp's own programs do.

        With `logprobs`, `score` tells how likely each token was, beside that many of the likeliest. `dry_link` is the
        link for `wanted.dry`; the sampler frees it.
        """
        model = context.model
        sampling = resolve(wanted, model.sampling, DEFAULT_SAMPLING)
        self.score: TokenLogprob | None = None
        self._context = context
        self._logprobs = logprobs
        self._guard = guard
        self._kept: Logits | None = None
        self._forced: deque[int] = deque()
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in _links(sampling, model, context.context_tokens, dry_link):
            lib.llama_sampler_chain_add(self._chain, link)
        seen_tokens = _window_tokens(sampling, context.context_tokens)
        for token in prompt[-seen_tokens:] if seen_tokens else ():
            lib.llama_sampler_accept(self._chain, token)

    @property
    def is_ready(self) -> bool:
        """Whether the grammar, where there is one, knows what may follow."""
        return self._guard is None or self._guard.is_ready

    def draw(self, row: int | None) -> int:
        """The next token from the output of batch row `row`, or from the kept one. Raises `CannotDraw`."""
        if self._guard is None and self._logprobs is None:
            assert row is not None
            return self._take_forced() if self._forced else self._context.draw(self._chain, row)
        logits = self._kept if row is None else self._context.logits(row)
        self._kept = None
        assert logits is not None
        raw = logits if self._guard is None or self._logprobs is None else logits.copy()
        if self._guard is not None:
            self._guard.restrict(logits)
            if self._forced and logits[self._forced[0]] == -math.inf:
                self._forced.clear()
        if self._forced:
            token = self._take_forced()
        elif row is None:
            token = self._context.draw_from(self._chain, logits)
        else:
            token = self._context.draw(self._chain, row)
        if self._guard is not None:
            self._guard.follow(token)
        if self._logprobs is not None:
            self.score = self._scored(raw, token, self._logprobs)
        return token

    def force(self, tokens: Sequence[int]) -> None:
        """These are the next ones, whatever the model thinks of them, as long as the grammar allows them."""
        self._forced.extend(tokens)

    def keep(self, row: int) -> None:
        """Keep the output of batch row `row` for a later draw."""
        self._kept = self._context.logits(row).copy()

    def foresee(self, tokens: Sequence[int]) -> None:
        """Have the grammar, where there is one, look along `tokens` while the model computes."""
        if self._guard is not None:
            self._guard.foresee(tokens)

    def close(self) -> None:
        """Free the chain, and let the grammar go."""
        lib.llama_sampler_free(self._chain)
        if self._guard is not None:
            self._guard.close()

    def _take_forced(self) -> int:
        token = self._forced.popleft()
        lib.llama_sampler_accept(self._chain, token)
        return token

    def _scored(self, raw: Logits, token: int, count: int) -> TokenLogprob:
        tokens, logprobs = likeliest(raw, token, count)
        piece = self._context.model.piece
        top = [Candidate(piece(id), logprob) for id, logprob in zip(tokens[1:], logprobs[1:], strict=True)]
        return TokenLogprob(piece(token), logprobs[0], tuple(top))


def likeliest(raw: Logits, token: int, count: int) -> tuple[list[int], list[float]]:
    """`token` and then the `count` likeliest tokens, likeliest first, with the log of their softmax probabilities."""
    import numpy as np

    count = min(count, len(raw))
    top = np.argpartition(raw, -count)[-count:] if count else np.zeros(0, np.int64)
    # Equal logits in the order of their ids, so that the same answer is told the same way twice.
    top = top[np.lexsort((top, -raw[top]))]
    tokens = [token, *top.tolist()]
    largest = float(raw.max())
    total = largest + float(np.log(np.exp(raw - largest, dtype=np.float64).sum()))
    return tokens, [max(round(float(raw[id]) - total, 6), _IMPOSSIBLE) for id in tokens]


def _links(sampling: Sampling, model: Model, context_tokens: int, dry_link: Any) -> list[Any]:
    """The chain's links in llama.cpp's own order (common/common.h, `samplers`); one that does nothing is left out."""
    links, vocabulary_tokens = [], model.vocabulary_tokens
    if biases := (*(sampling.logit_bias or ()), *(_endless(model) if sampling.ignores_end else ())):
        links.append(_bias(biases, vocabulary_tokens))
    if _punishes(sampling):
        window_tokens = _whole(sampling.repeat_window_tokens, context_tokens)
        links.append(lib.llama_sampler_init_penalties(vocabulary_tokens, window_tokens, *_penalties(sampling)))
    if dry_link is not None:
        links.append(dry_link)
    if sampling.temperature == 0:
        return [*links, lib.llama_sampler_init_greedy()]
    seed = _RANDOM_SEED if sampling.seed is None else sampling.seed
    if sampling.mirostat:
        return [*links, lib.llama_sampler_init_temp(sampling.temperature), _mirostat(sampling, vocabulary_tokens, seed)]
    if sampling.top_n_sigma != -1.0:
        links.append(lib.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
    links.append(lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p != 1.0:
        links.append(lib.llama_sampler_init_typical(sampling.typical_p, 1))
    links += [lib.llama_sampler_init_top_p(sampling.top_p, 1), lib.llama_sampler_init_min_p(sampling.min_p, 1)]
    if sampling.xtc:
        links.append(lib.llama_sampler_init_xtc(sampling.xtc.probability, sampling.xtc.threshold, 1, seed))
    if sampling.temperature_range:
        warmth = (sampling.temperature, sampling.temperature_range, sampling.temperature_exponent)
        links.append(lib.llama_sampler_init_temp_ext(*warmth))
    else:
        links.append(lib.llama_sampler_init_temp(sampling.temperature))
    return [*links, lib.llama_sampler_init_dist(seed)]


def _penalties(sampling: Sampling) -> tuple[float | None, float | None, float | None]:
    return (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)


def _punishes(sampling: Sampling) -> bool:
    return _penalties(sampling) != (1.0, 0.0, 0.0)


def _window_tokens(sampling: Sampling, context_tokens: int) -> int:
    """How much of what was said any link looks at."""
    dry_tokens = _whole(sampling.dry.window_tokens, context_tokens) if sampling.dry else 0
    return max(dry_tokens, _whole(sampling.repeat_window_tokens, context_tokens) if _punishes(sampling) else 0)


def _whole(window_tokens: int | None, context_tokens: int) -> int:
    """A window in tokens, -1 being the whole context."""
    assert window_tokens is not None, "the default sampling has one"
    return context_tokens if window_tokens < 0 else window_tokens


def _mirostat(sampling: Sampling, vocabulary_tokens: int, seed: int) -> Any:
    assert sampling.mirostat is not None
    tau, eta = sampling.mirostat.tau, sampling.mirostat.eta
    if sampling.mirostat.version == 1:
        return lib.llama_sampler_init_mirostat(vocabulary_tokens, seed, tau, eta, _MIROSTAT_TOKENS)
    return lib.llama_sampler_init_mirostat_v2(seed, tau, eta)


def _endless(model: Model) -> tuple[Bias, ...]:
    return tuple(Bias(token, -math.inf) for token in model.ends)


def _bias(biases: Sequence[Bias], vocabulary_tokens: int) -> Any:
    table = (lib.llama_logit_bias * len(biases))(*[(bias.token, bias.bias) for bias in biases])
    return lib.llama_sampler_init_logit_bias(vocabulary_tokens, len(biases), table)  # which copies the table


def resolve(*choices: Sampling) -> Sampling:
    """Field by field, the first of `choices` that says anything."""
    names = Sampling.__dataclass_fields__
    return Sampling(
        **{name: next((v for choice in choices if (v := getattr(choice, name)) is not None), None) for name in names}
    )
