"""One model in one process, and the answers that it owes.

    loading ──Loaded──▶ ready ──death, silence, stop──▶ gone

Everything that was promised ends: with a finish, or with the error that `gone` carries. Silence is noticed too
(`watchdog.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from edged.chat import ChatRequest, Lane
from edged.completion import Delta, Finish, Progress
from edged.errors import (
    ContextLengthExceeded,
    EdgedError,
    LoadTimeout,
    WorkerCrashed,
    WorkerStalled,
    WorkerStarved,
)
from edged.framing import WireError
from edged.local.answers import FAILURES, Answers, frame_of
from edged.local.asking import Asking
from edged.local.child import Child
from edged.local.loads import bytes_on_disk, load_deadline_s
from edged.local.manner import Manner
from edged.local.measuring import Measured, Measuring
from edged.local.outlook import Outlook, Run
from edged.local.refusal import refused
from edged.local.watchdog import Watchdog
from edged.local.work import Work
from edged.prefix_wire import AllPutAway, Discard, Keep, Kept, PrefixNews, PrefixOrder, Restoring, Used
from edged.template_wire import Span
from edged.token_wire import Count, Counted, Detokenized, Tokenized, TokenNews, TokenOrder
from edged.wire import (
    Accepted,
    Cancel,
    DrafterLost,
    Embed,
    Embedded,
    Failed,
    Frame,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Output,
    Rank,
    Rejected,
    Scored,
    Share,
    Starved,
    Step,
    Threads,
    Tuned,
)

# Has malloc ask the kernel for huge pages (GNU C Library manual, "Memory Allocation Tunables"): decoding walks through
# all weights, and where the kernel gives them only on demand 4 KiB pages cost it a tenth (`benchmarks/LOG.md`).
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

Asker = TypeVar("Asker", Answers, Measuring)


class WorkerProcess:
    """One child that holds one model. `on_gone` is called once, when it has left or was never able to start.

    `lane` is the more urgent one of what it answers now, None while it answers nothing; `on_lane` is called when that
    changes, before the worker hears of it. Its last step ran on `threads` threads at most; `has_measured` says that it
    knows what its steps cost, and need not find out any more.
    """

    def __init__(self, name: str, on_gone: Callable[[EdgedError], None]) -> None:
        self.name = name
        self.work = Work()
        self.progress = 0.0
        self.was_killed = self.was_answering = False  # by force, which the kernel uses too; when it ended
        self.card: Loaded | None = None
        self.outlook = Outlook()
        self.on_tuned: Callable[[Tuned], None] = lambda tuned: None
        self.on_drafter_lost: Callable[[str], None] = lambda reason: None
        self.on_prefix_news: Callable[[PrefixNews | None], None] = lambda news: None
        self.on_lane: Callable[[], None] = lambda: None
        self.lane: Lane | None = None
        self.threads = 0
        self.has_measured = False
        self._on_gone = on_gone
        self._error: EdgedError | None = None
        self._child: Child | None = None
        self._settled = asyncio.Event()
        self._next_id = 1
        self._owed: dict[int, Answers | Measuring] = {}
        self._runs: dict[int, Run] = {}
        self._asking = Asking()
        self._allowed: tuple[int, tuple[int, ...]] | None = None
        self._watchdog = Watchdog(lambda: bool(self._owed or self._asking), lambda: self.pid, self._is_hung)

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid if self._child else None

    @property
    def error(self) -> EdgedError | None:
        """What it died of, or is about to; None while it lives."""
        return self._error

    async def load(self, load: Load, descriptors: Sequence[int]) -> Loaded:
        """Start the child and have it load what is behind `descriptors`, which stay the caller's: the model, and the
        smaller one where `load` names it.

        Raises `ModelInvalid` when the engine refuses the file, `WorkerStarved` where it found no memory for it,
        `LoadTimeout`, or `WorkerCrashed`.
        """
        self._child = await Child.spawn("edged.worker", self._hear, self._bury, HUGE_PAGES)
        self.outlook.speed.longest_gap_steps = load.longest_gap_steps
        self.outlook.speed.calibrate(load.tuned.rows, load.tuned.rows_s)
        self.has_measured = bool(load.tuned.rows)
        self._child.send(load, descriptors)
        deadline_s = load_deadline_s(sum(map(bytes_on_disk, descriptors)))
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

    async def count(self, prompts: tuple[tuple[Span, ...], ...]) -> tuple[int, ...]:
        """How many tokens each prompt has, for itself. Raises what the worker died of."""
        counted = await self.ask(lambda id: Count(id, prompts))
        assert isinstance(counted, Counted)
        return counted.tokens

    async def ask(self, question: Callable[[int], TokenOrder]) -> TokenNews:
        """What the worker says to a question that takes no place on it. Raises what the worker died of."""
        (id,) = self._take_ids(1)
        assert self._child is not None
        if not self._owed and not self._asking:
            self._watchdog.begin()
        self._child.send(question(id))
        try:
            return await self._asking.reply(id)
        except asyncio.CancelledError:
            self._child.send(Cancel(id))  # a long text need not be read for nobody
            raise

    @contextmanager
    def answering(
        self,
        request: ChatRequest,
        prompt: tuple[Span, ...],
        max_tokens: int,
        run: Run | None = None,
        manner: Manner | None = None,
    ) -> Iterator[Answers]:
        """Ask for the `n` answers that `request` wants to `prompt`; leaving cancels what still runs.

        `run` is their entry in `outlook`, which follows them; `manner` is how the replies will be read.
        """
        answers = Answers(self._take_ids(request.n), request.lane)
        with self._cancelling(answers.ids):
            if run is not None:
                self._runs |= dict.fromkeys(answers.ids, run)
            frame = frame_of(answers.ids.start, request, prompt, max_tokens, manner)
            self._ask(answers, frame)
            self._owed |= dict.fromkeys(answers.ids, answers)
            yield answers

    async def measure(self, texts: Sequence[Embed | Rank]) -> list[Measured]:
        """The vectors or scores of `texts` (their ids are given here), in order; cancelling cancels what still runs.

        Raises `MeasureRefused` with the place of a text that is too long, or the error that ended them.
        """
        measuring = Measuring(self._take_ids(len(texts)), texts)
        with self._cancelling(measuring.ids):
            for frame in measuring.first():
                self._ask(measuring, frame)
            while not measuring.is_done:
                for frame in await measuring.more():
                    self._ask(measuring, frame)
        return measuring.results()

    def _take_ids(self, count: int) -> range:
        if self._error is not None:
            raise self._error
        ids = range(self._next_id, self._next_id + count)
        self._next_id = ids.stop
        return ids

    def _ask(self, asker: Answers | Measuring, frame: Generate | Embed | Rank) -> None:
        if self._error is not None:
            raise self._error
        assert self._child is not None
        if not self._owed:
            self._watchdog.begin()
        self._owed[frame.id] = asker
        self._note_lane()
        self._child.send(frame)

    @contextmanager
    def _cancelling(self, ids: range) -> Iterator[None]:
        """Whatever of `ids` is still owed when the block is left is cancelled."""
        assert self._child is not None
        try:
            yield
        finally:
            for id in ids:
                self._runs.pop(id, None)
                if self._owed.pop(id, None) is not None:
                    self._child.send(Cancel(id))
            self._note_lane()

    def use_threads(self, count: int, siblings: tuple[int, ...]) -> None:
        """Allow so many threads from the next step on, beside the workers `siblings`."""
        if self._allowed != (count, siblings) and self._error is None and self._child is not None:
            self._allowed = (count, siblings)
            self._child.send(Threads(count, siblings))

    def share(self, one: tuple[Span, ...], other: tuple[Span, ...]) -> None:
        """Have what both prompts begin with kept ready for everybody, as far as there is room."""
        if self._error is None and self._child is not None:
            self._child.send(Share(one, other))

    def tell(self, order: PrefixOrder, descriptors: Sequence[int] = ()) -> None:
        """Send an order about prefixes on disk; the descriptors beside it stay the caller's."""
        if self._error is None and self._child is not None:
            self._child.send(order, descriptors)

    def interrupt(self, error: EdgedError) -> None:
        """End every running answer with `error`."""
        for asker in set(self._owed.values()):
            asker.put(error)

    async def stop(self) -> None:
        """Hang up and wait until the child is gone; what it still owes fails."""
        if self._child is not None:
            await self._child.hang_up()

    def _hear(self, frame: Frame) -> None:
        self._watchdog.hear()
        match frame:
            case Step():
                self.work.add(frame)
                self.threads = frame.threads
                self._follow(frame)
                for output in frame.outputs:
                    self._deliver(output)
            case Accepted(id, prompt_tokens, cached_tokens):
                if id in self._runs:
                    self.outlook.begin(self._runs[id], prompt_tokens - cached_tokens)
                if answers := self._owing(id, Answers):
                    answers.put(frame)
            case Rejected(id, prompt_tokens, context_tokens):
                if answers := self._owing(id, Answers):
                    answers.put(ContextLengthExceeded(prompt_tokens, context_tokens))
                elif measuring := self._owing(id, Measuring):
                    measuring.put(frame)
                    del self._owed[id]
            case Embedded(id) | Scored(id) | Starved(id):
                if measuring := self._owing(id, Measuring):
                    measuring.put(frame)
                    del self._owed[id]
            case Failed(id, code, message):
                if answers := self._owing(id, Answers):
                    answers.put(FAILURES[code](message))  # of one choice: it ends the request, which cancels the others
            case Counted() | Tokenized() | Detokenized():
                self._asking.put(frame)
            case Keep() | Kept() | Restoring() | Used() | Discard() | AllPutAway():
                self.on_prefix_news(frame)
            case Tuned(_, rows, rows_s):
                self.outlook.speed.calibrate(rows, rows_s)
                self.on_tuned(frame)
                if rows and not self.has_measured:
                    self.has_measured = True
                    self.on_lane()
            case DrafterLost(reason):
                self.on_drafter_lost(reason)
            case Loading(progress):
                self.progress = progress
            case Loaded():
                self.card, self.progress = frame, 1.0
                self.has_measured |= frame.pooling is not None  # it answers in portions of a fixed size
                self._settled.set()
            case LoadFailed(message, is_starved):
                self._error = refused(self.name, message, is_starved=is_starved)
            case _:
                raise WireError(f"a worker does not send {type(frame).__name__}")
        self._note_lane()

    def _follow(self, step: Step) -> None:
        told = [(self._runs[output.id], output) for output in step.outputs if output.id in self._runs]
        self.outlook.note_step(step, [(run, output.tokens) for run, output in told])
        for run, output in told:
            if output.finish:
                self.outlook.note_end(run, output.total)

    def _deliver(self, output: Output) -> None:
        answers = self._owing(output.id, Answers)
        if answers is None:
            return  # cancelled while the step was under way
        choice = output.id - answers.ids.start
        if output.read_tokens and (accepted := answers.accepted):
            cached = accepted.cached_tokens
            answers.put(Progress(choice, accepted.prompt_tokens, cached, max(cached, output.read_tokens)))
        if output.text or output.logprobs:
            answers.put(Delta(choice, output.text, output.tokens, output.logprobs))
        if output.finish:
            answers.put(Finish(choice, output.finish, output.total, output.stop))
            del self._owed[output.id]

    def _note_lane(self) -> None:
        """Whether somebody is answered, and in which lane: a person's is told before that of vectors and errands."""
        lanes = {asker.lane for asker in self._owed.values()}
        lane: Lane | None = "interactive" if "interactive" in lanes else "background" if lanes else None
        if lane != self.lane:
            self.lane = lane
            self.on_lane()

    def _owing(self, id: int, kind: type[Asker]) -> Asker | None:
        """Who waits for `id`; None where it was cancelled."""
        asker = self._owed.get(id)
        return asker if isinstance(asker, kind) else None

    def _is_hung(self, silent_s: float) -> None:
        message = f"The process of model {self.name} made no progress for {silent_s:.0f} s; it was replaced."
        self._kill(WorkerStalled(message))

    def _kill(self, error: EdgedError) -> None:
        assert self._child is not None
        self._error = self._error or error
        self._child.kill(error.code)

    def _bury(self, cause: str) -> None:
        assert self._child is not None
        doing = "while answering" if self._owed else "while loading" if self.card is None else "while idle"
        told = f"The process of model {self.name} {cause} {doing}"
        self.was_killed, self.was_answering = self._child.was_killed, bool(self._owed)
        if self._error is None and self.card is None and self.was_killed:
            self._error = WorkerStarved(f"{told}, as the kernel does where memory is short.")
        self._error = self._error or WorkerCrashed(
            f"{told}; the next request starts a new one.", by_itself=self._child.ended_by_itself
        )
        self._watchdog.end()
        self.interrupt(self._error)
        self._owed.clear()
        self._asking.fail(self._error)
        self._settled.set()
        self.on_prefix_news(None)
        self._on_gone(self._error)
