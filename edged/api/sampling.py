"""How the next token is drawn, as clients of OpenAI and of llama-server say it.

OpenAI: platform.openai.com/docs/api-reference/chat; all others are llama-server's, with its names, meanings and
defaults (tools/server/README.md of llama.cpp, `/completion`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints

from edged.api.body import Strict
from edged.api.fields import LARGEST_COUNT, MAX_WINDOW, SEEDS
from edged.errors import InvalidRequest
from edged.sampling import Bias, Dry, Mirostat, Sampling, Xtc

# More tokens than any client weighs; each costs a look-up per token drawn.
_MAX_BIASES = 1024
# Each is compared with every word of the vocabulary before the answer begins (`worker/dry.py`).
_MAX_BREAKERS = 8
# What only says how, and the field that says whether.
_DETAILS = {
    "dry_base": "dry_multiplier",
    "dry_allowed_length": "dry_multiplier",
    "dry_penalty_last_n": "dry_multiplier",
    "dry_sequence_breakers": "dry_multiplier",
    "dynatemp_exponent": "dynatemp_range",
    "xtc_threshold": "xtc_probability",
    "mirostat_tau": "mirostat",
    "mirostat_eta": "mirostat",
}
_TokenId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
_BiasValue: TypeAlias = Annotated[float, Field(ge=-100, le=100)]
# -1 is the whole context, 0 switches it off.
_Window: TypeAlias = Annotated[int, Field(ge=-1, le=MAX_WINDOW)]
_Breaker: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=16)]


class SamplingFields(Strict):
    """The fields that say how a token is drawn; none of them, and the model's file or llama.cpp's default decides."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {detail: [switch] for detail, switch in _DETAILS.items()}}
    )

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logit_bias: Annotated[dict[_TokenId, _BiasValue], Field(max_length=_MAX_BIASES, default_factory=dict)]
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_n_sigma: Annotated[float, Field(ge=-1, le=1000)] | None = None
    dynatemp_range: Annotated[float, Field(ge=0, le=5)] | None = None
    dynatemp_exponent: Annotated[float, Field(ge=0, le=100)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: _Window | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Field(ge=1, le=10)] = 1.75
    dry_allowed_length: Annotated[int, Field(ge=1, le=MAX_WINDOW)] = 2
    dry_penalty_last_n: _Window = 64
    dry_sequence_breakers: Annotated[
        list[_Breaker], Field(max_length=_MAX_BREAKERS, default_factory=lambda: ["\n", ":", '"', "*"])
    ]
    xtc_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    xtc_threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: Annotated[float, Field(gt=0, le=100)] = 5.0
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] = 0.1
    ignore_eos: bool = False

    def sampling(self) -> Sampling:
        """The same in our words. Raises `InvalidRequest` for a detail of something that is not switched on."""
        self._check_details()
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=None if self.seed is None else self.seed % SEEDS,
            logit_bias=tuple(Bias(int(token), bias) for token, bias in self.logit_bias.items()) or None,
            typical_p=self.typical_p,
            top_n_sigma=self.top_n_sigma,
            temperature_range=self.dynatemp_range,
            temperature_exponent=self.dynatemp_exponent,
            repeat_window_tokens=self.repeat_last_n,
            dry=self._dry(),
            xtc=Xtc(self.xtc_probability, self.xtc_threshold) if self.xtc_probability else None,
            mirostat=Mirostat(self.mirostat, self.mirostat_tau, self.mirostat_eta) if self.mirostat else None,
            ignores_end=self.ignore_eos or None,
        )

    def _dry(self) -> Dry | None:
        if not self.dry_multiplier:
            return None
        breakers = tuple(self.dry_sequence_breakers)
        return Dry(self.dry_multiplier, self.dry_base, self.dry_allowed_length, self.dry_penalty_last_n, breakers)

    def _check_details(self) -> None:
        for detail, switch in _DETAILS.items():
            if detail in self.model_fields_set and switch not in self.model_fields_set:
                raise InvalidRequest(f"{detail} has no effect without {switch}.", param=detail)
