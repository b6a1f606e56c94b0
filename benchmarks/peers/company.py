"""Life with others: an office of eight who all work at once, and neighbours that have nothing to do with models.

The office is closed: everybody asks the next question as soon as the last is answered, so a server that makes somebody
wait loses answers for it. A neighbour is a loop that keeps a core busy; an engine thread that spins at a barrier for
another that was preempted stops everybody.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.peers.chats import Answer, Ask, system, user, words
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Size, Values, percentile


@dataclass(frozen=True, slots=True)
class Office:
    """Callers with the same system prompt, each in a conversation of so many turns."""

    shared: str
    callers: int
    turns: int
    question_words: int
    answer_tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            talking = [group.create_task(self._caller(stage, seed, caller)) for caller in range(self.callers)]
        took_s = time.perf_counter() - began_s
        firsts_s = [answer.first_s for task in talking for answer in task.result()]
        return {
            "answers": 60 * len(firsts_s) / took_s,
            "first word, p99": percentile(firsts_s, 0.99),
            "first word, p50": percentile(firsts_s, 0.5),
            "whole office": took_s,
        }

    async def _caller(self, stage: Stage, seed: int, caller: int) -> list[Answer]:
        messages = [system(self.shared)]
        answers = []
        for turn in range(self.turns):
            messages.append(user(self.question_words, "office", seed, caller, turn))
            answers.append(await stage.chat(Ask(tuple(messages), self.answer_tokens, f"caller {caller}")))
            messages.append(answers[-1].message())
        return answers


_OFFICE_PROMPTS: dict[Size, str] = {"whole": words(300, 3), "quick": words(300, 3), "nano": words(20, 3)}

OFFICE = Scenario(
    name="office",
    what="8 callers x 8 turns, one 300-token system prompt of the owner, 40 tokens in, 64 out, next turn at once",
    values={"answers": "per minute", "first word, p99": "s", "first word, p50": "s", "whole office": "s"},
    plays={
        "whole": Office(_OFFICE_PROMPTS["whole"], callers=8, turns=8, question_words=40, answer_tokens=64),
        "quick": Office(_OFFICE_PROMPTS["quick"], callers=8, turns=2, question_words=40, answer_tokens=12),
        "nano": Office(_OFFICE_PROMPTS["nano"], callers=3, turns=2, question_words=8, answer_tokens=4),
    },
    promises=(
        Promise("answers", "llama-server", least=1.05),
        Promise("first word, p99", "llama-server", most=0.8),
        Promise("answers", "tuned", least=1.0),
        Promise("first word, p99", "tuned", most=1.0),
        Promise("answers", "llama_cpp.server", least=3.0),
        Promise("first word, p99", "llama_cpp.server", most=0.35),
        Promise("whole office", "llama_cpp.server", most=0.60),
    ),
    needs=Needs(context_tokens=16_384),
    shared_prompts=_OFFICE_PROMPTS,
    peers=("llama-server", "tuned", "llama_cpp.server"),
    is_smaller_better=False,
)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One stream, undisturbed and then beside so many busy loops."""

    loops: int
    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        alone = await stage.chat(Ask([user(16, "alone", seed)], self.tokens))
        with _busy(self.loops):
            beside = await stage.chat(Ask([user(16, "neighbours", seed)], self.tokens))
        return {"decode": beside.tokens_per_s, "of undisturbed": beside.tokens_per_s / alone.tokens_per_s}


@contextlib.contextmanager
def _busy(loops: int) -> Iterator[None]:
    """Processes of default niceness that may run on any core."""
    program = [sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(loops):
            process = stack.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()  # it runs
        yield


def _neighbours(name: str, loops: int, what: str, promises: tuple[Promise, ...]) -> Scenario:
    return Scenario(
        name=name,
        what=what,
        values={"decode": "tokens/s", "of undisturbed": ""},
        plays={"whole": Neighbours(loops, 64), "quick": Neighbours(loops, 24), "nano": Neighbours(loops, 8)},
        promises=promises,
        needs=Needs(),
        peers=("llama-server", "tuned"),
        is_smaller_better=False,
    )


ONE_NEIGHBOUR = _neighbours(
    "neighbour",
    1,
    "one neighbour keeps a core busy",
    (
        Promise("decode", "llama-server", least=1.5),
        Promise("decode", "tuned", least=1.0),
        Promise("of undisturbed", least=0.5),
    ),
)

TWO_NEIGHBOURS = _neighbours(
    "neighbours",
    2,
    "two neighbours keep two cores busy",
    (Promise("decode", "llama-server", least=3.0), Promise("decode", "tuned", least=1.0)),
)
