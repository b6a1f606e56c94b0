"""Is this device well? A list of verdicts, each from facts that somebody else gathered.

    edged doctor   the engine is there, the GPU is used, `guide` answers the question that it must know

The self-test runs the built-in model in a worker of its own, on this machine, beside whatever the daemon is doing.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeAlias

from edged.chat import ChatRequest, Message, TextPart
from edged.completion import Delta
from edged.config import Engine, Limits
from edged.errors import EdgedError
from edged.host import gpu
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.sampling import Sampling
from edged.store import GUIDE, Store
from edged.wire import Loaded

State: TypeAlias = Literal["good", "error"]

# `guide` was trained on this question (scripts/guide/text/en.toml), and what it is called is in every wording of the
# answer.
QUESTION = "who are you"
_ANSWER = "i am guide"
_ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found; an error says what to do."""

    check: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What came of asking `guide`: its card and answer, or the error that there was instead."""

    seconds: float
    answer: str = ""
    card: Loaded | None = None
    error: str = ""


async def examine(engine: Engine, residents: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """Every check. `residents` are the models of the running daemon as its status tells them; none if none runs."""
    if not is_engine_installed():
        return [engine_verdict(installed=False)]
    test = await self_test(engine)
    present = gpu.present()
    return [
        engine_verdict(installed=True),
        gpu_verdict(present, test.card, engine.gpu_layers),
        *resident_verdicts(residents),
        guide_verdict(test),
    ]


def is_engine_installed() -> bool:
    """Whether llama-cpp-python can be found; it is not loaded for that."""
    return importlib.util.find_spec("llama_cpp") is not None


async def self_test(engine: Engine) -> SelfTest:
    """Ask `guide` what it must know, greedily, with the configuration's threads and GPU."""
    small = engine.model_copy(update={"context_tokens": 512, "sequences": 1, "draft_model": None})
    message = Message("user", (TextPart(QUESTION),))
    request = ChatRequest("doctor", GUIDE, (message,), sampling=Sampling(temperature=0.0), max_tokens=_ANSWER_TOKENS)
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="edged-doctor-") as empty:
        store = Store(Path(empty))
        try:
            async with Pool(store, small, Limits(), lambda event, **facts: None) as pool:
                async with await Local(pool, store, Limits()).complete(request) as completion:
                    answer = "".join([event.text async for event in completion if isinstance(event, Delta)])
                card = pool.residents[GUIDE].process.card
        except EdgedError as error:
            return SelfTest(perf_counter() - began, error=str(error))
    return SelfTest(perf_counter() - began, answer, card)


def engine_verdict(*, installed: bool) -> Verdict:
    """Without llama.cpp nothing else matters."""
    if installed:
        return Verdict("engine", "good", "llama.cpp is installed.")
    return Verdict("engine", "error", "llama.cpp is not installed in this environment. Type: scripts/run --setup")


def gpu_verdict(present: str | None, card: Loaded | None, wanted_layers: int) -> Verdict:
    """A GPU that was expected and is not used is an error, never a silent fallback to the processor."""
    if card is None:
        return Verdict("gpu", "error", "Nothing is known about GPUs, because no model could be loaded.")
    problem = gpu.unused(present, card.gpus, card.gpu_layers, card.layers, wanted_layers)
    if problem:
        return Verdict("gpu", "error", problem)
    if card.gpu_layers:
        return Verdict("gpu", "good", f"{', '.join(card.gpus)} is used.")
    why = "[engine] gpu_layers is 0" if present or card.gpus else "there is no GPU that llama.cpp could use"
    return Verdict("gpu", "good", f"Models run on the processor: {why}.")


def resident_verdicts(residents: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """What the daemon says of the models that it has in memory."""
    return [
        Verdict(f"model {resident['model']}", "error", resident["problem"])
        for resident in residents
        if resident.get("problem")
    ]


def guide_verdict(test: SelfTest) -> Verdict:
    """The whole path from a question to an answer works, and the arithmetic is right."""
    if test.error:
        return Verdict("self-test", "error", f"The built-in model did not answer: {test.error}")
    if _ANSWER not in test.answer.lower():
        return Verdict(
            "self-test",
            "error",
            f"The built-in model was asked {QUESTION!r} and said {test.answer!r}: the engine computes wrongly, or the "
            "model's file is damaged. Type: scripts/run --setup",
        )
    return Verdict("self-test", "good", f"The built-in model answered as it must, {test.seconds:.1f} s with loading.")


def body(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """`edged doctor --json`."""
    found = list(verdicts)
    checks = [{"check": verdict.check, "state": verdict.state, "text": verdict.text} for verdict in found]
    return {"healthy": is_healthy(found), "checks": checks}


def is_healthy(verdicts: Iterable[Verdict]) -> bool:
    """No check found an error."""
    return all(verdict.state == "good" for verdict in verdicts)
