"""What a scenario is: a way to play it, in three sizes, what it needs, and what is promised of it.

A play is one run against one contender. It gives values by name; every contender plays with the same seed in the same
round, so that values can be divided pair by pair. `whole` is what is published, `quick` shows in seconds that it
works, `nano` is for tests with a model of no weight.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import aiohttp

from benchmarks.peers.chats import Refused
from benchmarks.peers.contenders import Kind, Needs, Stage

Size = Literal["whole", "quick", "nano"]
Values = dict[str, float]
Play = Callable[[Stage, int], Awaitable[Values]]

# What a server that does not do as it should makes of a play; anything else is a mistake in the scenario.
FAILURES = (Refused, RuntimeError, TimeoutError, aiohttp.ClientError, OSError)


class Unsupported(Exception):
    """This contender cannot do what the scenario asks; the reason is shown in place of a value."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound on our median of `value`, or on its ratio to that of `against`, pair by pair. One bound is given."""

    value: str
    against: Kind | Literal["llama-bench"] | None = None
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """`values` names what a play may give, with the unit. The first is what llama-server's options are tuned for.

    `bench` asks llama-bench for values to stand beside them. `shared_prompts` are what the owner has set. `shape` is
    set where the scenario is about one architecture instead of the model of the run.
    """

    name: str
    what: str
    values: Mapping[str, str]
    plays: Mapping[Size, Play]
    promises: tuple[Promise, ...]
    needs: Needs
    peers: tuple[Kind, ...] = ()
    bench: Callable[[Path, Size], Values] | None = None
    shared_prompts: Mapping[Size, str] | None = None
    shape: str | None = None
    nano_shape: str = "nano"
    is_smaller_better: bool = True

    def needs_at(self, size: Size) -> Needs:
        """What a server must be told for a play of this size."""
        prompts = (self.shared_prompts[size],) if self.shared_prompts else ()
        return replace(self.needs, shared_prompts=prompts)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Everybody who plays, us first."""
        return ("edged", *self.peers)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def first_of(group: ExceptionGroup[Exception]) -> Exception:
    """The first failure that is not itself a group."""
    inner = group.exceptions[0]
    return first_of(inner) if isinstance(inner, ExceptionGroup) else inner
