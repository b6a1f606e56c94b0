"""More than can be served: 64 clients who ask four times as often as the device can answer.

Capacity is what eight clients get who each ask again as soon as they were answered, in the same play. Then requests
come at four times that rate whatever happens to those before, as people do who do not know of each other. A good server
keeps answering at its capacity, lets nobody whom it accepted wait long, and tells the others at once.
"""

import asyncio
import time
from dataclasses import dataclass

from benchmarks.peers.chats import Answer, Ask, Refused, user
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Values, percentile

_BUSY = (429, 503)
_CLOSED_CLIENTS = 8
_CLIENTS = 64
_TIMES_CAPACITY = 4
_TARGET_S = 5.0
# Of a closed client that was refused: so short that it leaves no place empty.
_AGAIN_S = 0.1
_QUESTION_WORDS, _ANSWER_TOKENS = 60, 32


@dataclass(frozen=True, slots=True)
class Overload:
    """Seconds of each of the two parts, and what is asked."""

    closed_s: float
    open_s: float
    answer_tokens: int = _ANSWER_TOKENS

    async def __call__(self, stage: Stage, seed: int) -> Values:
        per_s = await self._capacity_per_s(stage, seed)
        count = max(_CLIENTS, round(_TIMES_CAPACITY * per_s * self.open_s))
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(self._later(stage, seed, number, number / (_TIMES_CAPACITY * per_s)))
                for number in range(count)
            ]
        outcomes = [task.result() for task in asking]
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        refusals_s = [outcome.after_s for outcome in outcomes if isinstance(outcome, Refused)]
        # What is left in the queue at the end is served at the same rate, so the time of the last end counts.
        took_s = max(answer.ended_s for answer in answers) - began_s
        good = sum(answer.first_s <= _TARGET_S for answer in answers)
        return {
            "goodput / capacity": good / took_s / per_s,
            "capacity": 60 * per_s,
            "first word of accepted, p99": percentile([answer.first_s for answer in answers], 0.99),
            "accepted": len(answers) / count * 100,
        } | ({"refusal, p99": 1000 * percentile(refusals_s, 0.99)} if refusals_s else {})

    async def _capacity_per_s(self, stage: Stage, seed: int) -> float:
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            clients = [
                group.create_task(self._again_and_again(stage, seed, client, began_s + self.closed_s))
                for client in range(_CLOSED_CLIENTS)
            ]
        return sum(task.result() for task in clients) / (time.perf_counter() - began_s)

    async def _again_and_again(self, stage: Stage, seed: int, client: int, until_s: float) -> int:
        """Whoever is refused, as the last of eight who begin together may be, comes again soon and often."""
        answered = 0
        while not answered or time.perf_counter() < until_s:
            outcome = await self._try(stage, "closed", seed, client, answered)
            answered += isinstance(outcome, Answer)
            if isinstance(outcome, Refused):
                await asyncio.sleep(_AGAIN_S)
        return answered

    async def _later(self, stage: Stage, seed: int, number: int, after_s: float) -> Answer | Refused:
        await asyncio.sleep(after_s)
        return await self._try(stage, "open", seed, number % _CLIENTS, number)

    async def _try(self, stage: Stage, part: str, seed: int, client: int, number: int) -> Answer | Refused:
        try:
            return await stage.chat(self._ask(part, seed, client, number))
        except Refused as refusal:
            if refusal.status not in _BUSY:
                raise
            return refusal

    def _ask(self, part: str, seed: int, client: int, number: int) -> Ask:
        question = user(_QUESTION_WORDS, part, seed, client, number)
        return Ask([question], self.answer_tokens, f"{part} client {client}")


OVERLOAD = Scenario(
    name="overload",
    what="64 clients at 4x capacity, 60 words in, 32 tokens out",
    values={
        "goodput / capacity": "",
        "capacity": "answers per minute",
        "first word of accepted, p99": "s",
        "refusal, p99": "ms",
        "accepted": "%",
    },
    plays={"whole": Overload(20.0, 30.0), "quick": Overload(5.0, 8.0), "nano": Overload(0.2, 0.2, 4)},
    promises=(
        Promise("goodput / capacity", least=0.9),
        Promise("first word of accepted, p99", most=_TARGET_S),
        Promise("refusal, p99", most=100.0),
    ),
    # Nobody is kept who would hear the first word later than the target.
    needs=Needs(settings={"limits.queue_s": str(_TARGET_S), "limits.first_token_s": str(_TARGET_S)}),
    is_smaller_better=False,
)
