"""What every request of the Ollama dialect may say beside its text: options, durations, formats, thinking.

Sources: docs/api.md, docs/modelfile.mdx and docs/openapi.yaml of ollama/ollama, `Options`, `Duration` and `ThinkValue`
in its api/types.go; ollama/_types.py of ollama/ollama-python for what older servers knew.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from edged.api.body import Strict
from edged.api.constraint import of_schema
from edged.api.fields import LARGEST_COUNT, MAX_STOPS, MAX_WINDOW, SEEDS, Stop, effort_of
from edged.chat import ReasoningEffort
from edged.errors import InvalidRequest, UnsupportedParameter
from edged.sampling import Constraint, Mirostat, Sampling

# Tail-free sampling, which llama.cpp no longer has, switched off: what happens anyway.
_NO_TAIL = 1.0


def _whole(value: Any) -> Any:
    """Programs whose numbers are all floats send 8192.0 for 8192, Home Assistant among them; Ollama takes it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Behind the bounds, so that a schema tells them.
WHOLE = BeforeValidator(_whole)
Whole: TypeAlias = Annotated[int, WHOLE]
Think: TypeAlias = bool | Literal["low", "medium", "high", "max"] | None
Format: TypeAlias = Literal["", "json"] | dict[str, Any] | None


class EmbedOptionsBody(Strict):
    """`options` of a request for vectors: drawing tokens has no part in it.

    `num_ctx` is how much room the caller would have; Home Assistant sends it with every request, whatever the model.
    The owner decides how large a context is ([engine]). More room than asked for hurts nobody; where there is less,
    nothing is refused until it matters, as in Ollama with a model that was trained for less. What then does not fit is
    told with both numbers, what was left out in the answer's headers, the length itself by `/api/ps`.
    """

    num_ctx: Annotated[int, Field(ge=1, le=LARGEST_COUNT), WHOLE] | None = None


class OptionsBody(EmbedOptionsBody):
    """`options` of a chat or a generation. Where and how the model runs is the owner's: no option here says so.

    `use_mlock` asks that the weights be kept from being paged out, and AnythingLLM asked so in every request for a long
    time. What is in memory is the owner's to decide like the context, `keep_alive` says for how long, and the answer is
    the same.
    """

    use_mlock: bool = False
    # -1 is Ollama's default, no bound, for which the device has its own; -2 as much as the context holds.
    num_predict: Annotated[int, Field(ge=-2, le=LARGEST_COUNT), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT), WHOLE] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    # -1 is Ollama's default: every answer differs.
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] = Field(default_factory=list)
    typical_p: Annotated[float, Field(ge=0, le=1)] | None = None
    tfs_z: float | None = None
    # -1 is the whole context, 0 switches the penalties off.
    repeat_last_n: Annotated[Whole, Field(ge=-1, le=MAX_WINDOW)] | None = None
    # With the defaults of Ollama's Modelfile, which programs still send though its documentation dropped them.
    mirostat: Annotated[Literal[0, 1, 2], BeforeValidator(_whole)] | None = None
    mirostat_tau: Annotated[float, Field(gt=0, le=100)] = 5.0
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] = 0.1

    def check(self) -> None:
        """Raises `UnsupportedParameter`, `InvalidRequest` for a value that cannot be honoured."""
        if self.tfs_z not in (None, _NO_TAIL):
            raise UnsupportedParameter(
                f"options.tfs_z is {self.tfs_z}, and here it is always {_NO_TAIL}; leave it out.", param="options.tfs_z"
            )
        for detail in ("mirostat_tau", "mirostat_eta"):
            if detail in self.model_fields_set and self.mirostat is None:
                raise InvalidRequest(
                    f"options.{detail} has no effect without options.mirostat.", param=f"options.{detail}"
                )
        if self.num_predict == 0:
            raise InvalidRequest(
                "options.num_predict is 0, an answer without a word; for loading a model send no prompt.",
                param="options.num_predict",
            )

    def sampling(self) -> Sampling:
        """The sampling options, in our words."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=None if self.seed in (None, -1) else self.seed % SEEDS,
            typical_p=self.typical_p,
            repeat_window_tokens=self.repeat_last_n,
            mirostat=Mirostat(self.mirostat, self.mirostat_tau, self.mirostat_eta) if self.mirostat else None,
        )

    def most_tokens(self) -> int | None:
        """The bound on the answer; None leaves it to the device."""
        if self.num_predict in (None, -1):
            return None
        return LARGEST_COUNT if self.num_predict == -2 else self.num_predict

    def stops(self) -> tuple[str, ...]:
        """The stop strings; one alone may come without a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def thinks(value: Think) -> bool | None:
    """Whether `think` asks for thinking at all; every degree does."""
    return True if isinstance(value, str) else value


def effort(value: Think) -> ReasoningEffort | None:
    """The degree; "max" is "high" to the models that know three, as in Ollama."""
    return effort_of(value) if isinstance(value, str) else None


def constraint(format: Format) -> Constraint | None:
    """What `format` asks for: any JSON object, or JSON of a schema, whose odd keywords are left to the model."""
    if not isinstance(format, dict):
        return Constraint("json_schema", '{"type":"object"}') if format else None
    return of_schema(format, is_lenient=True)
