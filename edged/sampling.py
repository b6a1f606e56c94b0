"""How an answer is drawn and what it must look like: values, in no dialect.

What each number does is llama.cpp's affair (include/llama.h, `llama_sampler_init_…`); here is what can be wished for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

# "calls" is a tree in JSON that only the daemon writes (worker/call_grammar.py).
ConstraintKind: TypeAlias = Literal["json_schema", "regex", "gbnf", "lark", "calls"]


@dataclass(frozen=True, slots=True)
class Bias:
    """What is added to the logit of one token, by its id, before anything else looks at it."""

    token: int
    bias: float


@dataclass(frozen=True, slots=True)
class Dry:
    """Don't repeat yourself: what would prolong a repetition beyond `allowed_length` tokens gets the less likely the
    longer it is, by `multiplier` × `base` ^ length. Repetitions do not reach across `breakers`.

    `window_tokens` is how far back it looks; -1 is the whole context.
    """

    multiplier: float
    base: float
    allowed_length: int
    window_tokens: int
    breakers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Xtc:
    """Exclude top choices: with `probability`, of all tokens likelier than `threshold` only the least likely stays."""

    probability: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Mirostat:
    """Instead of truncation keep each token's surprise near `tau`, learning with rate `eta` (arXiv 2007.14966)."""

    version: Literal[1, 2]
    tau: float
    eta: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. `None` leaves the choice to the model's file, then to llama.cpp's default.

    `temperature` 0 is greedy; with a `temperature_range` it follows how sure the model is, with that exponent. `seed`
    is 32 bits wide; without one, every answer differs. Penalties count the last `repeat_window_tokens`, -1 for all.
    `ignores_end`: the model may not end its answer.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    logit_bias: tuple[Bias, ...] | None = None
    typical_p: float | None = None
    top_n_sigma: float | None = None
    temperature_range: float | None = None
    temperature_exponent: float | None = None
    repeat_window_tokens: int | None = None
    dry: Dry | None = None
    xtc: Xtc | None = None
    mirostat: Mirostat | None = None
    ignores_end: bool | None = None

    def for_choice(self, choice: int) -> Sampling:
        """The same, for the `choice`-th of several answers: a fixed seed must not draw the same answer twice.

        The largest number of 32 bits is no seed: to llama.cpp it means "draw one".
        """
        return self if self.seed is None else replace(self, seed=(self.seed + choice) % (2**32 - 1))


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must be: JSON of a schema, a match of a regex, a sentence of a grammar (GBNF, Lark, or calls).

    A lenient schema may hold keywords that cannot be enforced; they are left to the model. A strict one must not.
    """

    kind: ConstraintKind
    text: str
    is_lenient: bool = False
