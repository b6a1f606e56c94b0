"""One model in one process, and the answers that it owes.

    loading ──Loaded──▶ ready ──death, silence, stop──▶ gone

Everything that was promised ends: with a finish, or with the error that `gone` carries. Silence is noticed too: a step
is planned to take at most a second, so a worker that owes something and says nothing for ten is hung and is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import psutil

from edged.chat import ChatRequest, Delta, Event, Finish
from edged.errors import ContextLengthExceeded, EdgedError, LoadTimeout, ModelInvalid, WorkerCrashed, WorkerStalled
from edged.local.child import Child
from edged.wire import (
    Accepted,
    Cancel,
    Frame,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Output,
    Rejected,
    Span,
    Step,
    Tuned,
    WireError,
)

# Ten planned steps (`worker/pace.py`), and time left to replace the worker within 15 s.
SILENCE_S = 10.0
# On a machine that others keep busy a step can take many seconds: a worker that still burns CPU time is slow, not hung,
# and is given a minute. One that is stopped or deadlocked burns none.
_BUSY_SILENCE_S = 60.0
_BUSY_SHARE = 0.02
_LOOK_EVERY_S = 2.0
# Loading is bound by the disk: the slowest SD cards still sold (speed class 10) promise 10 MB/s. Nothing is called
# stuck in less than a minute.
_SLOWEST_DISK_BYTES_PER_S = 10_000_000
_SHORTEST_LOAD_DEADLINE_S = 60.0


@dataclass(slots=True)
class Work:
    """Running totals of a worker: what its time went into."""

    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    step_s: float = 0.0
    decode_s: float = 0.0
    sample_s: float = 0.0

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


News: TypeAlias = Event | Accepted | EdgedError


@dataclass(slots=True, eq=False)
class Answers:
    """The `n` answers to one request as they arrive."""

    ids: range
    _news: asyncio.Queue[News] = field(default_factory=asyncio.Queue)

    def put(self, news: News) -> None:
        """Something happened; an error is the end of all of them."""
        self._news.put_nowait(news)

    async def admitted(self) -> int:
        """Wait until the worker has accepted the prompt; how many tokens it has. Raises why not."""
        news = await self._news.get()
        if isinstance(news, EdgedError):
            raise news
        assert isinstance(news, Accepted)
        return news.prompt_tokens

    async def events(self) -> AsyncIterator[Event]:
        """Deltas and finishes until every choice has finished; raises the error that ended them instead."""
        running = len(self.ids)
        while running:
            news = await self._news.get()
            if isinstance(news, EdgedError):
                raise news
            if isinstance(news, Accepted):
                continue  # the same prompt, accepted for a further choice
            running -= isinstance(news, Finish)
            yield news


class WorkerProcess:
    """One child that holds one model. `on_gone` is called once, when it has left or was never able to start."""

    def __init__(self, name: str, on_gone: Callable[[EdgedError], None]) -> None:
        self.name = name
        self.work = Work()
        self.progress = 0.0
        self.card: Loaded | None = None
        self.on_tuned: Callable[[int], None] = lambda decode_threads: None
        self._on_gone = on_gone
        self._error: EdgedError | None = None
        self._child: Child | None = None
        self._settled = asyncio.Event()
        self._next_id = 1
        self._owed: dict[int, Answers] = {}
        self._heard_s = 0.0
        self._burnt_s = 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid if self._child else None

    async def load(self, load: Load, descriptor: int) -> Loaded:
        """Start the child and have it load the model behind `descriptor`, which stays the caller's.

        Raises `ModelInvalid` when the engine refuses the file, `LoadTimeout`, or `WorkerCrashed`.
        """
        self._child = await Child.spawn("edged.worker", self._hear, self._bury)
        self._child.send(load, [descriptor])
        deadline_s = load_deadline_s(os.fstat(descriptor).st_size)
        try:
            async with asyncio.timeout(deadline_s):
                await self._settled.wait()
        except TimeoutError:
            self._kill(LoadTimeout(f"The model {self.name} did not load within {deadline_s:.0f} s."))
            await self._settled.wait()
        if self.card is None:
            assert self._error is not None
            raise self._error
        return self.card

    @contextmanager
    def answering(self, request: ChatRequest, prompt: tuple[Span, ...], max_tokens: int) -> Iterator[Answers]:
        """Ask for the `n` answers that `request` wants to `prompt`; leaving cancels what still runs."""
        if self._error is not None:
            raise self._error
        assert self._child is not None
        answers = Answers(range(self._next_id, self._next_id + request.n))
        self._next_id = answers.ids.stop
        if not self._owed:
            self._expect_news()
        for choice, id in enumerate(answers.ids):
            self._owed[id] = answers
            self._child.send(Generate(id, prompt, max_tokens, request.sampling.for_choice(choice), request.stop))
        try:
            yield answers
        finally:
            for id in answers.ids:
                if self._owed.pop(id, None) is not None:
                    self._child.send(Cancel(id))

    def interrupt(self, error: EdgedError) -> None:
        """End every running answer with `error`."""
        for answers in set(self._owed.values()):
            answers.put(error)

    async def stop(self) -> None:
        """Hang up and wait until the child is gone; what it still owes fails."""
        if self._child is not None:
            await self._child.hang_up()

    def _hear(self, frame: Frame) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        match frame:
            case Step():
                self.work.add(frame)
                for output in frame.outputs:
                    self._deliver(output)
            case Accepted(id):
                if id in self._owed:
                    self._owed[id].put(frame)
            case Rejected(id, prompt_tokens, context_tokens):
                if id in self._owed:
                    self._owed.pop(id).put(ContextLengthExceeded(prompt_tokens, context_tokens))
            case Tuned(decode_threads):
                self.on_tuned(decode_threads)
            case Loading(progress):
                self.progress = progress
            case Loaded():
                self.card, self.progress = frame, 1.0
                self._settled.set()
            case LoadFailed(message):
                self._error = ModelInvalid(f"llama.cpp could not load the model {self.name}: {message}")
            case _:
                raise WireError(f"a worker does not send {type(frame).__name__}")

    def _deliver(self, output: Output) -> None:
        answers = self._owed.get(output.id)
        if answers is None:
            return  # cancelled while the step was under way
        choice = output.id - answers.ids.start
        if output.text:
            answers.put(Delta(choice, output.text, output.tokens))
        if output.finish:
            answers.put(Finish(choice, output.finish, output.total))
            del self._owed[output.id]

    def _expect_news(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard_s = loop.time()
        if self._watchdog is None:
            self._burnt_s = self._cpu_s()
            self._watchdog = loop.call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Is it still at work? Asked every two seconds while it owes something."""
        self._watchdog = None
        if not self._owed:
            return
        loop = asyncio.get_running_loop()
        silent_s, burnt_s = loop.time() - self._heard_s, self._cpu_s()
        is_busy = burnt_s - self._burnt_s > _BUSY_SHARE * _LOOK_EVERY_S
        self._burnt_s = burnt_s
        if silent_s >= (_BUSY_SILENCE_S if is_busy else SILENCE_S):
            message = f"The process of model {self.name} made no progress for {silent_s:.0f} s; it was replaced."
            self._kill(WorkerStalled(message))
        else:
            self._watchdog = loop.call_later(_LOOK_EVERY_S, self._look)

    def _cpu_s(self) -> float:
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0  # it has just died; its end of the line tells the rest
        return times.user + times.system

    def _kill(self, error: EdgedError) -> None:
        assert self._child is not None
        self._error = self._error or error
        self._child.kill(error.code)

    def _bury(self, cause: str) -> None:
        assert self._child is not None
        doing = "while answering" if self._owed else "while loading" if self.card is None else "while idle"
        self._error = self._error or WorkerCrashed(
            f"The process of model {self.name} {cause} {doing}; the next request starts a new one."
        )
        if self._watchdog is not None:
            self._watchdog.cancel()
        self.interrupt(self._error)
        self._owed.clear()
        self._settled.set()
        self._on_gone(self._error)


def load_deadline_s(model_bytes: int) -> float:
    """How long a model of this size may take to load before it counts as stuck."""
    return max(_SHORTEST_LOAD_DEADLINE_S, model_bytes / _SLOWEST_DISK_BYTES_PER_S)
