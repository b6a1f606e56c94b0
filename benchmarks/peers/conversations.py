"""Conversations that go on: what was read before must not be read again.

More conversations than slots, one long conversation, the same after a restart, and the same for networks whose memory
cannot be cut at any token. Reading again costs as much as reading the first time, so all figures are times until the
first word against a cold one, or against a server with the same memory for caches.
"""

import time
from dataclasses import dataclass

from benchmarks.peers.chats import Answer, Ask, Message, user
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Values, percentile


class _Conversation:
    """What was said so far, by one caller."""

    def __init__(self, caller: str) -> None:
        self._caller = caller
        self._messages: list[Message] = []

    async def ask(self, stage: Stage, question: Message, tokens: int) -> Answer:
        self._messages.append(question)
        answer = await stage.chat(Ask(tuple(self._messages), tokens, self._caller))
        self._messages.append(answer.message())
        return answer


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Conversations that take turns, one request at a time; later turns are counted, first ones are cold for all."""

    conversations: int
    first_words: int
    later_turns: int
    answer_tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        conversations = [_Conversation(f"caller {number}") for number in range(self.conversations)]
        firsts_s = []
        for turn in range(1 + self.later_turns):
            for number, conversation in enumerate(conversations):
                count = 40 if turn else self.first_words
                question = user(count, "round robin", seed, number, turn)
                answer = await conversation.ask(stage, question, self.answer_tokens)
                firsts_s += [answer.first_s] if turn else []
        return {"first word, p50": percentile(firsts_s, 0.5), "first word, p99": percentile(firsts_s, 0.99)}


ROUND_ROBIN = Scenario(
    name="round-robin",
    what="12 conversations over 4 slots, one after the other, the same bytes for caches",
    values={"first word, p50": "s", "first word, p99": "s"},
    plays={
        "whole": RoundRobin(12, first_words=300, later_turns=2, answer_tokens=16),
        "quick": RoundRobin(6, first_words=120, later_turns=1, answer_tokens=4),
        "nano": RoundRobin(6, first_words=20, later_turns=1, answer_tokens=2),
    },
    promises=(
        Promise("first word, p50", "llama-server", most=0.9),
        Promise("first word, p50", "tuned", most=1.0),
    ),
    # 600 tokens each: with 12 KiB a token (0.5B in 16 bits) all twelve weigh 84 MiB.
    needs=Needs(slots=4, context_tokens=4096, cache_mib=64),
    peers=("llama-server", "tuned"),
)


@dataclass(frozen=True, slots=True)
class SecondTurn:
    """A long question, and a short one after its answer; with `restarts` also a third after the server was restarted.

    The restarted server has answered something else before, so the model is in memory again.
    """

    first_words: int
    answer_tokens: int
    restarts: bool = False

    async def __call__(self, stage: Stage, seed: int) -> Values:
        conversation = _Conversation("caller")
        cold = await conversation.ask(stage, user(self.first_words, "second turn", seed), self.answer_tokens)
        second = await conversation.ask(stage, user(40, "second turn", seed, 2), self.answer_tokens)
        values = {
            "cold": cold.first_s,
            "second turn": second.first_s,
            "second turn / cold": second.first_s / cold.first_s,
        }
        if self.restarts:
            began_s = time.perf_counter()
            await stage.restart()
            values["restart"] = time.perf_counter() - began_s
            third = await conversation.ask(stage, user(40, "second turn", seed, 3), self.answer_tokens)
            values |= {"after the restart": third.first_s, "after the restart / cold": third.first_s / cold.first_s}
        return values


def _second_turn(name: str, what: str, most: float, shape: str | None, nano_shape: str) -> Scenario:
    return Scenario(
        name=name,
        what=what,
        values={"cold": "s", "second turn": "s", "second turn / cold": ""},
        plays={"whole": SecondTurn(2000, 32), "quick": SecondTurn(500, 8), "nano": SecondTurn(60, 2)},
        promises=(Promise("second turn / cold", most=most),),
        needs=Needs(context_tokens=4096),
        shape=shape,
        nano_shape=nano_shape,
    )


SECOND_TURN = _second_turn("second-turn", "second turn of a 2,000-token conversation", 0.05, None, "nano")
SECOND_TURN_WINDOW = _second_turn(
    "second-turn-window", "the same with sliding-window attention", 0.10, "gemma3-1b", "tiny-window"
)
SECOND_TURN_HYBRID = _second_turn(
    "second-turn-hybrid", "the same with a recurrent state", 0.10, "qwen3.5-0.8b", "tiny-hybrid"
)

RESTARTED = Scenario(
    name="restarted",
    what="the next turn of a 2,000-token conversation after the server was restarted",
    values={
        "cold": "s",
        "second turn": "s",
        "second turn / cold": "",
        "restart": "s",
        "after the restart": "s",
        "after the restart / cold": "",
    },
    plays={
        "whole": SecondTurn(2000, 32, restarts=True),
        "quick": SecondTurn(500, 8, restarts=True),
        "nano": SecondTurn(60, 2, restarts=True),
    },
    promises=(Promise("after the restart / cold", most=0.05),),
    needs=Needs(context_tokens=4096),
)
