"""What the time of workers went into, summed up from their steps."""

from __future__ import annotations

from dataclasses import dataclass

from edged.wire import Step


@dataclass(slots=True)
class Work:
    """Running totals of a worker: what its time went into."""

    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    step_s: float = 0.0
    decode_s: float = 0.0
    sample_s: float = 0.0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    def absorb(self, other: Work) -> None:
        """Add what another worker has done."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add(self, step: Step) -> None:
        """Count one step."""
        self.steps += 1
        self.prompt_tokens += step.prompt_tokens
        self.completion_tokens += sum(output.tokens for output in step.outputs)
        self.step_s += step.step_s
        self.decode_s += step.decode_s
        self.sample_s += step.sample_s
        self.drafted_tokens += step.drafted
        self.accepted_tokens += step.accepted
