"""An office that is played with a clock of its own: the line, the forecasts, the worker's own batcher and pace.

Played are a request's way through the line to the worker, its steps, and the frames that the daemon hears; invented are
only the machine and the callers. What decides is the real thing; the loops around it are those of `Pool` and `Worker`
without sockets.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Any, cast

from edged.chat import Caller, ChatRequest, Message, TextPart
from edged.local.estimate import Size, Sizes
from edged.local.line import Line, Waiter, too_late
from edged.local.making_room import Seat
from edged.local.outlook import Outlook, Run
from edged.local.plan import Want, plan
from edged.local.predict import Effort, Forecast
from edged.wire import Output, Step
from edged.worker.batcher import Batcher
from edged.worker.engine import Row
from edged.worker.job import Job
from edged.worker.pace import Pace
from edged.worker.sequence import Sequence, StopFilter

SLOTS, ANSWER_TOKENS, TURNS = 8, 64, 8
SYSTEM_WORDS, TURN_WORDS = 300, 40
# A template's marks around every message, and the opened turn of the assistant.
MARKS, OPENED = 4, 3
# Rendering and two sockets; and a client that asks again as soon as it was answered.
HAND_OVER_S, RETURN_S = 0.004, 0.002


class Desk:
    """An engine that computes nothing: what its books must be is `FakeLlama`'s business (`tests/worker`)."""

    context_tokens, sequences, slots, batch_tokens, is_cuttable = 16384, SLOTS, 2 * SLOTS + 1, 512, True

    def decode(self, rows: Items[Row]) -> None:
        """In no time; the machine says what it would have taken."""

    def copy(self, source: int, target: int, count: int) -> None:
        """Nothing to share."""

    def cut(self, slot: int, count: int) -> None:
        """Nothing to cut."""

    def release(self, slot: int) -> None:
        """Nothing to let go."""

    def checkpoint(self, slot: int) -> bytes:
        """Nothing."""
        return b""

    def checkpoint_bytes(self, slot: int) -> int:
        """No longer than that."""
        return 0

    def resume(self, slot: int, checkpoint: bytes) -> None:
        """Nothing to bring back."""

    def save(self, slot: int) -> bytes:
        """Nothing."""
        return b""

    def save_bytes(self, slot: int) -> int:
        """No longer than that."""
        return 0

    def load(self, slot: int, state: bytes) -> bool:
        """As good as it was."""
        return True

    def piece(self, token: int) -> bytes:
        """Every token is a word."""
        return b"word "

    def is_end(self, token: int) -> bool:
        """Answers are as long as they may be."""
        return False


class Words:
    """A sampler: the words of an answer are those that its next turn will quote."""

    is_ready, score = True, None

    def draw(self, row: int | None) -> int:
        """Always the same word."""
        return WORD

    def keep(self, row: int) -> None:
        """Never asked."""

    def force(self, tokens: Iterable[int]) -> None:
        """Never asked."""

    def foresee(self, tokens: Iterable[int]) -> None:
        """Nothing needs preparing."""

    def close(self) -> None:
        """Nothing to release."""


WORD, MARK = 1, 2


@dataclass(slots=True)
class Machine:
    """Two processors: tiles of four rows, dear remainders, attention, unrest, and neighbours who come and go.

    The costs are near those of a 0.5B model in Q4_0 on two x86 cores (`tests/worker/test_pace.py`).
    """

    chance: random.Random
    unrest: float
    neighbours: float = 0.0
    slowness: float = 1.0

    def step_s(self, decoding: int, read: int, depth_tokens: int) -> float:
        if self.chance.random() < 0.01:
            self.slowness = 1 + self.neighbours * self.chance.random()
        tiles, odd = divmod(decoding + read, 4)
        output_s = 0.005 if decoding else 0.0
        quiet_s = output_s + tiles * 0.0288 + odd * 0.018 + 2.2e-6 * read * depth_tokens
        return quiet_s * self.slowness * self.chance.lognormvariate(0, self.unrest)


@dataclass(slots=True, eq=False)
class Person:
    """Somebody who goes on with a conversation until all turns are taken, or begins another one each time."""

    number: int
    starts_s: float = 0.0
    turns: int = TURNS
    thinks_s: Callable[[], float] = lambda: 0.0
    shares_prompt: bool = True
    is_forgetful: bool = False
    deadline_s: float | None = None
    answer_tokens: int = ANSWER_TOKENS
    turn_words: int = TURN_WORDS
    messages: list[Message] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    turn: int = 0
    id: int = 0
    asked_s: float = 0.0
    expected: Forecast | None = None
    request: ChatRequest | None = None
    size: Size | None = None
    granted_s: float = 0.0
    run: Run | None = None
    has_heard: bool = False

    @property
    def want(self) -> Want:
        """A caller of its own."""
        return Want("model", 1, "interactive", ("open", str(self.number)))

    def ask(self, now_s: float, id: int) -> None:
        """The next question."""
        if not self.messages or self.is_forgetful:
            shared = SYSTEM_WORDS if self.shares_prompt else 0
            self.messages = [Message("system", (TextPart("water " * shared),))] if shared else []
            self.tokens = [MARK] * MARKS + [WORD] * shared if shared else []
        text = " ".join(["water"] * self.turn_words)
        self.messages = [*self.messages, Message("user", (TextPart(f"{text} {id}"),))]
        self.tokens = self.tokens + [MARK] * MARKS + [id] * self.turn_words
        self.request = ChatRequest("id", messages=tuple(self.messages), caller=Caller(account="open"))
        self.id, self.asked_s, self.has_heard = id, now_s, False

    def remember(self, answer_tokens: int) -> None:
        """What was said is part of the conversation."""
        self.messages.append(Message("assistant", (TextPart("word " * answer_tokens),)))
        self.tokens = self.tokens + [MARK] * OPENED + [WORD] * answer_tokens
        self.turn += 1


@dataclass(frozen=True, slots=True)
class Told:
    """What was expected of one request, and what came; `ended_s` is on the office's clock."""

    turn: int
    expected_s: float | None
    real_s: float
    ended_s: float = 0.0

    @property
    def is_near(self) -> bool:
        """Within a quarter."""
        return self.expected_s is not None and abs(self.real_s / self.expected_s - 1) <= 0.25


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody was not let in, after so many seconds."""

    after_s: float


class Office:
    """One worker and everybody who asks it, on one clock."""

    def __init__(self, machine: Machine, *, has_shared_prompt: bool = True) -> None:
        self.now_s = 0.0
        self.told: list[Told] = []
        self.refused: list[Refused] = []
        self._machine, self._pace, self._sizes = machine, Pace(), Sizes()
        self._outlook = Outlook(lambda: self.now_s)
        self._batcher = Batcher(desk := Desk(), desk, self._begun)
        if has_shared_prompt:
            self._batcher.pin([MARK] * MARKS + [WORD] * SYSTEM_WORDS)
        self._ids = itertools.count(3)
        self._free = SLOTS
        self._line = Line[Person]()
        self._waiting: dict[Waiter[Person], Person] = {}
        self._coming: list[tuple[float, int, Person]] = []
        self._sent: list[tuple[float, Person]] = []
        self._running: dict[int, Person] = {}

    def play(self, people: Iterable[Person]) -> list[Told]:
        """Until everybody had the last answer; what was told meanwhile."""
        before = len(self.told)
        for person in people:
            self._expect(person, person.starts_s)
        while self._coming or self._sent or not self._batcher.is_idle:
            if self._batcher.is_idle and not self._sent:
                self._hear_until(self._coming[0][0])
            if self._batcher.is_idle and self._sent:
                self.now_s = max(self.now_s, self._sent[0][0])
            self._take()
            if not self._batcher.is_idle:
                self._step()
        assert not self._waiting
        return self.told[before:]

    def _expect(self, person: Person, time_s: float) -> None:
        heapq.heappush(self._coming, (time_s, next(self._ids), person))

    def _hear_until(self, time_s: float) -> None:
        """The daemon's part of the time: requests come, are refused or handed over, and some have waited enough."""
        while self._coming and self._coming[0][0] <= time_s:
            self.now_s, id, person = heapq.heappop(self._coming)
            person.ask(self.now_s, id)
            self._ask(person)
        self.now_s = time_s
        for waiter, person in list(self._waiting.items()):
            if person.deadline_s is not None and self.now_s - person.asked_s > person.deadline_s:
                del self._waiting[waiter]
                self._line.waiters.remove(waiter)
                self._line.ledger.leave(waiter.want.path)
                self.refused.append(Refused(person.deadline_s))

    def _ask(self, person: Person) -> None:
        assert person.request
        person.size = self._sizes.estimate(person.request)
        effort = Effort(person.size.unread_tokens, person.answer_tokens)
        person.expected = self._outlook.forecast([*self._line.ahead_of(person.want), effort], self._free)
        if too_late(person.expected, person.deadline_s):
            self.refused.append(Refused(0.0))
            return
        waiter = Waiter[Person](person.want, effort, cast(Any, None))
        self._line.join(waiter)
        self._waiting[waiter] = person
        self._dispatch()

    def _dispatch(self) -> None:
        line, seat = self._line, Seat("ready", self._free, SLOTS, 0.0)
        now = plan(line.wants, {"model": seat}, 1, line.ledger.standings, line.passed)
        line.passed = now.passed
        for waiter in [line.waiters[index] for index in now.grants]:
            line.waiters.remove(waiter)
            line.ledger.grant(waiter.want.path, waiter.want.slots)
            self._free -= 1
            person = self._waiting.pop(waiter)
            person.granted_s = self.now_s
            person.run = self._outlook.add(waiter.effort, person.expected, self.now_s - person.asked_s)
            self._outlook.speed.note_hand_over(HAND_OVER_S)
            self._sent.append((self.now_s + HAND_OVER_S, person))

    def _take(self) -> None:
        """The worker reads its frames."""
        while self._sent and self._sent[0][0] <= self.now_s:
            _, person = self._sent.pop(0)
            prompt = person.tokens + [MARK] * OPENED
            self._running[person.id] = person
            answer = Sequence(person.id, prompt, len(prompt), person.answer_tokens, StopFilter(()), "open")
            self._batcher.submit(Job(answer, Words()))

    def _begun(self, sequence: Sequence, cached_tokens: int) -> None:
        person = self._running[sequence.id]
        assert person.run
        assert person.request
        assert person.size
        self._outlook.begin(person.run, sequence.prompt_tokens - cached_tokens)
        self._sizes.learn(person.request, person.size, sequence.prompt_tokens, cached_tokens)

    def _step(self) -> None:
        batcher, began_s = self._batcher, self.now_s
        decoding, depth, chunk = batcher.decoding, batcher.depth_tokens, 0
        if batcher.is_reading:
            chunk = self._pace.chunk_tokens(decoding=decoding, depth_tokens=depth, most=Desk.batch_tokens)
        outputs, read = batcher.step(chunk)
        step_s = self._machine.step_s(decoding, read, depth)
        self._pace.observe(decoding=decoding, prompt_tokens=read, depth_tokens=depth, step_s=step_s)
        self._hear_until(began_s + step_s)
        told = [(self._running[output.id], output) for output in outputs]
        step = Step(tuple(outputs), read, step_s, step_s, 0.0, decoding, chunk)
        self._outlook.note_step(step, [(person.run, output.tokens) for person, output in told if person.run])
        for person, output in told:
            self._hear(person, output)

    def _hear(self, person: Person, output: Output) -> None:
        if not person.has_heard:
            person.has_heard = True
            expected = person.expected
            expected_s = expected.first_token_s if expected and expected.is_measured else None
            self.told.append(Told(person.turn, expected_s, self.now_s - person.asked_s, self.now_s))
        if output.finish:
            assert person.run
            assert person.request
            self._outlook.note_end(person.run, output.total)
            self._outlook.remove(person.run)
            self._sizes.answered(person.request, output.total)
            self._free += 1
            self._line.give_back(person.want, self.now_s - person.granted_s)
            self._dispatch()
            person.remember(output.total)
            if person.turn < person.turns:
                self._expect(person, self.now_s + RETURN_S + person.thinks_s())
